"""Schedules: the voxels that can be processed at the same time, derived from the neighbourhood alone.

With integers a, b, c such that t = a·x + b·y + c·z is smaller at every neighbour than at the voxel itself, all voxels
of equal t are independent of each other. They form a *front*: fronts are processed one after the other, the voxels of
a front in any order or all at once (L. Lamport, "The parallel execution of DO loops", CACM 1974: the hyperplane
method). For a neighbourhood of radius 2 that is t = x + 3y + 9z. The neighbourhood keeps all its voxels. The
published sequences leave out the voxels to the left, to process whole rows at once: the special case a = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .offsets import Neighbourhood, Offset, is_causal

Shape = tuple[int, int, int]  # Z, Y, X
Voxels = tuple[np.ndarray, np.ndarray, np.ndarray]  # z, y, x: three int64 [n], as numpy indexes with


@dataclass(frozen=True)
class Rows:
    """The rows (z, y) of a volume in the order in which they start; the rows with a voxel at a time are a range.

    z, y:   int64 [R], the place of each row
    start:  int64 [R], the time of its first voxel; never decreasing, of equals the lower z and then y come first
    width:  X, voxels in a row
    whole:  True if all voxels of a row fall on one time (a = 0), False if they follow each other (a = 1)
    """

    z: np.ndarray
    y: np.ndarray
    start: np.ndarray
    width: int
    whole: bool

    def active(self, t: int) -> tuple[int, int]:
        """Return the range [lo, hi) of rows with a voxel at time t: x = t − start if a = 1. Takes O(log R)."""
        duration = 1 if self.whole else self.width
        lo = np.searchsorted(self.start, t - duration, side="right")
        hi = np.searchsorted(self.start, t, side="right")
        return int(lo), int(hi)

    def front(self, t: int) -> Voxels:
        """Return the voxels of time t, row after row in the order of the rows."""
        lo, hi = self.active(t)
        z, y = self.z[lo:hi], self.y[lo:hi]
        if not self.whole:
            return z, y, t - self.start[lo:hi]
        return z.repeat(self.width), y.repeat(self.width), np.tile(np.arange(self.width), hi - lo)


@dataclass(frozen=True)
class Schedule:
    """The times t = a·x + b·y + c·z; a is 0 or 1, b and c are not negative."""

    a: int
    b: int
    c: int

    @classmethod
    def of(cls, neighbourhood: Neighbourhood, *, recurrence: bool = False, borders: bool = True) -> Schedule:
        """Find the smallest a, then b, then c, for which every neighbour has an earlier time.

        recurrence: a state runs along the row as well, from (z, y, x-1) to (z, y, x).
        borders: neighbours outside the slice are read by the rule of `borders.py`, which reads the row above.

        Raises ValueError for an offset that is not causal.
        """
        for offset in neighbourhood:
            if not is_causal(offset):
                raise ValueError(f"offset {offset} is not causal: it must point to an earlier voxel in raster order")
        needs = list(neighbourhood) + ([(0, 0, -1)] if recurrence else [])
        if borders:
            # Left of the slice stands the first voxel of the row above: seen from the first voxel of a row, that is
            # (dz, dy - 1, 0). Right of it stands the last voxel of the same row, nearer than the offset itself.
            needs += [(dz, dy - 1, 0) for dz, dy, dx in neighbourhood if dx < 0]
        # The current row bounds a, the rows above it bound b once a is known, the slices before it bound c: nothing
        # has to be searched.
        a = max((_least(-dx, 0) for dz, dy, dx in needs if (dz, dy) == (0, 0)), default=0)
        b = max((_least(-dy, a * dx) for dz, dy, dx in needs if dz == 0 and dy < 0), default=0)
        c = max((_least(-dz, a * dx + b * dy) for dz, dy, dx in needs if dz < 0), default=0)
        return cls(a, b, c)

    def advance(self, offset: Offset) -> int:
        """Return the time at an offset minus the time at the voxel: negative for every neighbour of the schedule."""
        dz, dy, dx = offset
        return self.a * dx + self.b * dy + self.c * dz

    def fronts(self, shape: Shape) -> int:
        """Return the number of times, from 0 on. A time may have no voxel if a side is shorter than the reach."""
        depth, height, width = shape
        if 0 in shape:
            return 0
        return self.a * (width - 1) + self.b * (height - 1) + self.c * (depth - 1) + 1

    def rows(self, shape: Shape) -> Rows:
        """Return the rows of a volume in the order in which they start."""
        depth, height, width = shape
        z, y = np.indices((depth, height)).reshape(2, -1)
        start = self.b * y + self.c * z
        order = np.argsort(start, kind="stable")
        return Rows(z[order], y[order], start[order], width, whole=self.a == 0)

    def sizes(self, shape: Shape) -> np.ndarray:
        """Count the voxels of each front: int64 [fronts]."""
        rows = self.rows(shape)
        ranges = [rows.active(t) for t in range(self.fronts(shape))]
        return np.array([(hi - lo) * (rows.width if rows.whole else 1) for lo, hi in ranges], np.int64)

    def walk(self, shape: Shape) -> Iterator[Voxels]:
        """Yield the fronts in order of time, each as indices z, y, x, int64 [n]: `volume[front]` reads its voxels."""
        rows = self.rows(shape)
        for t in range(self.fronts(shape)):
            yield rows.front(t)


def _least(step: int, owed: int) -> int:
    """Return the smallest k ≥ 0 with k · step > owed, for a positive step."""
    return max(0, owed // step + 1)
