"""Whether neighbouring slices of a volume predict each other, or are pictures of different things, as radiographs are.

A slab's first slice has no slice before it. Where slices are unrelated, this costs nothing, and what a linear stage and
a network look at in the slice before only misleads them. Then every slice is a slab of its own: 0.9 % smaller for chest
X-rays of 256 × 256 pixels than one slab, and 0.9 % smaller than a volume for each, which has a header of its own.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..dtypes import Int64s, Integers

PAIRS = 8  # of neighbouring slices that are compared
# The mean correlation of residuals of two neighbouring slices: chest X-rays of different people have 0.04 to 0.07 (with
# their lungs at the same place), series of CT and MR 0.17 and more.
UNRELATED = 0.1
_OUTLIER = 8  # times the median: larger residuals count as so much
MOST = 1 << 20  # voxels of a slice that are looked at
FEWEST = 1 << 14  # voxels of a slice: a slab has a header and a linear stage of its own


class Slices(Protocol):
    """A volume of which slices can be read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Z, Y, X."""
        ...

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read the slices `first` … `end` - 1 [z, Y, X]."""
        ...


def are_unrelated(source: Slices) -> bool:
    """Return whether neighbouring slices do not predict each other, by at most PAIRS of them. Sums are of integers, so
    that all machines decide alike."""
    depth, height, width = source.shape
    if depth < 2 or height < 2 or width < 2 or height * width < FEWEST:
        return False
    pairs = min(PAIRS, depth - 1)
    found = 0.0
    for pair in range(pairs):
        first = pair * (depth - 1) // pairs
        before, after = (_residuals(plane) for plane in source.slices(first, first + 2))
        norm = float((before * before).sum()) * float((after * after).sum())
        found += float((before * after).sum()) / norm**0.5 if norm else 1.0
    return found / pairs < UNRELATED


def _residuals(plane: Integers) -> Int64s:
    """Return what a plane within a slice [Y, X] leaves of its voxels int64 [y - 1, x - 1], without outliers."""
    rows = max(2, MOST // plane.shape[1])
    begin = max(0, (plane.shape[0] - rows) // 2)
    levels = plane[begin : begin + rows].astype(np.int64)
    left, above, corner = levels[1:, :-1], levels[:-1, 1:], levels[:-1, :-1]
    error = levels[1:, 1:] - ((3 * (left + above) - 2 * corner) >> 2)
    occurring = np.sort(np.abs(error[error != 0]))
    most = _OUTLIER * int(occurring[occurring.size // 2]) if occurring.size else 1
    return error.clip(-most, most)
