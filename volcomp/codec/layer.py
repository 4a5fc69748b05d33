"""A lossy layer beneath the slabs of a volume: a preview that arrives first, and that slabs are completed from.

The layer has a section for every slab, `PREV`, before the header of its volume: of each slice the length (varint) and
the payload of `lossy`. A slab may have what they decode to as its reference (`encode.py`), as it may have a key. So the
bits of the preview are not paid twice.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from .. import lossy
from ..container.sections import PREVIEW, Reader, SectionId
from ..container.volume import Volume
from ..dtypes import Int8s
from ..errors import DamagedError, UnsupportedError
from ..runtime.cpus import cores
from ..wire.cursor import Cursor, string

if TYPE_CHECKING:
    from .encode import VoxelSource

Decoded = TypeVar("Decoded")
_TOGETHER = 8  # slices that are read at once
LEAST_BYTES = 64  # of the payload of a slice: a smaller one shows nothing, and headers are most of it


class Referred(NamedTuple):
    """What a slab refers to: voxels [z, Y, X], and what they stand for above them, in sixteenths of a grey level: int8
    [z, Y, X], None where that is nothing."""

    voxels: np.ndarray
    excess: Int8s | None = None


class Layer:
    """The layer of a volume that is being written: payloads in memory, and what they decode to as a `VoxelSource`."""

    def __init__(self, source: VoxelSource, ratio: float, threads: int | None) -> None:
        """Encode all slices.

        Parameters:
            source: the volume.
            ratio: the bytes of its words to those of the layer.
            threads: how many slices are encoded at once; None for one per core.
        """
        self._source = source
        self.shape, self.dtype = source.shape, source.dtype
        self._payloads: list[bytes] = []
        depth, height, width = source.shape
        budget = int(height * width * source.dtype.itemsize / ratio)
        with ThreadPoolExecutor(threads or cores()) as pool:
            for first in range(0, depth, _TOGETHER):
                voxels = source.slices(first, min(first + _TOGETHER, depth))
                self._payloads += pool.map(lambda plane: lossy.encode(np.ascontiguousarray(plane), budget), voxels)

    @property
    def sha256(self) -> bytes:
        """That of the voxels themselves: nobody asks for it."""
        return self._source.sha256

    def histogram(self) -> tuple[int, np.ndarray]:
        """That of the voxels themselves."""
        return self._source.histogram()

    def slices(self, first: int, end: int) -> np.ndarray:
        """Return what the payloads of slices decode to."""
        return self.referred(first, end).voxels

    def referred(self, first: int, end: int) -> Referred:
        """Return what the payloads of slices decode to, as slabs refer to it."""
        pixels, excess = zip(*map(lossy.decode_finely, self._payloads[first:end]), strict=True)
        return Referred(np.stack(pixels), np.stack(excess))

    def payload(self, first: int, end: int) -> bytes:
        """Return the payload of the section of a slab of the slices `first` to `end` - 1."""
        return b"".join(map(string, self._payloads[first:end]))


def pays(shape: tuple[int, int, int], itemsize: int, ratio: float) -> bool:
    """Return whether slices of a volume are large enough for a layer of that ratio."""
    return shape[1] * shape[2] * itemsize >= LEAST_BYTES * ratio


def read_slab(reader: Reader, volume: Volume, k: int) -> Referred:
    """Return the layer of slab k, in the volume's type. Raises DamagedError."""
    first, end = volume.layout.slabs[k]
    found = [_read(payload, volume, lossy.decode_finely) for payload in _payloads(reader, volume, k, end - first)]
    pixels, excess = zip(*found, strict=True)
    for plane in pixels:
        _check(plane, volume, 0)
    return Referred(np.stack(pixels), np.stack(excess))


def preview(reader: Reader, volume: Volume, z: int, reduce: int = 0) -> np.ndarray:
    """Return slice z as the layer shows it: [y, x], with its sides halved `reduce` times. Raises DamagedError."""
    (k,) = volume.slabs_of(z, z + 1)
    first, end = volume.layout.slabs[k]
    return read_slice(_payloads(reader, volume, k, end - first)[z - first], volume, reduce)


def read_slice(payload: bytes, volume: Volume, reduce: int = 0) -> np.ndarray:
    """Decode the layer of one slice. Raises DamagedError where it is none of this volume."""
    found = _read(payload, volume, partial(lossy.decode, reduce=reduce))
    _check(found, volume, reduce)
    return found


def _read(payload: bytes, volume: Volume, decode: Callable[..., Decoded]) -> Decoded:
    """Decode the layer of one slice. Raises DamagedError."""
    _, height, width = volume.layout.shape
    try:
        return decode(payload, most_pixels=height * width)
    except UnsupportedError as error:
        raise DamagedError(f"the preview of volume {volume.number} is damaged: {error}") from None


def _check(found: np.ndarray, volume: Volume, reduce: int) -> None:
    """Raise DamagedError where a slice is none of this volume."""
    if found.dtype != volume.layout.dtype or (not reduce and found.shape != volume.layout.shape[1:]):
        raise DamagedError(f"the preview of volume {volume.number} is damaged: it is of another type or shape")


def _payloads(reader: Reader, volume: Volume, k: int, count: int) -> list[bytes]:
    """Read the payloads of the slices of slab k. Raises DamagedError."""
    cursor = Cursor(reader.read(SectionId(PREVIEW, volume.number, k)), f"the preview of volume {volume.number}")
    found = [cursor.string() for _ in range(count)]
    cursor.end()
    return found
