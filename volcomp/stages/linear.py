"""The linear stage: a predictor with integer weights that the encoder fits to the slab and sends.

Each voxel is predicted as the mean of four neighbours plus a weighted sum of the differences between the neighbours of
a *support* (`supports.py`) and that mean. There are up to eight sets of weights. The local activity chooses among them,
so that edges and noise have different weights. This is the classical class-adaptive least-squares predictor (Wu & Memon
1997; Weinlich et al. 2016), except that only the encoder fits (`encoder/linear_fit.py`). The decoder solves no
equations, so its weights cannot differ from the encoder's.

Units: voxels are grey levels (0 … `limit` ≤ 65535); predictions are in sixteenths of a grey level.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ..constants import FRACTION_BITS, LANES
from ..dtypes import Int16s, Int32s, Int64s, Integers, Levels, UInt8s
from ..errors import DamagedError
from ..runtime.compiled import REORDERED, entry
from ..wire import rice
from ..wire.cursor import Cursor, string
from . import supports
from .grid import flat, flat_beside, read, runs
from .supports import ACTIVITY_BEFORE, ACTIVITY_IN_SLICE, BASE, Support

WEIGHT_BITS = 12  # a weight of 4096 is 1.0
WEIGHT_LIMIT = 32767  # weights are int16
CLASS_LIMIT = 64
COARSE = 16  # added to the code of a support if weights have shifts; up to version 0.2 they had none
REFERRING = 32  # added as well if it has neighbours in a reference
SHIFT_LIMIT = 10


class LinearWeights(NamedTuple):
    """The parameters that the encoder sends for one slab.

    support
    height      how many slices share a group of weight sets (`groups_of`)
    thresholds  int64 [groups, classes - 1], ascending
    weights     int16 [groups, classes, neighbours]; only the first `support.used` of a group count
    shifts      uint8 [groups, classes]; the weights of a set are multiples of 2^shift, which is no finer than the
                precision of the fit
    """

    support: Support
    height: int
    thresholds: Int64s
    weights: Int16s
    shifts: UInt8s


class Fitted(NamedTuple):
    """The parameters in the layout of the loops, by lanes.

    Neighbours are read in runs of LANES voxels side by side. Voxels of a run that are no neighbours have weight zero.

    runs int64 [DEPTHS, n]       where each run begins in the padded slab, by depth, relative to the voxel
    run_bytes int64 [DEPTHS, n]  the same in bytes of int16
    leading                      how many runs lie in the slice itself or in the reference; they come first
    active [n·LANES]             1 for the neighbours of the activity, else 0
    nearest int64 [BASE]         where the neighbours of the base lie, relative to the voxel
    thresholds int32 [g, c-1]    ascending; the class of a voxel is the number of thresholds that its activity reaches
    steps int32 [g, 8·m]         the thresholds, padded with a value that no activity reaches
    weights [g, c, n·LANES]      4096 is 1.0
    limit                        the largest grey level

    `weights` and `active` are int16 if differences fit into int16 and no sum of products can leave int32. Vector units
    then multiply and add 16 of them at a time. Otherwise `weights` are integers in float64 and `active` is int32.
    """

    runs: Int64s
    run_bytes: Int64s
    leading: int
    active: np.ndarray
    nearest: Int64s
    thresholds: Int32s
    steps: Int32s
    weights: np.ndarray
    limit: int


def ready(weights: LinearWeights, strides: tuple[int, int], limit: int, size: int = 0) -> Fitted:
    """Prepare weights for `predict`, for levels 0 … limit in a padded slab with these element strides (slice, row).
    `size` is that of the padded slab, after which its reference begins; without one it does not matter."""
    s = weights.support
    places, leading, lane = _in_pairs(*_runs_of(s, strides, size))
    largest = limit * int(np.abs(weights.weights.astype(np.int64)).sum(axis=2).max())  # no difference exceeds the limit
    kinds = (np.int16, np.int16) if limit < 1 << 15 and largest < 1 << 31 else (np.int32, np.float64)
    active = np.zeros(places.shape[1] * LANES, kinds[0])
    active[lane[:ACTIVITY_IN_SLICE]] = active[lane[s.leading : s.leading + ACTIVITY_BEFORE]] = 1
    spread = np.zeros((*weights.weights.shape[:2], active.size), kinds[1])
    spread[:, :, lane] = weights.weights
    reached = np.iinfo(np.int32)
    thresholds = weights.thresholds.clip(reached.min, reached.max).astype(np.int32)
    steps = np.full((len(thresholds), -(-max(1, thresholds.shape[1]) // LANES) * LANES), reached.max, np.int32)
    steps[:, : thresholds.shape[1]] = thresholds
    return Fitted(
        places, 2 * places, leading, active, flat(s.offsets[:BASE], strides)[0],
        thresholds, steps, spread, limit,
    )  # fmt: skip


def _runs_of(support: Support, strides: tuple[int, int], size: int) -> tuple[Int64s, int, Int64s]:
    """Cover the neighbours of a support by runs.

    Returns where these begin int64 [DEPTHS, runs], how many of them lie in the slice itself or in the reference, which
    come first, and the lane int64 [n] of each neighbour.
    """
    begins, lane = runs(support.offsets)
    places, in_slice = flat(begins, strides), sum(dz == 0 for dz, _, _ in begins)
    if not support.discs:
        return places, in_slice, lane
    more, lanes = runs(support.reference)
    lane = np.where(lane >= in_slice * LANES, lane + len(more) * LANES, lane)
    return (
        np.insert(places, [in_slice], flat_beside(more, strides, size), axis=1),
        in_slice + len(more),
        np.insert(lane, support.in_slice, lanes + in_slice * LANES),
    )


def _in_pairs(places: Int64s, leading: int, lane: Int64s) -> tuple[Int64s, int, Int64s]:
    """Make the number of runs even, both of the leading ones and altogether, because vector units read two at a time.

    An added run repeats another one, and no neighbour has a lane in it.
    """
    if leading % 2:
        places = np.insert(places, leading, places[:, leading - 1], axis=1)
        lane = np.where(lane >= leading * LANES, lane + LANES, lane)
        leading += 1
    return np.column_stack([places, places[:, -1]]) if places.shape[1] % 2 else places, leading, lane


def _weigh(weights: np.ndarray, near: np.ndarray, size: int) -> Any:
    """Return the sum of the first `size` products."""
    return weights[:size].astype(np.int64) @ near[:size].astype(np.int64)


@overload(_weigh, inline="always")
def _weigh_as(weights: Any, near: Any, size: Any) -> Any:
    """Compile `_weigh` in the narrowest type that suffices, which `Fitted` has chosen: numba needs a body for each."""

    def short(weights: Any, near: Any, size: Any) -> Any:
        total = np.int32(0)
        for i in range(size):
            total = np.int32(total + np.int32(np.int32(weights[i]) * np.int32(near[i])))
        return total

    def real(weights: Any, near: Any, size: Any) -> Any:
        total = 0.0  # every partial sum is an integer below 2^41, so float64 is exact in any order
        for i in range(size):
            total += weights[i] * np.float64(near[i])
        return total

    return short if weights.dtype == types.int16 else real


@entry(fastmath=REORDERED, allocates=True)
def predict(known: Levels, index: Integers, depth: UInt8s, group: UInt8s, fitted: Fitted, prediction: Int32s) -> None:
    """Predict voxels whose causal neighbours are all in `known`.

    known int16 or int32 [n]   the padded slab, flat
    index int64 [v]            where each voxel lies in it
    depth uint8 [v]            the slice of each voxel; DEPTHS - 1 for all later slices
    group uint8 [v]            the group of weight sets of the voxel's slice
    fitted                     the weights, from `ready`
    prediction int32 [v]       out: sixteenths of a grey level, 0 … 16 · limit
    """
    near = np.empty_like(fitted.active)
    west, north, north_west, north_east = fitted.nearest
    for v in range(index.shape[0]):
        at, first = index[v], depth[v] == 0
        used = fitted.leading if first else fitted.runs.shape[1]
        base = np.int64(known[at + west] + known[at + north] + known[at + north_west] + known[at + north_east] + 2) >> 2
        for n in range(used):
            read(known, at + fitted.runs[depth[v], n], near, n * LANES)
        activity = np.int32(0)
        for i in range(used * LANES):
            near[i] -= base
            activity = np.int32(activity + np.int32(np.int32(abs(near[i])) * np.int32(fitted.active[i])))
        if first:
            # As if the nine neighbours in the slice before differed like the ten in the slice.
            activity = np.int32(activity * 19 // 10)
        c = 0
        for bound in fitted.thresholds[group[v]]:
            c += activity >= bound
        total = np.int64(_weigh(fitted.weights[group[v], c], near, used * LANES))
        value: Any = (base << FRACTION_BITS) + ((total + 128) >> (WEIGHT_BITS - FRACTION_BITS))
        prediction[v] = min(max(value, 0), fitted.limit << FRACTION_BITS)


def groups_of(depth: int, height: int, support: Support) -> UInt8s:
    """Return the group of weight sets of each slice of a slab: uint8 [depth].

    Group 0 is for the first slice. Each `height` slices after it share a group. If the support reaches more than two
    slices back, the slices from which it would reach beyond the slab's first have group 1 to themselves.
    """
    slices = np.arange(depth)
    if support.reach <= 2:
        return np.where(slices == 0, 0, 1 + (slices - 1) // height).astype(np.uint8)
    return np.where(slices < support.reach, slices > 0, 2 + (slices - support.reach) // height).astype(np.uint8)


def _rounded(weights: Int64s, shift: int) -> Int64s:
    """Convert to units of 2^shift; halves are rounded up."""
    return (weights + (1 << shift >> 1)) >> shift


def to_bytes(fitted: LinearWeights) -> bytes:
    """Serialise the linear stage for the payload of a slab."""
    support = fitted.support
    code = support.code + COARSE + (REFERRING if support.discs else 0)
    head = bytes([code]) + support.to_bytes() + bytes([fitted.height, fitted.weights.shape[1]])
    thresholds = np.diff(fitted.thresholds, axis=1, prepend=0)
    parts = []
    for g, weights in enumerate(fitted.weights.astype(np.int64)):
        before = np.zeros_like(weights[0])
        # Weights change little from class to class, so their differences are written, for the neighbours that count.
        for shift, now in zip(fitted.shifts[g].tolist(), weights, strict=True):
            parts.append(((now >> shift) - _rounded(before, shift))[: support.used(g)])
            before = now
    lists = (thresholds, fitted.shifts, np.concatenate(parts))
    return head + b"".join(string(rice.encode(listed)) for listed in lists)


def from_bytes(reader: Cursor, depth: int) -> LinearWeights:
    """Read the linear stage of a slab of `depth` slices; DamagedError if no encoder can have written it."""
    (code,) = reader.take(1)
    referring, code = divmod(code, REFERRING)
    coarse, code = divmod(code, COARSE)
    support = supports.from_bytes(code, reader, bool(referring))
    height, classes = reader.take(2)
    if referring > 1 or not height or not 0 < classes <= CLASS_LIMIT:
        raise DamagedError(f"its linear stage has groups of {height} slices and {classes} classes")
    groups = int(groups_of(depth, height, support).max()) + 1
    thresholds = rice.decode(reader.string(), groups * (classes - 1)).reshape(groups, classes - 1).cumsum(axis=1)
    shifts = np.zeros((groups, classes), np.int64)
    if coarse:
        shifts = rice.decode(reader.string(), groups * classes).reshape(groups, classes)
    if shifts.min() < 0 or shifts.max() > SHIFT_LIMIT:
        raise DamagedError(f"its linear stage has weights in units beyond 2^{SHIFT_LIMIT}")
    used = [support.used(g) for g in range(groups)]
    listed = rice.decode(reader.string(), classes * sum(used))
    steps = iter(np.split(listed, np.repeat(used, classes).cumsum()[:-1]))
    weights = np.zeros((groups, classes, support.size), np.int64)
    for g, c in np.ndindex(groups, classes):
        step, shift = next(steps), int(shifts[g, c])
        before = weights[g, c - 1, : used[g]] if c else np.zeros_like(step)
        weights[g, c, : used[g]] = (step + _rounded(before, shift)) << shift
    if np.abs(weights).max() > WEIGHT_LIMIT:
        raise DamagedError(f"its linear stage has weights beyond ±{WEIGHT_LIMIT}")
    return LinearWeights(support, height, thresholds, weights.astype(np.int16), shifts.astype(np.uint8))
