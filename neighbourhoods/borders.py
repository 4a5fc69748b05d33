"""Borders: the values of neighbours outside the volume.

- In a row above or below the slice, and in a slice before the first: the constant. The published rule takes
  the minimum of the volume for it; volcomp takes 0.
- Left of the slice: the first voxel of the row above that row, in the same slice; the constant where there is none.
- Right of the slice: the last voxel of the same row.

So a row continues the row above it. Repeating its own first voxel instead would read a voxel that is not yet known. The
rule is causal, for voxels in raster order and for every schedule that `Schedule.of` gives: row y looks left of itself
only after voxel (y-1, 0) is done, and looks right of a row only from rows further down or from later slices, when
that row is complete. A decoder can therefore fill the margins as it goes, and reads what the encoder read.
"""

from __future__ import annotations

import numpy as np


def pad(volume: np.ndarray, before: int, radius: int, constant: int = 0) -> np.ndarray:
    """Add margins to a volume, so that every neighbour can be read without a test for borders.

    volume:   [Z, Y, X] of any dtype
    before:   slices to put before the first
    radius:   voxels to put on all four sides of every slice
    constant: value for positions without a voxel to read; must fit the dtype

    Returns [before + Z, radius + Y + radius, radius + X + radius] of the same dtype; voxel (z, y, x) of the volume is
    at (before + z, radius + y, radius + x).
    """
    depth, height, width = volume.shape
    padded = np.full((before + depth, radius + height + radius, radius + width + radius), constant, volume.dtype)
    if volume.size == 0:
        return padded
    rows = padded[before:, radius : radius + height]  # [Z, Y, radius + X + radius]: all but the constant
    rows[:, :, radius : radius + width] = volume
    rows[:, 1:, :radius] = volume[:, :-1, :1]
    rows[:, :, radius + width :] = volume[:, :, -1:]
    return padded
