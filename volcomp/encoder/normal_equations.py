"""The normal equations of the encoder's fit (`linear_fit.py`): sums that take long to compute, but involve no choice.

All sums are of integers that float64 holds exactly, so their results are the same in any order of addition: in the
loops here, or on a GPU (`gpu/normal_equations.py`). The few other operations are rounded the same way by every machine,
as IEEE 754 prescribes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ..constants import LANES
from ..dtypes import Float64s, Int16s, Int32s, Int64s, Levels
from ..runtime import sums, vectors
from ..runtime.compiled import REORDERED, entry, part
from ..runtime.scalars import larger, smaller
from ..runtime.sums import BLOCK
from ..runtime.vectors import I16, I32, I64, load, load_one, store
from ..stages.linear import WEIGHT_BITS
from ..stages.supports import ACTIVITY_BEFORE, ACTIVITY_IN_SLICE, BASE

UNIT = 1 << WEIGHT_BITS  # of weights, and so of errors
# Keeps sums of 2^16 weighted products below 2^53, so that float64 holds them exactly.
DIFFERENCE_LIMIT = 1 << 14
HEAVIEST = 5  # largest importance: rows of a fit are multiplied by integers 0 … 5


class Equations(Protocol):
    """Voxels of several classes [c], the differences of their n neighbours from the base, and errors of weights."""

    def products(self, thinning: int) -> Float64s:
        """Sum products over every `thinning`th voxel of each class: float64 [c, n + 1, n + 1], of the neighbours, and
        last of the voxel itself, times the square of the importance of the voxel, which is initially 1."""
        ...

    def mean_errors(self, weights: np.ndarray) -> Float64s:
        """Compute the mean absolute errors float64 [c] of integer weights [c, n], both in units of 1 / UNIT."""
        ...

    def errors(self) -> list[Float64s]:
        """Return the absolute errors float64 [v] of the last weights for every class, in the same unit."""
        ...

    def reweigh(self) -> None:
        """Set each importance to HEAVIEST · √(usual / (error + usual)), to the nearest integer, so that voxels with
        large errors under the last weights count less. `usual` is the class's median error plus half a grey level."""
        ...

    def weigh(self, importance: list[Float64s]) -> None:
        """Set the importance of voxels: integers in float64 [v] for every class."""
        ...

    def spread(self) -> Float64s:
        """Compute the mean square float64 [c] of the differences of neighbours from the base."""
        ...


# Forms the equations of classes of voxels, each int32 [v] positions in a padded slab, and of neighbours at int64 [n]
# relative to them. The base is the mean of the first BASE neighbours.
EquationsOf = Callable[[Sequence[np.ndarray], np.ndarray], Equations]
Maker = Callable[[np.ndarray], EquationsOf]  # from a slab of integers, padded and flat


def on_cpu(known: Levels) -> EquationsOf:
    """Return the `EquationsOf` of a slab on the CPU. This function is a `Maker`."""
    return partial(CpuEquations, known)


@part
def base_of(known: Levels, at: int, row: Int64s) -> Any:
    """Compute the mean of the first four neighbours."""
    total = np.int64(2)
    for i in range(BASE):
        total += known[np.uint64(at + row[i])]
    return total >> 2


def activities(known: Levels, index: Int32s, row: Int64s, leading: int) -> Int64s:
    """Compute the activity int64 [v] of voxels (`linear.predict`). Their neighbours are at `row`, relative to them, the
    first `leading` of them in the same slice or in the reference."""
    out = np.empty(index.shape[0], np.int64)
    _activities(known, index, row, leading, out)
    return out


@entry
def _activities(known: Levels, index: Int32s, row: Int64s, leading: int, out: Int64s) -> None:
    """Compute `activities`, into `out` int64 [v]."""
    alone = row.shape[0] == leading
    for v in range(index.shape[0]):
        at, activity = index[v], np.int64(0)
        base = base_of(known, at, row)
        for i in range(ACTIVITY_IN_SLICE):
            activity += abs(known[np.uint64(at + row[i])] - base)
        if alone:
            activity = (
                activity * 19
            ) // 10  # estimates the nine neighbours in the slice before from the ten in the slice
        else:
            for i in range(leading, leading + ACTIVITY_BEFORE):
                activity += abs(known[np.uint64(at + row[i])] - base)
        out[v] = activity


@entry
def _design(known: Levels, index: Int32s, row: Int64s, base: Int32s, out: Int16s) -> None:
    """Compute differences from the base, into int16 [blocks, n + 1, BLOCK]: of the neighbours, and last of the voxel
    itself; 0 after the last voxel. `base` int32 [BLOCK] is scratch memory."""
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


_VOXELS = 16  # that `_differences` processes at once


@lru_cache(maxsize=16)
def _runs(row: bytes) -> Int64s:
    """Cover neighbours int64 [n], given as bytes, by runs of LANES voxels.

    Returns int64 [runs, 1 + LANES]: where each run begins, in bytes of int16; then the row of a design that each of its
    lanes is written to, in bytes. Lanes of no neighbour go to the last row.
    """
    flat = np.frombuffer(row, np.int64)
    begins: list[int] = []
    rows: list[list[int]] = []
    for i in np.argsort(flat, kind="stable").tolist():
        at = int(flat[i])
        if not begins or at >= begins[-1] + LANES or rows[-1][at - begins[-1]] < flat.size:
            begins.append(at)
            rows.append([flat.size] * LANES)
        rows[-1][at - begins[-1]] = i
    return np.column_stack([2 * np.array(begins), 2 * BLOCK * np.array(rows)])


@vectors.kernel(6)
def _differences(b: Any, known: Any, runs: Any, count: Any, places: Any, base: Any, out: Any) -> None:
    """Compute the differences int16 of _VOXELS voxels, at positions int32, from their bases int16, into the rows of a
    design: read run by run and voxel by voxel, and transpose by shuffles. The `count` runs are from `_runs`."""
    here = [b.shl(b.sext(load_one(b, places, 4 * v, I32), I64), ir.Constant(I64, 1)) for v in range(_VOXELS)]
    own, half = load(b, base, 0, I16, _VOXELS), LANES // 2
    # Interleaves lanes of two vectors: the lower halves, and the upper halves.
    low, high = (
        [side + first + i + k for side in (0, LANES) for i in range(half) for k in (0, _VOXELS)] for first in (0, half)
    )
    with cgutils.for_range(b, count, intp=I64) as loop:
        run = b.add(runs, b.mul(loop.index, ir.Constant(I64, 8 * (1 + LANES))))
        first = b.add(known, load_one(b, run, 0, I64))
        read = [load(b, first, at, I16, LANES) for at in here]
        lines = [vectors.joined(pair) for pair in zip(read[:LANES], read[LANES:], strict=True)]
        for _ in range(3):  # each round exchanges one bit of the voxel's number for one of the lane's
            pairs = zip(lines[:half], lines[half:], strict=True)
            lines = [x.picked(which, y) for x, y in pairs for which in (low, high)]
        for k, line in enumerate(lines):
            at = load_one(b, run, 8 * (1 + k), I64)
            store(b, (line - own).within(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT), out, at)


@entry
def _short_design(
    known: Int16s, index: Int32s, row: Int64s, runs: Int64s, places: Int32s, base: Int16s,
    out: Int16s,
) -> None:  # fmt: skip
    """Compute `_design` for grey levels int16. `places` int32 [BLOCK] and `base` int16 [BLOCK] are scratch memory."""
    level, first = np.int64(known.ctypes.data), np.int64(runs.ctypes.data)
    for b in range(out.shape[0]):
        size = smaller(index.shape[0] - b * BLOCK, BLOCK)
        for v in range(BLOCK):
            places[v] = index[b * BLOCK + smaller(v, size - 1)]
            base[v] = base_of(known, places[v], row)
        block = np.int64(out[b].ctypes.data)
        for v in range(0, size, _VOXELS):
            _differences(
                level, first, runs.shape[0], np.int64(places.ctypes.data) + 4 * v, np.int64(base.ctypes.data) + 2 * v,
                block + 2 * v,
            )  # fmt: skip
        own = out[b, out.shape[1] - 1]
        for v in range(size):
            near = np.int64(known[places[v]]) - base[v]
            own[v] = smaller(larger(near, -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)
        if size < BLOCK:
            out[b, :, size:] = 0


def _products(design: Int16s, importance: Float64s, thinning: int, scratch: sums.SumScratch) -> Float64s:
    """Compute `Equations.products` for one class."""
    size, whole = design.shape[1], len(scratch.rows)
    small, large = np.zeros((whole, whole), np.int64), np.zeros((whole, whole))
    sums.add_all(design, importance, thinning, scratch, small, large)
    total = small + large
    below = np.tril(total[:size, :size])
    return below + np.tril(below, -1).T


@entry(fastmath=REORDERED)
def _errors(design: Int16s, weights: Float64s, error: Float64s, out: Float64s) -> None:
    """Compute absolute errors float64 [v] in units of 1 / UNIT. `error` float64 [BLOCK] is scratch memory."""
    for b in range(design.shape[0]):
        for v in range(BLOCK):
            error[v] = UNIT * design[b, -1, v]
        for i in range(weights.shape[0]):
            for v in range(BLOCK):
                error[v] -= weights[i] * design[b, i, v]
        part = out[b * BLOCK : (b + 1) * BLOCK]
        for v in range(part.shape[0]):
            part[v] = abs(error[v])


@entry
def _squares(design: Int16s) -> Any:
    """Sum the squares of all rows but the last, the voxel itself."""
    total = np.int64(0)
    for b in range(design.shape[0]):
        for i in range(design.shape[1] - 1):
            for v in range(BLOCK):
                total += np.int64(design[b, i, v]) * design[b, i, v]
    return total


class CpuEquations:
    """The `Equations` of numba loops. All other implementations must equal them."""

    def __init__(self, known: Levels, members: Sequence[Int32s], flat: Int64s) -> None:
        self._neighbours = flat.size
        self._designs = [np.empty((-(-m.size // BLOCK), flat.size + 1, BLOCK), np.int16) for m in members]
        for m, design in zip(members, self._designs, strict=True):
            if known.dtype == np.int16:
                places, base = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int16)
                _short_design(known, m, flat, _runs(flat.tobytes()), places, base, design)
            else:
                _design(known, m, flat, np.empty(BLOCK, np.int32), design)
        self._scratch = sums.SumScratch.of(-(-(flat.size + 1) // sums.TILE) * sums.TILE)
        self._importance = [np.ones(m.size) for m in members]
        self._errors = [np.empty(m.size) for m in members]

    def products(self, thinning: int) -> Float64s:
        """Sum products; see `Equations.products`."""
        pairs = zip(self._designs, self._importance, strict=True)
        return np.stack([_products(design, importance, thinning, self._scratch) for design, importance in pairs])

    def mean_errors(self, weights: np.ndarray) -> Float64s:
        """Compute the errors of weights, and return their means; see `Equations.mean_errors`."""
        for design, of_class, errors in zip(self._designs, weights, self._errors, strict=True):
            _errors(design, of_class, np.empty(BLOCK), errors)
        return np.array([errors.mean() for errors in self._errors])

    def errors(self) -> list[Float64s]:
        """Return the errors of the last weights; see `Equations.errors`."""
        return self._errors

    def reweigh(self) -> None:
        """Update importances from the last errors; see `Equations.reweigh`."""
        for k, errors in enumerate(self._errors):
            usual = np.partition(errors, errors.size // 2)[errors.size // 2] + UNIT // 2
            self._importance[k] = np.rint(HEAVIEST * np.sqrt(usual / (errors + usual)))

    def weigh(self, importance: list[Float64s]) -> None:
        """Set importances; see `Equations.weigh`."""
        self._importance = importance

    def spread(self) -> Float64s:
        """Compute the mean square difference; see `Equations.spread`."""
        counts = [self._neighbours * errors.size for errors in self._errors]
        return np.array([_squares(d) / count for d, count in zip(self._designs, counts, strict=True)])
