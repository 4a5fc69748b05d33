"""The stages before the network for the voxels of a front: the linear stage and the network's inputs.

`linear.predict` and `features.observe` define them. If grey levels fit into 16 bits, they run here in vector
instructions. Eight neighbours side by side, from two voxels to the left on, are read at once and then put in the order
of the inputs. A network may omit the inputs `features.SPARED`, which its *width* tells. They are not computed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from ..constants import FRACTION_BITS, INPUTS
from ..dtypes import Int8s, Int32s, Int64s
from ..errors import UnsupportedError
from ..runtime import vectors
from ..runtime.compiled import part
from ..runtime.scalars import larger, smaller
from ..runtime.vectors import I8, I16, I32, I64, Lanes, load, load_one, store
from . import features, linear
from .features import SCALE_FLOOR, scale_index
from .grid import LANES, PaddedSlab, RowScratch, SliceRows, flat

Offset = tuple[int, int, int]
BLOCK = 32  # voxels that pass from one loop to the next together
ACTIVITY, IN_SLICE, BEFORE, SPREAD, NEAR = (BLOCK * k for k in range(1, 6))  # where each begins in the scratch
LEFT = -2  # the dx at which every row that is read begins
NARROW = INPUTS - (features.SPARED.stop - features.SPARED.start)


class _Sight:
    """The neighbours that give the inputs of a width, and the rows in which they are read.

    refers   whether a slab's first slice has all levels, since those in other slices are read in the reference
    """

    def __init__(self, width: int, refers: bool = False) -> None:
        levels = len(features.LEVELS) if width == INPUTS else features.SPARED.start
        self.width = width
        self.levels: Sequence[Offset] = features.LEVELS[:levels]
        self.levels_in_slice = features.LEVELS_IN_SLICE
        self.refers = refers
        self.rest = levels + len(features.RESIDUALS)  # index of the first input that is no neighbour
        self.level_rows = _rows_of(self.levels)
        self.error_rows = _rows_of((*features.ACTIVE, *features.RESIDUALS))


def _rows_of(offsets: Sequence[Offset]) -> list[Offset]:
    """Return where the rows begin that hold the offsets, those of the slice itself first."""
    found = dict.fromkeys((dz, dy, LEFT) for dz, dy, _ in offsets)
    assert all(LEFT <= dx < LEFT + LANES for _, _, dx in offsets)
    return sorted(found, key=lambda row: (-row[0], -row[1]))


FULL, LESS, REFERRING = _Sight(INPUTS), _Sight(NARROW), _Sight(INPUTS, refers=True)
ERROR_ROWS_IN_SLICE = sum(dz == 0 for dz, _, _ in FULL.error_rows)


def _activity_weights() -> Int32s:
    """Arrange the weights of the scale by lanes of the rows of residuals.

    Returns int32 [2, rows, LANES], for a slab's first slice and for all others.
    """
    weights = np.zeros((2, len(FULL.error_rows), LANES), np.int32)
    for later in (0, 1):
        for (dz, dy, dx), weight in zip(features.ACTIVE, features.ACTIVITY_WEIGHTS[later].tolist(), strict=True):
            weights[later, FULL.error_rows.index((dz, dy, LEFT)), dx - LEFT] = weight
    return weights


class FullNeighbours(NamedTuple):
    """Where `look` reads the neighbours of a voxel, for a network that sees all inputs.

    plain                        for the loops without vector instructions
    levels int64 [DEPTHS, …]     where the rows of grey levels begin, relative to the voxel, in bytes of int16
    errors int64 [DEPTHS, …]     where the rows of residuals begin, relative to the voxel, in bytes of int32
    weights int32 [2, …, LANES]  `_activity_weights`
    """

    plain: features.Neighbours
    levels: Int64s
    errors: Int64s
    weights: Int32s


class NarrowNeighbours(NamedTuple):
    """Where `look` reads the neighbours, for a network that omits inputs: a type of its own, with loops of its own."""

    plain: features.Neighbours
    levels: Int64s
    errors: Int64s
    weights: Int32s


class ReferringNeighbours(NamedTuple):
    """Where `look` reads the neighbours, for a network that sees the reference: some in other slices are read there."""

    plain: features.Neighbours
    levels: Int64s
    errors: Int64s
    weights: Int32s


Neighbours = FullNeighbours | NarrowNeighbours | ReferringNeighbours


class Fixed(NamedTuple):
    """What `look` needs that stays the same for all voxels of a slab: the weights, and where neighbours lie."""

    fitted: linear.Fitted
    neighbours: Neighbours


def neighbours(strides: tuple[int, int], width: int, size: int = 0) -> Neighbours:
    """Return the neighbours in a padded slab with these element strides (slice, row), for a network of this width.
    `size`, of a network that sees the reference, is that of the padded slab, after which the reference begins; else 0.
    """
    kind: type[Neighbours]
    sight, kind = (FULL, FullNeighbours) if width == FULL.width else (LESS, NarrowNeighbours)
    if size:
        sight, kind = REFERRING, ReferringNeighbours
    rows = 2 * features.flat_levels(sight.level_rows, strides, size), 4 * flat(sight.error_rows, strides)
    return kind(features.neighbours(strides, size), *rows, _activity_weights())


# ------------------------------------------------------------------------------------------------------------ kernels


@vectors.kernel(6, types.int32)
def _gather(b: Any, known: Any, runs: Any, pairs: Any, base: Any, near: Any, active: Any) -> Any:
    """Write the differences int16 of `pairs` pairs of runs from the base to `near`; returns their activity.

    known   address of the voxel, int16
    runs    address of where the runs begin, int64, in bytes relative to the voxel
    active  address of int16 by lane: 1 for neighbours of the activity
    """
    zero = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    total = cgutils.alloca_once_value(b, zero)
    b.store(zero, total)
    level = vectors.spread(b, b.trunc(base, I16), 2 * LANES)
    with cgutils.for_range(b, pairs, intp=I64) as loop:
        at = b.mul(loop.index, ir.Constant(I64, 16))
        first, second = (load(b, known, load_one(b, runs, b.add(at, ir.Constant(I64, k)), I64), I16, 8) for k in (0, 8))
        lanes = b.mul(at, ir.Constant(I64, 2))
        differences = first.picked(range(2 * LANES), second) - level
        store(b, differences, near, lanes)
        counted = vectors.add_pairs(abs(differences), load(b, active, lanes, I16, 2 * LANES))
        b.store((Lanes(b, b.load(total)) + counted).value, total)
    return Lanes(b, b.load(total)).total()


@vectors.kernel(3, types.int32)
def _reached(b: Any, steps: Any, eights: Any, activity: Any) -> Any:
    """Count how many of 8 · `eights` thresholds int32 an activity reaches."""
    zero = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    total = cgutils.alloca_once_value(b, zero)
    b.store(zero, total)
    own = vectors.spread(b, b.trunc(activity, I32), LANES)
    with cgutils.for_range(b, eights, intp=I64) as loop:
        bounds = load(b, steps, b.mul(loop.index, ir.Constant(I64, 4 * LANES)), I32, LANES)
        b.store((Lanes(b, b.load(total)) + own.reaches(bounds)).value, total)
    return Lanes(b, b.load(total)).total()


@vectors.kernel(3, types.int32)
def _weigh(b: Any, near: Any, weights: Any, pairs: Any) -> Any:
    """Return the sum of the products, int16 by int16, of `pairs` pairs of runs."""
    zero = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    total = cgutils.alloca_once_value(b, zero)
    b.store(zero, total)
    with cgutils.for_range(b, pairs, intp=I64) as loop:
        at = b.mul(loop.index, ir.Constant(I64, 4 * LANES))
        products = vectors.add_pairs(*(load(b, array, at, I16, 2 * LANES) for array in (near, weights)))
        b.store((Lanes(b, b.load(total)) + products).value, total)
    return Lanes(b, b.load(total)).total()


@vectors.kernel(3, types.uint64)
def _activities(b: Any, error: Any, rows: Any, weights: Any) -> Any:
    """Return the weighted sum of absolute residuals in the slice, and that of the slice before in the high 32 bits.

    Residuals are within ±2^19, so neither sum reaches 2^32.
    """
    sums = []
    for begin, end in ((0, ERROR_ROWS_IN_SLICE), (ERROR_ROWS_IN_SLICE, len(FULL.error_rows))):
        parts = [
            abs(load(b, error, load_one(b, rows, 8 * r, I64), I32, LANES)) * load(b, weights, 32 * r, I32, LANES)
            for r in range(begin, end)
        ]
        total = parts[0]
        for more in parts[1:]:
            total = total + more
        sums.append(b.zext(total.total(), I64))
    return b.or_(sums[0], b.shl(sums[1], ir.Constant(I64, 32)))


def _arranged(rows: Sequence[Lanes], begins: Sequence[Offset], wanted: Sequence[Offset]) -> Lanes:
    """Pick the LANES neighbours `wanted` from `rows`, which begin at `begins`."""
    sources = [begins.index((dz, dy, LEFT)) for dz, dy, _ in wanted]
    found: Lanes | None = None
    for row in sorted(set(sources)):
        own = [dx - LEFT if source == row else -1 for source, (_, _, dx) in zip(sources, wanted, strict=True)]
        if found is None:
            found = rows[row].picked([max(lane, 0) for lane in own])
        else:
            found = found.picked([i if lane < 0 else LANES + lane for i, lane in enumerate(own)], rows[row])
    assert found is not None
    return found


class _Voxel(NamedTuple):
    """Addresses of a voxel in the grey levels int16 and in the residuals int32."""

    known: Any
    error: Any


class _Begins(NamedTuple):
    """Addresses of where rows begin, int64, in bytes relative to the voxel: rows of grey levels, and of residuals."""

    levels: Any
    errors: Any


class _Unit(NamedTuple):
    """The unit of differences: one of RECIPROCALS, and the one of BOUNDS that belongs to it."""

    reciprocal: Any
    bound: Any


def _inputs(sight: _Sight) -> Any:
    """Build the kernel that computes the inputs of neighbours."""

    @vectors.kernel(6, types.int32, voxel=_Voxel, begins=_Begins, unit=_Unit)
    def make(b: Any, voxel: _Voxel, begins: _Begins, prediction: Any, unit: _Unit, later: Any, inputs: Any) -> Any:
        """Write inputs int8 from the grey levels and residuals around a voxel.

        Returns the sum of absolute differences between the levels in the slice and the prediction. `later` is 0 in a
        slab's first slice, where the inputs of other slices are 0.
        """
        levels, errors = (
            [load(b, source, load_one(b, rows, 8 * r, I64), kind, LANES) for r in range(count)]
            for source, rows, kind, count in (
                (voxel.known, begins.levels, I16, len(sight.level_rows)),
                (voxel.error, begins.errors, I32, len(sight.error_rows)),
            )
        )
        p = vectors.spread(b, b.trunc(prediction, I32), LANES)
        parts = []
        for k in range(0, len(sight.levels), LANES):
            part = _arranged(levels, sight.level_rows, sight.levels[k : k + LANES])
            parts.append((part.widened() << 4) - p)
        for k in range(0, len(features.RESIDUALS), LANES):
            parts.append(_arranged(errors, sight.error_rows, features.RESIDUALS[k : k + LANES]))
        in_slice = [
            *(sight.refers or k < sight.levels_in_slice for k in range(len(sight.levels))),
            *(k < features.RESIDUALS_IN_SLICE for k in range(len(features.RESIDUALS))),
        ]
        distances = abs(vectors.joined(parts[:2])) * vectors.constant(
            b, I32, [k < sight.levels_in_slice for k in range(2 * LANES)]
        )
        keep = b.icmp_signed("!=", later, ir.Constant(I64, 0))
        for k in range(0, len(parts), 2):
            both = vectors.joined(parts[k : k + 2])
            limit, factor = (vectors.spread(b, b.trunc(x, I32), both.count) for x in (unit.bound, unit.reciprocal))
            units = ((both.within(0 - limit, limit) * factor) >> 14).within(-8192, 8192)
            # `features.squash`
            squashed = ((units - ((units * abs(units)) >> 14) + 16) >> 5).at_most(features.INPUT_LIMIT).narrowed(I8)
            own = in_slice[k * LANES : k * LANES + both.count]
            if not all(own):
                squashed = squashed.chosen(keep, squashed.masked(own))
            store(b, squashed, inputs, k * LANES)
        return distances.total()

    return make


_make_all, _make_fewer, _make_referring = _inputs(FULL), _inputs(LESS), _inputs(REFERRING)

# --------------------------------------------------------------------------------------------------------------- look


def scratch_for(fitted: linear.Fitted) -> int:
    """Return how many int64 of scratch `look` needs."""
    return NEAR + BLOCK * fitted.active.size // 4


def _vector_look(make: Any, sight: _Sight) -> Any:
    """Build `look` for int16, with the kernel that computes the inputs."""
    rest, refers = sight.rest, sight.refers

    def look(rows: Any, slab: Any, fixed: Any, state: Any, inputs: Any, scratch: Any) -> None:
        lo, hi, at, step, depth, group = rows
        known, error = slab
        fitted, neighbours = fixed
        lanes, later = np.int64(fitted.active.shape[0]), np.int64(depth > 0)
        # Scratch between the loops holds BLOCK numbers each of bases, activities, two sums of residuals, and spreads.
        # The differences from the bases follow.
        active, to_near = np.int64(fitted.active.ctypes.data), np.int64(scratch.ctypes.data) + 8 * NEAR
        levels, errors = np.int64(known.ctypes.data), np.int64(error.ctypes.data)
        runs = np.int64(fitted.run_bytes.ctypes.data) + depth * 8 * fitted.run_bytes.shape[1]
        eights, classes = np.int64(fitted.steps.shape[1] >> 3), np.int64(fitted.weights.shape[1])
        steps = np.int64(fitted.steps.ctypes.data) + group * 32 * eights
        level_rows = np.int64(neighbours.levels.ctypes.data) + depth * 8 * neighbours.levels.shape[1]
        error_rows = np.int64(neighbours.errors.ctypes.data) + depth * 8 * neighbours.errors.shape[1]
        begins = _Begins(level_rows, error_rows)
        scaling = np.int64(neighbours.weights.ctypes.data) + later * 4 * LANES * neighbours.weights.shape[1]
        weights = np.int64(fitted.weights.ctypes.data) + 2 * lanes * group * classes
        pairs = lanes >> 4 if later else np.int64(fitted.leading >> 1)
        width, to_inputs = np.int64(inputs.shape[1]), np.int64(inputs.ctypes.data)
        west, north, north_west, north_east = fitted.nearest
        most = np.int64(fitted.limit) << FRACTION_BITS
        for begin in range(lo, hi, BLOCK):
            # One loop for each step: voxels do not wait for each other, so a processor works on several at once.
            count = smaller(BLOCK, hi - begin)
            for i in range(count):
                here = at + i * step
                base = np.int64(2)
                base += known[np.uint64(here + west)] + known[np.uint64(here + north)]
                base += known[np.uint64(here + north_west)] + known[np.uint64(here + north_east)]
                scratch[i] = base >> 2
                scratch[ACTIVITY + i] = _gather(
                    levels + 2 * here, runs, pairs, base >> 2, to_near + 2 * i * lanes, active
                )
            for i in range(count):
                activity = scratch[ACTIVITY + i]
                if not later:
                    activity = activity * 19 // 10
                c = np.int64(_reached(steps, eights, activity))
                total = np.int64(_weigh(to_near + 2 * i * lanes, weights + 2 * lanes * c, pairs))
                p = scratch[i] << FRACTION_BITS
                p += (total + 128) >> (linear.WEIGHT_BITS - FRACTION_BITS)
                state.prediction[begin + i] = smaller(larger(p, 0), most)
            for i in range(count):
                both = _activities(errors + 4 * (at + i * step), error_rows, scaling)
                in_slice, before = np.int64(both & np.uint64(0xFFFFFFFF)), np.int64(both >> np.uint64(32))
                scratch[IN_SLICE + i], scratch[BEFORE + i] = in_slice, before
                state.scale[begin + i] = scale_index(((in_slice + before) >> 8) + SCALE_FLOOR)
            for i in range(count):
                here, k = at + i * step, np.uint64(state.scale[begin + i])
                scratch[SPREAD + i] = make(
                    _Voxel(levels + 2 * here, errors + 4 * here), begins, np.int64(state.prediction[begin + i]),
                    _Unit(features.RECIPROCALS[k], features.BOUNDS[k]), later, to_inputs + (begin + i) * width,
                )  # fmt: skip
            for i in range(count):
                v = begin + i
                sums = features.Sums(scratch[IN_SLICE + i], scratch[BEFORE + i], scratch[SPREAD + i])
                features.describe(inputs[v], rest, np.int64(state.scale[v]), np.int64(state.prediction[v]), later, sums)
                if refers:
                    own = np.int64(state.scale[v])
                    features.compare(inputs[v], rest, own, later, known, at + i * step, neighbours.plain)
            at += count * step

    return look


def _plain_look(width: int) -> Any:
    """Build `look` without vector instructions, for grey levels beyond 16 bits."""
    begin, end = features.SPARED.start, features.SPARED.stop
    sees_all = width == FULL.width

    @part(allocates=True)
    def plain(rows: Any, slab: Any, fixed: Any, state: Any, inputs: Any) -> None:
        lo, hi, at, step, depth, group = rows
        count = hi - lo
        place, depths, groups = np.empty(count, np.int64), np.empty(count, np.uint8), np.empty(count, np.uint8)
        for v in range(count):
            place[v], depths[v], groups[v] = at + v * step, depth, group
        prediction, scale = state.prediction[lo:hi], state.scale[lo:hi]
        linear.predict(slab.known, place, depths, groups, fixed.fitted, prediction)
        seen = np.empty((count, INPUTS), np.int8)
        features.observe(slab, place, depths, fixed.neighbours.plain, prediction, scale, seen)
        for v in range(count):
            for j in range(INPUTS):
                if sees_all or j < begin:
                    inputs[lo + v, j] = seen[v, j]
                elif j >= end:
                    inputs[lo + v, j - (end - begin)] = seen[v, j]

    def look(rows: Any, slab: Any, fixed: Any, state: Any, inputs: Any, scratch: Any) -> None:
        plain(rows, slab, fixed, state, inputs)

    return look


_vector_all, _vector_fewer = _vector_look(_make_all, FULL), _vector_look(_make_fewer, LESS)
_vector_referring = _vector_look(_make_referring, REFERRING)
_plain_all, _plain_fewer = _plain_look(FULL.width), _plain_look(LESS.width)


def look(rows: SliceRows, slab: PaddedSlab, fixed: Fixed, state: RowScratch, inputs: Int8s, scratch: Int64s) -> None:
    """Run the stages before the network for rows of one slice. Only compiled code can call it.

    state           out: prediction and scale
    inputs int8     [r, …] out
    scratch int64   `scratch_for` the linear stage or more
    """
    raise UnsupportedError("volcomp does not work without compiling: unset NUMBA_DISABLE_JIT")


def _field(named_tuple: Any, name: str) -> Any:
    """Return the type of a field, from numba's type of a named tuple."""
    return named_tuple.types[named_tuple.fields.index(name)]


@overload(look)
def _look_as(rows: Any, slab: Any, fixed: Any, state: Any, inputs: Any, scratch: Any) -> Any:
    fitted, neighbours = (_field(fixed, name) for name in Fixed._fields)
    sees_all = neighbours.instance_class is not NarrowNeighbours
    if _field(slab, "known").dtype == types.int16 and _field(fitted, "weights").dtype == types.int16:
        if neighbours.instance_class is ReferringNeighbours:
            return _vector_referring
        return _vector_all if sees_all else _vector_fewer
    return _plain_all if sees_all else _plain_fewer
