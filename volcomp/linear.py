"""Stage 1, the linear predictor: integer weights that the encoder fits to the volume and sends.

Each voxel is predicted as the mean of four neighbours plus a weighted sum of how far the neighbours of a *support* lie
from that mean. There are 16 or 32 sets of weights, fewer for small volumes, chosen by the local activity, so that edges
and noise get different ones: the classical class-adaptive least-squares predictor (Wu & Memon 1997; Weinlich et al.
2016), with the fit on the encoder's side alone. The decoder solves nothing, so it can get nothing differently.

Units: voxels are mapped grey levels (0 … `limit` ≤ 65535); predictions are in sixteenths of a grey level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from neighbourhoods import disc

from . import rice
from .cursor import Cursor, string
from .errors import DamagedError
from .padded import LANES, flat, read, runs

RADIUS = 7  # widest reach of any support, and so the border of every padded slab
WEIGHT_BITS = 12  # a weight of 4096 is 1.0
WEIGHT_LIMIT = 32767  # weights are int16
FRACTION_BITS = 4  # predictions carry sixteenths of a grey level
CLASS_LIMIT = 64
BASE = 4  # the first four neighbours (W, N, NW, NE) make the mean that weights act around

# Squared radii of the discs in the slice itself, the one before and the one before that. `small` is for volumes of so
# few voxels that more weights would cost more than they save; `narrow` has 48 neighbours, `wide` 80, `broad` 130 and
# `full` 194. The wider ones serve images that were smoothed or interpolated before they were stored: little in them is
# new, but it takes a long filter to say what.
SUPPORTS = {"small": (5, 2, 0), "narrow": (10, 5, 2), "wide": (20, 10, 2), "broad": (52, 10, 2), "full": (52, 26, 5)}
SUPPORT_NAMES = tuple(SUPPORTS)

# Activity is the mean absolute difference from the base over these neighbours: radius 2 in the slice, 3×3 before it.
ACTIVITY_IN_SLICE = 10
ACTIVITY_BEFORE = 9


@dataclass(frozen=True)
class Support:
    """Neighbours of one named support.

    `offsets` int64 [n, 3] (dz, dy, dx): those of the slice itself first, then the slice before, then the one before
    that, each slice's nearest first, so that shorter lists are prefixes.
    """

    name: str
    offsets: np.ndarray
    in_slice: int  # how many lie in the slice itself
    before: int  # how many in the slice before

    def used(self, depth: int) -> int:
        """How many of the neighbours count in a slab's first (0) or later slices."""
        return self.in_slice if depth == 0 else len(self.offsets)

    def flat(self, strides: tuple[int, int]) -> np.ndarray:
        """Offsets into a padded slab with element `strides` (slice, row): int64 [3, n], a row for a slab's first,
        second and later slices. A neighbour in a slice before the slab's first is read from the first slice; in the
        first slice itself only the `in_slice` neighbours count, and the others are never read."""
        return flat(self.offsets, strides)


@cache
def support(name: str) -> Support:
    """The named support of `SUPPORTS`."""
    offsets = sorted(disc(SUPPORTS[name]), key=lambda o: (-o[0], o[1] ** 2 + o[2] ** 2, -o[1], o[2]))
    array = np.array(offsets, dtype=np.int64)
    return Support(name, array, int((array[:, 0] == 0).sum()), int((array[:, 0] == -1).sum()))


class Weights(NamedTuple):
    """What the encoder sends of this stage for one slab.

    support     name in `SUPPORTS`
    thresholds  int64 [groups, classes - 1], ascending
    weights     int16 [groups, classes, neighbours]; group 0 serves the slab's first slice, in its `in_slice` weights
    """

    support: str
    thresholds: np.ndarray
    weights: np.ndarray


class Fitted(NamedTuple):
    """The same as the loops take it, in lanes: each run of LANES voxels side by side holds some of the neighbours, and
    the others have weights of zero.

    runs int64 [3, n]            where each run begins, in the padded slab and for each depth, relative to the voxel
    in_slice                     how many runs lie in the slice itself; they come first
    active [n·LANES]             1 for the neighbours that make the activity, else 0
    nearest int64 [BASE]         where the neighbours of the base lie, relative to the voxel
    thresholds int32 [g, c-1]    ascending; the class of a voxel is how many its activity reaches
    weights [g, c, n·LANES]      4096 is 1.0

    `weights` are int16, and `active` with them, where differences fit in int16 and no sum of products can leave int32:
    vector units then multiply and add 16 of them at a time. Else they are integers in float64, and `active` is int32.
    """

    runs: np.ndarray
    in_slice: int
    active: np.ndarray
    nearest: np.ndarray
    thresholds: np.ndarray
    weights: np.ndarray


def ready(weights: Weights, strides: tuple[int, int], limit: int) -> Fitted:
    """For `predict`, of grey levels 0 … limit in a padded slab with these element strides (slice, row)."""
    s = support(weights.support)
    begins, lane = runs(map(tuple, s.offsets.tolist()))
    largest = limit * int(np.abs(weights.weights.astype(np.int64)).sum(axis=2).max())  # no difference exceeds the limit
    kinds = (np.int16, np.int16) if limit < 1 << 15 and largest < 1 << 31 else (np.int32, np.float64)
    active = np.zeros(len(begins) * LANES, kinds[0])
    active[lane[:ACTIVITY_IN_SLICE]] = active[lane[s.in_slice : s.in_slice + ACTIVITY_BEFORE]] = 1
    spread = np.zeros((*weights.weights.shape[:2], active.size), kinds[1])
    spread[:, :, lane] = weights.weights
    in_slice = sum(dz == 0 for dz, _, _ in begins)
    reached = np.iinfo(np.int32)
    return Fitted(
        flat(np.array(begins), strides), in_slice, active, flat(s.offsets[:BASE], strides)[0],
        weights.thresholds.clip(reached.min, reached.max).astype(np.int32), spread,
    )  # fmt: skip


@njit(nogil=True, cache=True, inline="always")
def gather(
    known: np.ndarray, at: int, row: np.ndarray, used: int, in_slice: int, near: np.ndarray
) -> tuple[Any, Any]:
    """Differences of the first `used` neighbours from the base, into `near` int32; returns base and activity."""
    for i in range(used):
        near[i] = known[np.uint64(at + row[i])]
    base = np.int64(near[0] + near[1] + near[2] + near[3] + 2) >> 2
    for i in range(used):
        near[i] -= np.int32(base)
    activity = np.int64(0)
    for i in range(ACTIVITY_IN_SLICE):
        activity += abs(near[i])
    if used == in_slice:
        return base, (activity * 19) // 10  # as if the nine neighbours before were like the ten in the slice
    for i in range(in_slice, in_slice + ACTIVITY_BEFORE):
        activity += abs(near[i])
    return base, activity


def _weigh(weights: np.ndarray, near: np.ndarray, size: int) -> Any:
    """The sum of the first `size` products."""
    return weights[:size].astype(np.int64) @ near[:size].astype(np.int64)


@overload(_weigh, inline="always")
def _weigh_as(weights: Any, near: Any, size: Any) -> Any:
    """The same compiled, in the type that `Fitted` says is wide enough and no wider: numba has one body for each."""

    def short(weights: Any, near: Any, size: Any) -> Any:
        total = np.int32(0)
        for i in range(size):
            total = np.int32(total + np.int32(np.int32(weights[i]) * np.int32(near[i])))
        return total

    def real(weights: Any, near: Any, size: Any) -> Any:
        total = 0.0  # every partial sum is an integer below 2^39: exact in float64, in whatever order
        for i in range(size):
            total += weights[i] * np.float64(near[i])
        return total

    return short if weights.dtype == types.int16 else real


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def predict(
    known: np.ndarray, index: np.ndarray, depth: np.ndarray, group: np.ndarray, fitted: Fitted, limit: int,
    prediction: np.ndarray,
) -> None:  # fmt: skip
    """Predict voxels whose causal neighbours are all in `known`.

    known int16 or int32 [n]   the padded slab, flat
    index int64 [v]            where each voxel lies in it
    depth uint8 [v]            0 in a slab's first slice, 1 in the second, 2 after
    group uint8 [v]            which group of weight sets serves the voxel's slice
    fitted                     what `ready` made of the weights
    prediction int32 [v]       out: sixteenths of a grey level, 0 … 16·limit
    """
    near = np.empty_like(fitted.active)
    west, north, north_west, north_east = fitted.nearest
    for v in range(index.shape[0]):
        at, first = index[v], depth[v] == 0
        used = fitted.in_slice if first else fitted.runs.shape[1]
        base = np.int64(known[at + west] + known[at + north] + known[at + north_west] + known[at + north_east] + 2) >> 2
        for n in range(used):
            read(known, at + fitted.runs[depth[v], n], near, n * LANES)
        activity = np.int32(0)
        for i in range(used * LANES):
            near[i] -= base
            activity = np.int32(activity + np.int32(np.int32(abs(near[i])) * np.int32(fitted.active[i])))
        if first:
            activity = np.int32(activity * 19 // 10)  # as if the nine neighbours before were like the ten in the slice
        c = 0
        for bound in fitted.thresholds[group[v]]:
            c += activity >= bound
        total = np.int64(_weigh(fitted.weights[group[v], c], near, used * LANES))
        value = (base << FRACTION_BITS) + ((total + 128) >> (WEIGHT_BITS - FRACTION_BITS))
        prediction[v] = min(max(value, 0), limit << FRACTION_BITS)


def group_height(shape: tuple[int, int, int]) -> int:
    """How many slices of a slab [Z, Y, X] share one group: as many as have two million voxels, but at least 8. (One
    group for 32 slices of 512² instead of 8 costs 0.1 to 0.2 %; one for each slice gains as much and costs more.)"""
    return int(min(max((1 << 21) // (shape[1] * shape[2]), 8), 255))


def candidates(shape: tuple[int, int, int], widest: str) -> tuple[str, ...]:
    """The supports up to the `widest` that are worth trying on a slab of this shape [Z, Y, X]."""
    least = "narrow" if shape[0] * shape[1] * shape[2] >= 1 << 20 else "small"
    return SUPPORT_NAMES[SUPPORT_NAMES.index(least) : SUPPORT_NAMES.index(widest) + 1]


def groups_of(depth: int, height: int) -> np.ndarray:
    """Which group of weight sets serves each slice of a slab: uint8 [depth]; 0 for the first, then one per `height`."""
    slices = np.arange(depth)
    return np.where(slices == 0, 0, 1 + (slices - 1) // height).astype(np.uint8)


def to_bytes(fitted: Weights, height: int) -> bytes:
    """What a slab's payload says of this stage; `height` is how many slices share a group."""
    support_ = support(fitted.support)
    groups, classes, _ = fitted.weights.shape
    thresholds = np.diff(fitted.thresholds, axis=1, prepend=0)
    # From class to class weights change little: their differences are what is written, of the neighbours that count.
    steps = np.diff(fitted.weights.astype(np.int64), axis=1, prepend=0)
    used = [steps[g, :, : support_.used(g)].ravel() for g in range(groups)]
    head = bytes([SUPPORT_NAMES.index(fitted.support), height, classes])
    return head + string(rice.encode(thresholds)) + string(rice.encode(np.concatenate(used)))


def from_bytes(reader: Cursor, depth: int) -> tuple[Weights, int]:
    """The inverse for a slab of `depth` slices; DamagedError where it says what no encoder writes."""
    code, height, classes = reader.take(3)
    if code >= len(SUPPORT_NAMES) or not height or not 0 < classes <= CLASS_LIMIT:
        raise DamagedError(f"its linear stage has support {code}, groups of {height} slices and {classes} classes")
    support_ = support(SUPPORT_NAMES[code])
    groups = int(groups_of(depth, height).max()) + 1
    listed = rice.decode(reader.string(), groups * (classes - 1)).reshape(groups, classes - 1)
    counts = [classes * support_.used(g) for g in range(groups)]
    parts = np.split(rice.decode(reader.string(), sum(counts)), np.cumsum(counts)[:-1])
    weights = np.zeros((groups, classes, len(support_.offsets)), np.int64)
    for g, part in enumerate(parts):
        weights[g, :, : support_.used(g)] = part.reshape(classes, -1).cumsum(axis=0)
    if np.abs(weights).max() > WEIGHT_LIMIT:
        raise DamagedError(f"its linear stage has weights beyond ±{WEIGHT_LIMIT}")
    return Weights(support_.name, listed.cumsum(axis=1), weights.astype(np.int16)), height


# ---------------------------------------------------------------------------------------------------- the encoder's fit

SAMPLES = 1 << 20  # at most so many voxels one group is fitted on,
PRICED = 1 << 16  # and so many what a support or a number of classes would cost
DIFFERENCE_LIMIT = 1 << 14  # so that sums of SAMPLES weighted products stay below 2^53, and float64 holds them exactly
HEAVIEST = 5  # of the factors that rows of a fit are multiplied with, integers from 0
# Relative to the mean square difference. Smooth images need long filters that all but cancel, and a ridge forbids them.
RIDGE = 1e-6
THINNING = (4, 4, 1)  # every so manieth voxel serves in each round of weighting them anew


@njit(nogil=True, cache=True)
def _activities(known: np.ndarray, index: np.ndarray, row: np.ndarray, used: int, in_slice: int) -> np.ndarray:
    out, near = np.empty(index.shape[0], np.int64), np.empty(row.shape[0], np.int32)
    for v in range(index.shape[0]):
        out[v] = gather(known, index[v], row, used, in_slice, near)[1]
    return out


@njit(nogil=True, cache=True)
def _design(
    known: np.ndarray, index: np.ndarray, row: np.ndarray, in_slice: int, design: np.ndarray, target: np.ndarray
) -> None:
    """Differences from the base: of the neighbours into `design` [v, used], of the voxel itself into `target` [v]."""
    used = design.shape[1]
    near = np.empty(used, np.int32)
    for v in range(index.shape[0]):
        base = gather(known, index[v], row, used, in_slice, near)[0]
        for i in range(used):
            design[v, i] = min(max(near[i], -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)
        target[v] = min(max(known[index[v]] - base, -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)


@njit(nogil=True, cache=True)
def solve_positive_definite(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve matrix · x = right by Cholesky, in an order of operations that is the same on every machine (LAPACK's is
    not): encoders everywhere then write the same bytes. `matrix` float64 [n, n], overwritten; `right` float64 [n]."""
    n = right.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(max(total, 1e-9)) if i == j else total / matrix[j, j]
    x = right.copy()
    for i in range(n):
        for k in range(i):
            x[i] -= matrix[i, k] * x[k]
        x[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= matrix[k, i] * x[k]
        x[i] /= matrix[i, i]
    return x


def _robust(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights int16 [n] that predict `target` [v] from `design` [v, n], and their mean absolute error.

    Iteratively reweighted least squares (Holland & Welsch 1977): a voxel that is predicted badly counts less in the
    next round, down to what the logarithm of a Laplacian's or a logistic's density would give it, so that edges do not
    spoil the prediction of what lies between them.
    """
    importance, unit = np.ones(len(target)), 1 << WEIGHT_BITS
    for thinning in THINNING:
        # Sums of integers below 2^53, so exact whatever the order or the threads; of an array by itself, so in half the
        # time.
        rows = design[::thinning] * importance[::thinning, None]
        gram = rows.T @ rows
        right = rows.T @ (target[::thinning] * importance[::thinning])
        gram[np.diag_indices(len(gram))] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
        weights = np.clip(np.rint(solve_positive_definite(gram, right) * unit), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = np.abs(target * unit - design @ weights)  # integers as well
        usual = np.partition(error, error.size // 2)[error.size // 2] + unit // 2
        importance = np.rint(HEAVIEST * np.sqrt(usual / (error + usual)))
    return weights.astype(np.int16), float(error.mean()) / (1 << WEIGHT_BITS)


def _fit_group(
    known: np.ndarray, index: np.ndarray, support: Support, flat: np.ndarray, depth: int, classes: int, samples: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Thresholds [classes - 1], weights [classes, neighbours], and what a voxel of the group would cost in bits if its
    residual were Laplacian in every class."""
    index = index[:: max(1, -(-index.size // samples))]
    size = support.used(depth)
    activity = _activities(known, index, flat, size, support.in_slice)
    ranks = (np.arange(1, classes) * activity.size) // classes
    thresholds = np.partition(activity, ranks)[ranks]
    chosen = np.searchsorted(thresholds, activity, side="right")
    weights = np.zeros((classes, flat.size), np.int16)
    bits = 0.0
    for c in range(classes):
        members = index[chosen == c]
        if members.size == 0:
            continue
        design, target = np.empty((members.size, size)), np.empty(members.size)
        _design(known, members, flat, support.in_slice, design, target)
        weights[c, :size], error = _robust(design, target)
        # What the same weights would miss on other voxels (the final prediction error: Akaike 1969).
        error *= np.sqrt((members.size + size) / max(members.size - size, 1))
        bits += members.size * np.log2(2 * np.e * (error + 0.2))
    return thresholds, weights, bits / index.size


def fit(
    known: np.ndarray, index: np.ndarray, strides: tuple[int, int], height: int, names: tuple[str, ...],
    samples: int = 1 << 18, counts: tuple[int, ...] = (16, 32),
) -> Weights:  # fmt: skip
    """Fit the weights of one slab, taking that support of `names` and that number of classes that cost least.

    known int32 [n]      the padded slab, flat, whole
    index int64 [z, v]   the place of every voxel, slice by slice
    strides              elements from slice to slice and from row to row
    height               slices that share one group of weight sets
    samples              voxels that one group is fitted on, at most SAMPLES
    counts               numbers of classes to try, where there are enough voxels for them

    The same bits on every machine: all sums are of integers that float64 holds exactly.
    """
    groups = groups_of(len(index), height)
    chosen = [_sample(index, groups, g) for g in range(int(groups.max()) + 1)]
    middle, depth = chosen[len(chosen) // 2]

    def price(name: str, classes: int) -> float:
        s = support(name)
        bits = _fit_group(known, middle, s, s.flat(strides)[depth], depth, classes, PRICED)[2]
        return bits + 9.0 * s.used(depth) * classes / middle.size  # a weight takes about nine bits

    if middle.size < 1 << 19:  # so few that all pairs are soon tried
        name, classes = min(product(names, (16, 8, 4, 1)), key=lambda pair: price(*pair))
    else:
        name = min(names, key=lambda n: price(n, counts[0])) if len(names) > 1 else names[0]
        classes = min(counts, key=lambda c: price(name, c)) if len(counts) > 1 else counts[0]
    s = support(name)
    flat = s.flat(strides)
    fitted = [_fit_group(known, members, s, flat[depth], depth, classes, samples) for members, depth in chosen]
    return Weights(name, np.stack([f[0] for f in fitted]), np.stack([f[1] for f in fitted]))


def _sample(index: np.ndarray, groups: np.ndarray, group: int) -> tuple[np.ndarray, int]:
    """The voxels that a group is fitted on, and their depth: the second slice, whose neighbours two slices before are
    read from the one before, stands in only where there is no third."""
    slices = np.flatnonzero(groups == group)
    depth = min(int(slices.max()), 2)
    return index[slices[slices >= depth]].ravel(), depth
