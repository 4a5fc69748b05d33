"""The codec of Zarr format 3: an array-to-bytes codec, named `volcomp` in `zarr.json`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin

from ..constants import EFFORT
from ..errors import DamagedError, UnsupportedError
from ..models import DEFAULT
from . import chunks
from .settings import NAME, Settings, from_json


@dataclass(frozen=True)
class VolcompCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Codes each chunk of an array of Zarr format 3 as volcomp does a volume, exactly.

    Zarr puts a compressor of its own behind any array-to-bytes codec: give it `compressors=None`, or each chunk is
    compressed twice, for nothing, and decoded whole where some slices are asked for.

    Parameters:
        model: as in `options.EncodeOptions`. All three stand in the array's metadata, and no decoder needs them.
        effort: from 1 to 9.
        verify: whether each chunk is decoded and compared when it has been encoded.

    Raises:
        UnsupportedError: for a value that is not allowed.

    Example:
        >>> import numpy as np, zarr
        >>> from volcomp.zarr import VolcompCodec
        >>> array = zarr.create_array(
        ...     {}, shape=(8, 64, 64), chunks=(8, 32, 64), dtype="int16", serializer=VolcompCodec(), compressors=None
        ... )
        >>> array[:] = np.arange(64)
        >>> array[3, 40:42, 60].tolist()
        [60, 60]
    """

    is_fixed_size = False

    model: str = DEFAULT
    effort: int = EFFORT
    verify: bool = True

    def __post_init__(self) -> None:
        self._settings  # noqa: B018 - which are checked as they are made

    @property
    def _settings(self) -> Settings:
        return Settings(self.model, self.effort, self.verify)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the codec's entry in `zarr.json`. Raises UnsupportedError for what this version does not know."""
        unknown = [str(key) for key in data if key not in ("name", "configuration")]
        if data.get("name") != NAME or unknown:
            raise UnsupportedError(f"{dict(data)!r} is no codec {NAME}, which has a name and a configuration")
        return cls(**from_json(data.get("configuration", {})).to_json())

    def to_dict(self) -> dict[str, Any]:
        """Return the codec's entry in `zarr.json`."""
        return {"name": NAME, "configuration": self._settings.to_json()}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise UnsupportedError for elements of no fixed size, which is all that the codec cannot code."""
        native = _native(dtype)
        if native.hasobject or native.kind == "T":
            raise UnsupportedError(
                f"an array of {dtype} has elements of variable size; the codec {NAME} codes those of a fixed size"
            )

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Raise NotImplementedError: the size of a payload depends on the voxels."""
        raise NotImplementedError(f"the codec {NAME} makes payloads of any size")

    def _encode_sync(self, chunk_data: Any, chunk_spec: Any) -> Any:
        """Encode a chunk; see `chunks.encode`."""
        array: np.ndarray = chunk_data.as_numpy_array()
        return chunk_spec.prototype.buffer.from_bytes(chunks.encode(array, self._settings))

    def _decode_sync(self, chunk_data: Any, chunk_spec: Any) -> Any:
        """Decode a chunk; see `chunks.decode`."""
        array = chunks.decode(chunk_data.to_bytes(), chunk_spec.shape, _native(chunk_spec.dtype))
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array)

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _decode_partial_single(self, byte_getter: Any, selection: Any, chunk_spec: Any) -> Any:
        """Decode the slabs of a chunk that a selection needs; None where the chunk was not written."""
        data = await byte_getter.get(prototype=chunk_spec.prototype)
        if data is None:
            return None
        return await asyncio.to_thread(_select, data.to_bytes(), selection, chunk_spec, byte_getter)


def _select(payload: bytes, selection: Any, chunk_spec: Any, byte_getter: Any) -> Any:
    shape = chunk_spec.shape
    try:
        chunk = chunks.decode(payload, shape, _native(chunk_spec.dtype), chunks.span(selection, shape))
    except (DamagedError, UnsupportedError) as error:
        raise type(error)(f"{_place(byte_getter)}: {error}") from error
    return chunk_spec.prototype.nd_buffer.from_numpy_array(np.asarray(chunk[selection]))


def _place(byte_getter: Any) -> str:
    """Return where a chunk was read from: its path in a store, or its coordinates in a shard."""
    coordinates = getattr(byte_getter, "chunk_coords", None)
    return str(byte_getter) if coordinates is None else f"chunk {coordinates} of its shard"


def _native(dtype: Any) -> np.dtype:
    """Return the type of numpy; releases of Zarr before 3.1 state it as such, later ones have types of their own."""
    found: np.dtype = dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else np.dtype(dtype)
    return found
