"""Neighbours in a padded slab that is stored flat: where they lie, and how to read those that lie side by side at once,
so many as vector units take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..runtime.compiled import part

LANES = 8
DEPTHS = 8  # slices of a slab that are told apart, for no neighbour lies more than seven slices back


def flat(offsets: Sequence[tuple[int, int, int]], strides: tuple[int, int]) -> np.ndarray:
    """Offsets (dz, dy, dx) for element `strides` (slice, row): int64 [DEPTHS, n], a row for each of a slab's first
    slices, the last for all others. What lies before the slab's first slice is read from the first slice."""
    dz, dy, dx = np.array(offsets).T
    return np.stack([np.maximum(dz, -z) * strides[0] + dy * strides[1] + dx for z in range(DEPTHS)]).astype(np.int64)


def runs(offsets: Iterable[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], np.ndarray]:
    """The runs of LANES voxels that hold all of some offsets (dz, dy, dx): where they begin, those of the slice itself
    first, and the lane int64 [n] of each offset, counted through all runs."""
    offsets = list(offsets)
    begins: list[tuple[int, int, int]] = []
    for dz, dy, dx in sorted(offsets, key=lambda o: (-o[0], -o[1], o[2])):
        if not begins or begins[-1][:2] != (dz, dy) or dx >= begins[-1][2] + LANES:
            begins.append((dz, dy, dx))
    lanes = {(dz, dy, dx + i): n * LANES + i for n, (dz, dy, dx) in enumerate(begins) for i in range(LANES)}
    return begins, np.array([lanes[offset] for offset in offsets])


@part
def read(source: np.ndarray, at: int, lanes: np.ndarray, to: int) -> None:
    """Copy LANES values from place `at` to place `to`: all are read before any is written, or it would take as many
    instructions as values, because the compiler cannot know that the arrays do not overlap."""
    a, b, c, d = source[np.uint64(at)], source[np.uint64(at + 1)], source[np.uint64(at + 2)], source[np.uint64(at + 3)]
    at += 4
    e, f, g, h = source[np.uint64(at)], source[np.uint64(at + 1)], source[np.uint64(at + 2)], source[np.uint64(at + 3)]
    lanes[to], lanes[to + 1], lanes[to + 2], lanes[to + 3] = a, b, c, d
    lanes[to + 4], lanes[to + 5], lanes[to + 6], lanes[to + 7] = e, f, g, h
