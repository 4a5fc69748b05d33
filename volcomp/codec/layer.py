"""A lossy layer beneath the slabs of a volume: a preview that arrives first, and that slabs are completed from.

The layer has a section for every slab, `PREV`, before the header of its volume: of each slice the length (varint) and
the payload of `lossy`. A slab may have what they decode to as its reference (`encode.py`), as it may have a key. So the
bits of the preview are not paid twice.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .. import lossy
from ..container.sections import PREVIEW, Reader, SectionId
from ..container.volume import Volume
from ..errors import DamagedError, UnsupportedError
from ..runtime.cpus import cores
from ..wire.cursor import Cursor, string

if TYPE_CHECKING:
    from .encode import VoxelSource

_TOGETHER = 8  # slices that are read at once
LEAST_BYTES = 64  # of the payload of a slice: a smaller one shows nothing, and headers are most of it


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
        return np.stack([lossy.decode(payload) for payload in self._payloads[first:end]])

    def payload(self, first: int, end: int) -> bytes:
        """Return the payload of the section of a slab of the slices `first` to `end` - 1."""
        return b"".join(map(string, self._payloads[first:end]))


def pays(shape: tuple[int, int, int], itemsize: int, ratio: float) -> bool:
    """Return whether slices of a volume are large enough for a layer of that ratio."""
    return shape[1] * shape[2] * itemsize >= LEAST_BYTES * ratio


def read_slab(reader: Reader, volume: Volume, k: int) -> np.ndarray:
    """Return the layer of slab k: [z, Y, X] of the volume's type. Raises DamagedError."""
    first, end = volume.layout.slabs[k]
    return np.stack([read_slice(payload, volume) for payload in _payloads(reader, volume, k, end - first)])


def preview(reader: Reader, volume: Volume, z: int, reduce: int = 0) -> np.ndarray:
    """Return slice z as the layer shows it: [y, x], with its sides halved `reduce` times. Raises DamagedError."""
    (k,) = volume.slabs_of(z, z + 1)
    first, end = volume.layout.slabs[k]
    return read_slice(_payloads(reader, volume, k, end - first)[z - first], volume, reduce)


def read_slice(payload: bytes, volume: Volume, reduce: int = 0) -> np.ndarray:
    """Decode the layer of one slice. Raises DamagedError where it is none of this volume."""
    _, height, width = volume.layout.shape
    try:
        found = lossy.decode(payload, reduce=reduce, most_pixels=height * width)
    except UnsupportedError as error:
        raise DamagedError(f"the preview of volume {volume.number} is damaged: {error}") from None
    if found.dtype != volume.layout.dtype or (not reduce and found.shape != (height, width)):
        raise DamagedError(f"the preview of volume {volume.number} is damaged: it is of another type or shape")
    return found


def _payloads(reader: Reader, volume: Volume, k: int, count: int) -> list[bytes]:
    """Read the payloads of the slices of slab k. Raises DamagedError."""
    cursor = Cursor(reader.read(SectionId(PREVIEW, volume.number, k)), f"the preview of volume {volume.number}")
    found = [cursor.string() for _ in range(count)]
    cursor.end()
    return found
