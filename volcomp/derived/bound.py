"""Voxels within a bound of others, such that few grey levels are left.

Voxels become the nearest multiple of 2 · error + 1. Histogram packing then closes the gaps between these, so that the
predictor sees consecutive grey levels. JPEG-LS quantises residuals within its prediction loop (ITU-T T.87, A.4.4).
Both leave the same number of levels; here the codec stays what it is, and a file is decoded as any other.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import Bools, Integers


def bounded(voxels: Integers, error: int, least: int, most: int, exact: Bools | None = None) -> Integers:
    """Return voxels that differ by at most `error` from those given.

    Parameters:
        voxels: any integer type of up to 16 bits, any shape.
        error: the largest difference, 0 or more.
        least, most: of the values that may be stored, of which no result leaves the range.
        exact: where voxels stay as they are; broadcast to their shape.

    Returns:
        An array of the same type and shape. 0 stays 0: multiples of the step are counted from there.
    """
    step = 2 * error + 1
    wide = voxels.astype(np.int32)
    near = (wide + error) // step * step
    near = near.clip(least, most)
    if exact is not None:
        near = np.where(exact, wide, near)
    return near.astype(voxels.dtype)
