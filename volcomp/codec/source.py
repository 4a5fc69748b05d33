"""Sources, from which an encoder reads a volume piece by piece: an array here, a series of files in `archive.stack`."""

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
        """Type of the voxels."""
        ...

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the voxels, little-endian in C order."""
        ...

    def histogram(self) -> tuple[int, np.ndarray]:
        """Count all values that occur; see `histogram_packing.histogram`."""
        ...

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read the slices `first` … `end` - 1 [z, Y, X]. Several threads may call this at once."""
        ...


class Held:
    """The `Source` of an array [Z, Y, X] in C order."""

    def __init__(self, voxels: np.ndarray) -> None:
        depth, height, width = voxels.shape
        self._voxels = voxels
        self.shape, self.dtype = (depth, height, width), voxels.dtype

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the voxels in C order."""
        return hashlib.sha256(self._voxels.data).digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """Count all values that occur; see `histogram_packing.histogram`."""
        return histogram_packing.histogram(self._voxels)

    def slices(self, first: int, end: int) -> np.ndarray:
        """Return slices as a view."""
        return self._voxels[first:end]
