"""The types of arrays in signatures. An array whose type a signature does not tell may have several; its function says
which ones it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Int8s = NDArray[np.int8]
Int16s = NDArray[np.int16]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt8s = NDArray[np.uint8]
UInt16s = NDArray[np.uint16]
UInt32s = NDArray[np.uint32]
UInt64s = NDArray[np.uint64]
Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Levels = NDArray[np.signedinteger]  # grey levels 0 … limit, int16 or int32
Integers = NDArray[np.integer]  # of any integer type
