"""The sums that the encoder's fit of stage 1 is solved from (`least_squares.py`): what takes long, and decides nothing.

All of it is integers that float64 holds exactly, so that whoever adds them up, in whatever order, gets the same bits:
loops here, or a GPU (`gpu/equations.py`). What is no sum of integers is a few operations that IEEE 754 rounds in one
way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ..constants import LANES
from ..runtime import sums, vectors
from ..runtime.compiled import REORDERED, entry, part
from ..runtime.scalars import larger, smaller
from ..runtime.sums import BLOCK
from ..runtime.vectors import I16, I32, I64, load, load_one, store
from ..stages.linear import WEIGHT_BITS
from ..stages.supports import ACTIVITY_BEFORE, ACTIVITY_IN_SLICE, BASE

UNIT = 1 << WEIGHT_BITS  # of weights, and so of errors
# So that sums of 2^16 weighted products stay below 2^53, and float64 holds them exactly.
DIFFERENCE_LIMIT = 1 << 14
HEAVIEST = 5  # of the factors that rows of a fit are multiplied with, integers from 0


class Equations(Protocol):
    """Voxels of several classes [c], how far their n neighbours lie from the base, and what weights of these miss."""

    def products(self, thinning: int) -> np.ndarray:
        """Sums over every so manieth voxel of each class, float64 [c, n + 1, n + 1]: of the products of neighbours, and
        last of the voxel itself, times the square of its importance, which is 1 at first."""
        ...

    def miss(self, weights: np.ndarray) -> np.ndarray:
        """The mean absolute error float64 [c] of weights [c, n], integers; both in units of 1 / UNIT."""
        ...

    def errors(self) -> list[np.ndarray]:
        """What the last weights have missed: absolute errors float64 [v] of every class, in the same unit."""
        ...

    def reweigh(self) -> None:
        """Let a voxel that the last weights have missed by more count less: its importance is HEAVIEST times the root
        of usual / (error + usual), to the nearest integer; usual is the class's median and half a grey level."""
        ...

    def weigh(self, importance: list[np.ndarray]) -> None:
        """Let voxels have this importance, integers in float64 [v] for every class."""
        ...

    def spread(self) -> np.ndarray:
        """The mean square float64 [c] of how far neighbours lie from the base."""
        ...


# The equations of classes of voxels, each int32 [v] places in a padded slab, and of neighbours at int64 [n] relative to
# these. The first BASE neighbours make the base.
Take = Callable[[Sequence[np.ndarray], np.ndarray], Equations]
Maker = Callable[[np.ndarray], Take]  # given a slab of integers, padded and flat


def on_cpu(known: np.ndarray) -> Take:
    """The `Maker` of the CPU."""
    return partial(OnCpu, known)


@part
def base_of(known: np.ndarray, at: int, row: np.ndarray) -> Any:
    """The mean of the first four neighbours."""
    total = np.int64(2)
    for i in range(BASE):
        total += known[np.uint64(at + row[i])]
    return total >> 2


def activities(known: np.ndarray, index: np.ndarray, row: np.ndarray, in_slice: int) -> np.ndarray:
    """The activity int64 [v] of voxels (`linear.predict`), whose neighbours lie at `row` relative to them; the first
    `in_slice` of these in the slice itself."""
    out = np.empty(index.shape[0], np.int64)
    _activities(known, index, row, in_slice, out)
    return out


@entry
def _activities(known: np.ndarray, index: np.ndarray, row: np.ndarray, in_slice: int, out: np.ndarray) -> None:
    """As `activities`, into int64 [v]."""
    alone = row.shape[0] == in_slice
    for v in range(index.shape[0]):
        at, activity = index[v], np.int64(0)
        base = base_of(known, at, row)
        for i in range(ACTIVITY_IN_SLICE):
            activity += abs(known[np.uint64(at + row[i])] - base)
        if alone:
            activity = (activity * 19) // 10  # as if the nine neighbours before were like the ten in the slice
        else:
            for i in range(in_slice, in_slice + ACTIVITY_BEFORE):
                activity += abs(known[np.uint64(at + row[i])] - base)
        out[v] = activity


@entry
def _design(known: np.ndarray, index: np.ndarray, row: np.ndarray, base: np.ndarray, out: np.ndarray) -> None:
    """Differences from the base, into int16 [blocks, n + 1, BLOCK]: of the neighbours, and last of the voxel itself.
    What is beyond the last voxel is 0. `base` int32 [BLOCK] is room to work in."""
    for b in range(out.shape[0]):
        places = index[b * BLOCK : (b + 1) * BLOCK]
        size = places.shape[0]
        for v in range(size):
            base[v] = base_of(known, places[v], row)
        for i in range(out.shape[1]):
            offset = row[i] if i < row.shape[0] else np.int64(0)
            for v in range(size):
                near = known[np.uint64(places[v] + offset)] - base[v]
                out[b, i, v] = smaller(larger(near, -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)
            out[b, i, size:] = 0


_VOXELS = 16  # that `_differences` works on at once


@lru_cache(maxsize=16)
def _runs(row: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Of neighbours int64 [n]: where the runs of LANES voxels begin that hold them, int64 [runs] in bytes of int16, and
    in which row of a design each lane belongs, int64 [runs, LANES] in bytes; those of no neighbour in the last one."""
    flat = np.frombuffer(row, np.int64)
    begins: list[int] = []
    rows: list[list[int]] = []
    for i in np.argsort(flat, kind="stable").tolist():
        at = int(flat[i])
        if not begins or at >= begins[-1] + LANES or rows[-1][at - begins[-1]] < flat.size:
            begins.append(at)
            rows.append([flat.size] * LANES)
        rows[-1][at - begins[-1]] = i
    return 2 * np.array(begins), 2 * BLOCK * np.array(rows)


@vectors.kernel(7)
def _differences(b: Any, known: Any, begins: Any, rows: Any, runs: Any, places: Any, base: Any, out: Any) -> None:
    """Differences int16 of _VOXELS voxels, at places int32, from their bases int16, to the rows of a design: read run
    by run and voxel by voxel, and turned by shuffles. `begins` and `rows` as `_runs` has them."""
    here = [b.shl(b.sext(load_one(b, places, 4 * v, I32), I64), ir.Constant(I64, 1)) for v in range(_VOXELS)]
    own, half = load(b, base, 0, I16, _VOXELS), LANES // 2
    # The lower and the upper lanes of two vectors in turn, in either half.
    low, high = (
        [side + first + i + k for side in (0, LANES) for i in range(half) for k in (0, _VOXELS)] for first in (0, half)
    )
    with cgutils.for_range(b, runs, intp=I64) as loop:
        first = b.add(known, load_one(b, begins, b.mul(loop.index, ir.Constant(I64, 8)), I64))
        read = [load(b, first, at, I16, LANES) for at in here]
        lines = [vectors.joined(pair) for pair in zip(read[:LANES], read[LANES:], strict=True)]
        for _ in range(3):  # each round turns one bit of the voxel's number into one of the lane's
            pairs = zip(lines[:half], lines[half:], strict=True)
            lines = [x.picked(which, y) for x, y in pairs for which in (low, high)]
        for k, line in enumerate(lines):
            at = load_one(b, rows, b.add(b.mul(loop.index, ir.Constant(I64, 8 * LANES)), ir.Constant(I64, 8 * k)), I64)
            store(b, (line - own).within(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT), out, at)


@entry
def _short_design(
    known: np.ndarray, index: np.ndarray, row: np.ndarray, begins: np.ndarray, rows: np.ndarray, places: np.ndarray,
    base: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """As `_design`, of grey levels int16. `places` int32 [BLOCK] and `base` int16 [BLOCK] are room to work in."""
    level, first, to = np.int64(known.ctypes.data), np.int64(begins.ctypes.data), np.int64(rows.ctypes.data)
    for b in range(out.shape[0]):
        size = smaller(index.shape[0] - b * BLOCK, BLOCK)
        for v in range(BLOCK):
            places[v] = index[b * BLOCK + smaller(v, size - 1)]
            base[v] = base_of(known, places[v], row)
        block = np.int64(out[b].ctypes.data)
        for v in range(0, size, _VOXELS):
            _differences(
                level, first, to, begins.shape[0], np.int64(places.ctypes.data) + 4 * v,
                np.int64(base.ctypes.data) + 2 * v, block + 2 * v,
            )  # fmt: skip
        own = out[b, out.shape[1] - 1]
        for v in range(size):
            near = np.int64(known[places[v]]) - base[v]
            own[v] = smaller(larger(near, -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)
        if size < BLOCK:
            out[b, :, size:] = 0


def _products(design: np.ndarray, importance: np.ndarray, thinning: int, room: sums.Room) -> np.ndarray:
    """As `Equations.products`, of one class."""
    size, whole = design.shape[1], len(room.rows)
    small, large = np.zeros((whole, whole), np.int64), np.zeros((whole, whole))
    sums.add_all(design, importance, thinning, room, small, large)
    total = small + large
    below = np.tril(total[:size, :size])
    return below + np.tril(below, -1).T


@entry(fastmath=REORDERED)
def _errors(design: np.ndarray, weights: np.ndarray, missed: np.ndarray, out: np.ndarray) -> None:
    """Absolute errors float64 [v] in units of 1 / UNIT; `missed` float64 [BLOCK] is room to work in."""
    for b in range(design.shape[0]):
        for v in range(BLOCK):
            missed[v] = UNIT * design[b, -1, v]
        for i in range(weights.shape[0]):
            for v in range(BLOCK):
                missed[v] -= weights[i] * design[b, i, v]
        part = out[b * BLOCK : (b + 1) * BLOCK]
        for v in range(part.shape[0]):
            part[v] = abs(missed[v])


@entry
def _squares(design: np.ndarray) -> Any:
    """The sum of squares of all that is no voxel itself."""
    total = np.int64(0)
    for b in range(design.shape[0]):
        for i in range(design.shape[1] - 1):
            for v in range(BLOCK):
                total += np.int64(design[b, i, v]) * design[b, i, v]
    return total


class OnCpu:
    """The `Equations` that numba's loops make, and the definition of what others make."""

    def __init__(self, known: np.ndarray, members: Sequence[np.ndarray], flat: np.ndarray) -> None:
        self._neighbours = flat.size
        self._designs = [np.empty((-(-m.size // BLOCK), flat.size + 1, BLOCK), np.int16) for m in members]
        for m, design in zip(members, self._designs, strict=True):
            if known.dtype == np.int16:
                places, base = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int16)
                _short_design(known, m, flat, *_runs(flat.tobytes()), places, base, design)
            else:
                _design(known, m, flat, np.empty(BLOCK, np.int32), design)
        self._room = sums.Room.of(-(-(flat.size + 1) // sums.TILE) * sums.TILE)
        self._importance = [np.ones(m.size) for m in members]
        self._errors = [np.empty(m.size) for m in members]

    def products(self, thinning: int) -> np.ndarray:
        """As `Equations` says."""
        pairs = zip(self._designs, self._importance, strict=True)
        return np.stack([_products(design, importance, thinning, self._room) for design, importance in pairs])

    def miss(self, weights: np.ndarray) -> np.ndarray:
        """As `Equations` says."""
        for design, of_class, errors in zip(self._designs, weights, self._errors, strict=True):
            _errors(design, of_class, np.empty(BLOCK), errors)
        return np.array([errors.mean() for errors in self._errors])

    def errors(self) -> list[np.ndarray]:
        """As `Equations` says."""
        return self._errors

    def reweigh(self) -> None:
        """As `Equations` says."""
        for k, errors in enumerate(self._errors):
            usual = np.partition(errors, errors.size // 2)[errors.size // 2] + UNIT // 2
            self._importance[k] = np.rint(HEAVIEST * np.sqrt(usual / (errors + usual)))

    def weigh(self, importance: list[np.ndarray]) -> None:
        """As `Equations` says."""
        self._importance = importance

    def spread(self) -> np.ndarray:
        """As `Equations` says."""
        counts = [self._neighbours * errors.size for errors in self._errors]
        return np.array([_squares(d) / count for d, count in zip(self._designs, counts, strict=True)])
