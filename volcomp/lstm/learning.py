"""The head keeps learning while a slab is coded: the same integer steps on both sides, and nothing to send.

After each front every voxel says which way the two outputs should have been: the slope of its code length, looked up by
class and distance from the mean. Slope times what the head saw, summed over the voxels, is the gradient of the head. It
is multiplied by a fixed matrix, the *metric*: the inverse of the covariance of what a head sees, measured in training,
times the learning rate (natural gradient: Amari 1998). All sums are of integers, so their order does not matter.

Units: slopes are in 1/32 bit, a metric's entries in 2^-METRIC_BITS.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from .. import vectors
from ..compiled import REORDERED, entry, part
from ..vectors import I8, I16, I32, I64, Lanes, load, load_one, store

CLASSES = 76  # as `residual.CLASSES`
BINS = 64  # of distances, each an eighth of the scale of a class wide
FINEST = 20  # classes below have the bins of this one, a quarter of a grey level
ENOUGH = 256  # voxels that make a step
NOTHING = -(1 << 31)  # in place of a distance: a voxel that nothing is learned from
EXACT_BITS = 16
METRIC_BITS = 10
MEAN_BITS = 8  # fraction that is kept of the mean slope
# 1024 · 2^((4k + 1.5)/16) for k = 0 … 3: scales within an octave, as in `spike`.
QUARTERS = (1093, 1299, 1545, 1838)
# Eighths of a class's scale in a sixteenth of a grey level, in 2^-24.
RECIPROCALS = np.array([(1 << 39) // (QUARTERS[c & 3] << (c >> 2)) for c in range(CLASSES)], np.int64)
# From slope times input, in 1/32 and 1/128, and the metric to 1/65536 of a head's weight of 1/256.
STEP_SHIFT = METRIC_BITS + MEAN_BITS + 5 + 7 - 8 - EXACT_BITS
LANES = 16  # columns at a time,
AT_ONCE = 256  # and voxels: an even number


class Room(NamedTuple):
    """What `collect` works in.

    places int64 [AT_ONCE]     where the inputs of each voxel begin
    tilts int16 [2, AT_ONCE]   what each one's outputs should have done
    sums int32 [2, AT_ONCE]
    """

    places: np.ndarray
    tilts: np.ndarray
    sums: np.ndarray


def room(columns: int) -> Room:
    """For a head that sees so many inputs."""
    assert columns <= AT_ONCE
    return Room(np.empty(AT_ONCE, np.int64), np.empty((2, AT_ONCE), np.int16), np.empty((2, AT_ONCE), np.int32))


@part
def bin_of(missed: Any, c: Any) -> Any:
    """The bin of a voxel that lies `missed` sixteenths of a grey level from the mean, in class c."""
    return min((abs(np.int64(missed)) * RECIPROCALS[max(c, FINEST)]) >> 24, BINS - 1)


@vectors.kernel(7)
def _add(b: Any, inputs: Any, places: Any, tilts: Any, across: Any, pairs: Any, pieces: Any, sums: Any) -> None:
    """Sums int32 of int8 times int16, over `pairs` pairs of voxels and for LANES · `pieces` columns, to `sums` and
    4 · `across` bytes behind that.

    inputs   address of the first voxel's, from which the others' lie at places int64 [2 · pairs]
    tilts    int16 [2 · pairs], what one voxel's inputs are multiplied with, and the same 2 · `across` bytes behind that
    """
    kind = ir.VectorType(I32, LANES)
    totals = [cgutils.alloca_once(b, kind) for _ in range(2)]
    in_turn = [lane for k in range(LANES) for lane in (k, LANES + k)]
    with cgutils.for_range(b, pieces, intp=I64) as piece:
        begin = b.add(inputs, b.mul(piece.index, ir.Constant(I64, LANES)))
        for total in totals:
            b.store(ir.Constant(kind, [0] * LANES), total)
        with cgutils.for_range(b, pairs, intp=I64) as loop:
            at = b.mul(loop.index, ir.Constant(I64, 16))
            x, y = (load(b, begin, load_one(b, places, b.add(at, ir.Constant(I64, k)), I64), I8, LANES) for k in (0, 8))
            both = x.picked(in_turn, y).widened(I16)
            for k, total in enumerate(totals):
                at = b.add(b.mul(loop.index, ir.Constant(I64, 4)), b.mul(across, ir.Constant(I64, 2 * k)))
                tilt = vectors.spread(b, load_one(b, tilts, at, I32), LANES)
                pair = Lanes(b, b.bitcast(tilt.value, both.value.type))
                b.store((Lanes(b, b.load(total)) + vectors.add_pairs(both, pair)).value, total)
        for k, total in enumerate(totals):
            at = b.add(b.mul(piece.index, ir.Constant(I64, 4 * LANES)), b.mul(across, ir.Constant(I64, 4 * k)))
            store(b, Lanes(b, b.load(total)), sums, at)


@entry
def collect(
    inputs: np.ndarray, lo: int, hi: int, unseen: int, missed: np.ndarray, classes: np.ndarray, slopes: np.ndarray,
    slope: np.ndarray, count: np.ndarray, room: Room,
) -> None:  # fmt: skip
    """Add what the voxels of rows lo … hi-1 say to `slope` and `count` of a `State`.

    inputs int8 [r, …]   of the state, of which the head sees those from `unseen` on
    missed int32 [r]     voxel minus mean, in sixteenths of a grey level, or NOTHING
    classes uint8 [r]    as the network gave them
    slopes int8 [2, CLASSES, BINS]
    """
    n = slope.shape[1]
    pieces, width = n // LANES, inputs.shape[1]
    first, second = room.tilts[0], room.tilts[1]
    for begin in range(lo, hi, AT_ONCE):
        k = 0
        for v in range(begin, min(begin + AT_ONCE, hi)):
            if missed[v] == NOTHING:
                continue
            c = classes[v]
            b = bin_of(missed[v], c)
            first[k] = -slopes[0, c, b] if missed[v] > 0 else slopes[0, c, b]
            second[k] = slopes[1, c, b]
            room.places[k] = np.int64(v) * width + unseen
            k += 1
        count[0] += k
        if k % 2:
            room.places[k], first[k], second[k] = room.places[k - 1], 0, 0
        _add(
            np.int64(inputs.ctypes.data), np.int64(room.places.ctypes.data), np.int64(room.tilts.ctypes.data),
            AT_ONCE, (k + 1) >> 1, pieces, np.int64(room.sums.ctypes.data),
        )  # fmt: skip
        for j in range(pieces * LANES):
            slope[0, j] += room.sums[0, j]
            slope[1, j] += room.sums[1, j]
        for j in range(pieces * LANES, n):  # columns that fill no vector
            for i in range(k):
                x = np.int64(inputs[room.places[i] // width, unseen + j])
                slope[0, j] += first[i] * x
                slope[1, j] += second[i] * x


@entry(fastmath=REORDERED)
def step(
    metric: np.ndarray, limit: int, exact: np.ndarray, head: np.ndarray, slope: np.ndarray, count: np.ndarray,
    mean: np.ndarray,
) -> None:  # fmt: skip
    """One step downhill, once ENOUGH voxels have been collected.

    metric float64 [n, n] holds integers, and its products with the mean slopes stay below 2^53; weights stay within
    ±limit. The other arrays are those of the `State`; `mean` float64 [n] is room to work in.
    """
    if count[0] < ENOUGH:
        return
    n = metric.shape[0]
    for k in range(2):
        for j in range(n):
            mean[j] = (slope[k, j] << MEAN_BITS) // count[0]
        for i in range(n):
            row, total = metric[i], 0.0
            for j in range(n):
                total += row[j] * mean[j]
            moved = exact[k, i] - (np.int64(total) >> STEP_SHIFT)
            exact[k, i] = min(max(moved, -limit << EXACT_BITS), limit << EXACT_BITS)
            head[k, i] = (exact[k, i] + (1 << (EXACT_BITS - 1))) >> EXACT_BITS
    for j in range(n):
        slope[0, j] = slope[1, j] = 0
    count[0] = 0
