"""The geometry of padded slabs that are stored flat: positions of voxels and neighbours, and vector loads of runs; and
the arrays that several stages share.

A slab may have a *reference*: levels of the same shape, of another time point, that are all known beforehand. They
follow the padded slab in the same flat array (`beside`), so that a neighbour in the reference is one more offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from neighbourhoods import pad

from ..constants import DEPTHS, LANES, RADIUS
from ..dtypes import Int32s, Int64s, Integers, Levels, UInt8s
from ..runtime.compiled import part


class PaddedSlab(NamedTuple):
    """A padded slab, flat, of which the causal neighbours of the next voxels are known.

    known int16 or int32 [n]   grey levels, and after them those of the reference if there is one
    error int32 [n]            residuals of the linear stage, in sixteenths of a grey level
    """

    known: Levels
    error: Int32s


class SliceRows(NamedTuple):
    """Rows of one slice that have a voxel in a front.

    lo, hi   numbers of the first row, and of the one past the last
    at       index of the first row's voxel in the padded slab
    step     distance to the next row's voxel
    depth    the slice; DEPTHS - 1 for all later ones
    group    its group of weight sets
    """

    lo: int
    hi: int
    at: int
    step: int
    depth: int
    group: int


class RowScratch(NamedTuple):
    """Scratch between the stages, for the current voxel of every row [Z·Y].

    prediction int32   of the linear stage
    scale int32        the scale index
    mean int32         in sixteenths of a grey level
    classes uint8
    error int32        the voxel minus its mean, in sixteenths of a grey level; NOTHING for the excluded level
    """

    prediction: Int32s
    scale: Int32s
    mean: Int32s
    classes: UInt8s
    error: Int32s


def geometry(shape: tuple[int, int, int]) -> tuple[int, int, tuple[int, int]]:
    """Return the number of elements of the padded slab, the index of its first voxel, its strides (slice, row)."""
    row = shape[2] + 2 * RADIUS
    plane = (shape[1] + 2 * RADIUS) * row
    return shape[0] * plane, RADIUS * row + RADIUS, (plane, row)


def unpadded(known: Levels, shape: tuple[int, int, int]) -> Levels:
    """Return the grey levels [Z, Y, X] of a flat padded slab, as a view."""
    z, y, x = shape
    within = known.reshape(z, y + 2 * RADIUS, x + 2 * RADIUS)
    return within[:, RADIUS : RADIUS + y, RADIUS : RADIUS + x]


def padded(levels: Levels) -> tuple[Levels, Int32s, tuple[int, int]]:
    """Pad levels [Z, Y, X]; returns the flat padded slab, the index int32 [Z, Y·X] of voxels in it, and its strides."""
    _, origin, (plane, row) = geometry(levels.shape)
    z, y, x = (np.arange(size, dtype=np.int32) for size in levels.shape)
    index = (z[:, None, None] * plane + y[:, None] * row + (x + origin)).reshape(levels.shape[0], -1)
    return pad(levels, 0, RADIUS).reshape(-1), index, (plane, row)


def beside(reference: Levels) -> Levels:
    """Return what follows a padded slab whose reference has these levels [Z, Y, X], flat.

    Outside of the reference, on any side, stands its nearest voxel: one slice before and one after, RADIUS voxels else.
    """
    return np.pad(reference, ((1, 1), (RADIUS, RADIUS), (RADIUS, RADIUS)), mode="edge").reshape(-1)


class Places:
    """The index of `padded` for a slab [Z, Y, X], computed slice by slice on demand."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        _, origin, (plane, row) = geometry(shape)
        z, y, x = (np.arange(size, dtype=np.int32) for size in shape)
        self._slices, self._within = z * plane, (y[:, None] * row + (x + origin)).ravel()
        self.shape = (shape[0], self._within.size)
        self.size = shape[0] * self._within.size

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, slices: slice | Integers) -> Int32s:
        return self._slices[slices][:, None] + self._within


def flat(offsets: Sequence[tuple[int, int, int]], strides: tuple[int, int]) -> Int64s:
    """Flatten offsets (dz, dy, dx) for element `strides` (slice, row).

    Returns int64 [DEPTHS, n], a row for each of a slab's first slices and the last row for all later ones. A neighbour
    before the slab's first slice is read from the first slice.
    """
    dz, dy, dx = np.array(offsets).T
    return np.stack([np.maximum(dz, -z) * strides[0] + dy * strides[1] + dx for z in range(DEPTHS)]).astype(np.int64)


def flat_beside(offsets: Sequence[tuple[int, int, int]], strides: tuple[int, int], size: int) -> Int64s:
    """Flatten offsets (dz, dy, dx) in the reference, dz from −1 to 1, like `flat`: int64 [DEPTHS, n], all rows equal.
    The padded slab has `size` elements, after which the reference begins."""
    dz, dy, dx = np.array(offsets, np.int64).reshape(-1, 3).T
    return np.tile(size + (dz + 1) * strides[0] + dy * strides[1] + dx, (DEPTHS, 1))


def runs(offsets: Iterable[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], Int64s]:
    """Cover offsets (dz, dy, dx) with runs of LANES voxels.

    Returns where the runs begin, those of the slice itself first, and the lane int64 [n] of each offset, counted across
    all runs.
    """
    offsets = list(offsets)
    begins: list[tuple[int, int, int]] = []
    for dz, dy, dx in sorted(offsets, key=lambda o: (-o[0], -o[1], o[2])):
        if not begins or begins[-1][:2] != (dz, dy) or dx >= begins[-1][2] + LANES:
            begins.append((dz, dy, dx))
    lanes = {(dz, dy, dx + i): n * LANES + i for n, (dz, dy, dx) in enumerate(begins) for i in range(LANES)}
    return begins, np.array([lanes[offset] for offset in offsets])


@part
def read(source: Int32s, at: int, lanes: Int32s, to: int) -> None:
    """Copy LANES values from place `at` to place `to`.

    All are read before any is written. The compiler cannot know that the arrays do not overlap, and would otherwise
    emit one instruction per value.
    """
    a, b, c, d = source[np.uint64(at)], source[np.uint64(at + 1)], source[np.uint64(at + 2)], source[np.uint64(at + 3)]
    at += 4
    e, f, g, h = source[np.uint64(at)], source[np.uint64(at + 1)], source[np.uint64(at + 2)], source[np.uint64(at + 3)]
    lanes[to], lanes[to + 1], lanes[to + 2], lanes[to + 3] = a, b, c, d
    lanes[to + 4], lanes[to + 5], lanes[to + 6], lanes[to + 7] = e, f, g, h
