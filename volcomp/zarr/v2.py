"""The codec of Zarr format 2: a compressor of numcodecs, with the id `volcomp` in `.zarray`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray, ndarray_copy

from ..constants import EFFORT
from ..errors import UnsupportedError
from ..models import DEFAULT
from . import chunks, wrapped
from .settings import NAME, Settings, from_json


class Volcomp(Codec):
    """Codes each chunk of an array of Zarr format 2 as volcomp does a volume, exactly. Use it without filters.

    An encoder gets a chunk as an array, with its shape, type and order; a decoder is to return memory, and is told
    nothing. So elements are coded in the order that they have in memory (`order="F"`: the axes are reversed), and
    payloads of big-endian elements are marked.

    Parameters:
        model: as in `options.EncodeOptions`. All three stand in the array's metadata, and no decoder needs them.
        effort: from 1 to 9.
        verify: whether each chunk is decoded and compared when it has been encoded.

    Raises:
        UnsupportedError: for a value that is not allowed.

    Example:
        >>> import numpy as np
        >>> from volcomp.zarr import Volcomp
        >>> codec = Volcomp(model="turbo")
        >>> ramp = np.add.outer(np.arange(32), np.arange(32)).astype(">i2")
        >>> np.array_equal(codec.decode(codec.encode(ramp)).view(">i2").reshape(32, 32), ramp)
        True
    """

    codec_id = NAME

    def __init__(self, model: str = DEFAULT, effort: int = EFFORT, verify: bool = True) -> None:
        self._settings = Settings(model, effort, verify)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Volcomp:
        """Read the codec's entry in `.zarray`, without its id. Raises UnsupportedError for what this version does not
        know."""
        return cls(**from_json(config).to_json())

    def get_config(self) -> dict[str, Any]:
        """Return the codec's entry in `.zarray`."""
        return {"id": NAME, **self._settings.to_json()}

    def encode(self, buf: Any) -> bytes:
        """Encode an array, or the bytes that a filter made; see `chunks.encode`."""
        array = ensure_ndarray(buf)
        if array.dtype.hasobject:
            raise UnsupportedError(f"an array of objects was given; the codec {NAME} codes elements of a fixed size")
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            array = array.T
        if array.dtype.kind == "V":  # records, whose fields have byte orders of their own
            array = np.ascontiguousarray(array).view(f"V{array.dtype.itemsize}")
        payload = chunks.encode(array, self._settings)
        return wrapped.swapped(payload) if array.dtype.str[0] == ">" else payload

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk: its bytes in memory, uint8 [n]. Raises DamagedError and UnsupportedError."""
        return ndarray_copy(chunks.decode_memory(ensure_bytes(buf)), out)

    def __repr__(self) -> str:
        return (
            f"Volcomp(model={self._settings.model!r}, effort={self._settings.effort}, verify={self._settings.verify})"
        )
