"""What the encoder reads a volume from, piece by piece: an array here, the files of a series in `archive.stack`."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from ..stages import histogram_packing


class Source(Protocol):
    """A volume [Z, Y, X] of u1, i1, u2 or i2 (little-endian) that need not be in memory as a whole."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Z, Y, X."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of the voxels."""
        ...

    @property
    def sha256(self) -> bytes:
        """Of the voxels, little-endian in C order."""
        ...

    def histogram(self) -> tuple[int, np.ndarray]:
        """As `mapping.histogram`, of all voxels."""
        ...

    def slices(self, first: int, end: int) -> np.ndarray:
        """The slices `first` to `end` - 1 [z, Y, X]; several threads may ask at once."""
        ...


class Held:
    """The `Source` of an array [Z, Y, X] in C order."""

    def __init__(self, voxels: np.ndarray) -> None:
        depth, height, width = voxels.shape
        self._voxels = voxels
        self.shape, self.dtype = (depth, height, width), voxels.dtype

    @property
    def sha256(self) -> bytes:
        """As `Source` says."""
        return hashlib.sha256(self._voxels.data).digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """As `Source` says."""
        return histogram_packing.histogram(self._voxels)

    def slices(self, first: int, end: int) -> np.ndarray:
        """As `Source` says: a view."""
        return self._voxels[first:end]
