"""The encoder's fit of stage 1: which neighbours to weigh, and how (`linear.py` says what the decoder does with them).

Everything here gives the same bits on every machine, so that encoders everywhere write the same files: sums are of
integers that float64 holds exactly, and what is solved from them is solved in a fixed order of operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from neighbourhoods import Offset

from .linear import SHIFT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT, Weights, groups_of
from .padded import LANES
from .slab import padded
from .supports import ACTIVITY_BEFORE, ACTIVITY_IN_SLICE, REACH, Support, named, of_runs, voxels_of

CLASS_SAMPLES = 1 << 16  # at most so many voxels one class of a group is fitted on,
PRICED = 1 << 16  # so many what a support or a number of classes would cost,
CHOSEN_ON = 1 << 15  # and so many a support is chosen on
# So that sums of CLASS_SAMPLES weighted products stay below 2^53, and float64 holds them exactly.
DIFFERENCE_LIMIT = 1 << 14
HEAVIEST = 5  # of the factors that rows of a fit are multiplied with, integers from 0
# Relative to the mean square difference. Smooth images need long filters that all but cancel, and a ridge forbids them.
RIDGE = 1e-6
UNCERTAIN = 3.0  # unit of the weights of v voxels: so many times their mean error over their differences · √v
THINNING = (4, 4, 1)  # every so manieth voxel serves in each round of weighting them anew
# What a weight may cost: about seven bits in the file, divided by the share of what the stage alone would save that is
# left when a network has followed it: a tenth where more classes save it, a third where more neighbours do.
CLASS_COST, NEIGHBOUR_COST = 70.0, 20.0  # bits
# A group has slices of about so many voxels, but at least so many slices. (One group for 32 slices of 512² instead of 8
# costs 0.1 to 0.2 %; one for each slice gains as much and costs more.)
GROUP_VOXELS, GROUP_SLICES = 1 << 21, 8

# How the linear stage is fitted, by effort: the most runs that a support may have, bits of the number of voxels that a
# group's weights are fitted on, and the numbers of classes that are tried.
SEARCH = {
    1: (0, 15, (8,)), 2: (0, 17, (8,)), 3: (12, 17, (8,)), 4: (16, 17, (4, 8)),
    5: (24, 18, (2, 4, 8)), **dict.fromkeys((6, 7, 8, 9), (24, 20, (2, 4, 8))),
}  # fmt: skip

# What may be chosen: rows of a slice up to so far above and below, by slices back. Rows of few slices back may be as
# long as RADIUS allows, in the others a run lies in the middle.
ROWS = (7, 5, 3, 2, 2, 1, 1, 1)
LONG_ROWS = 2  # slices
MIDDLE, LEFT, RIGHT = -4, -8, 0  # where runs begin
# What every support has: all of the voxel's own row, and what holds CORE.
FIRST = ((0, 0, LEFT), *((-back, dy, MIDDLE) for back, dy in ((0, -1), (0, -2), (1, -1), (1, 0), (1, 1))))
RUN_COUNTS = (8, 12, 16, 24)  # how many runs are tried
FEWEST = 1 << 14  # voxels; fewer do not tell which runs to choose
HEAVY, USUAL = 64, 8  # factors that rows of the choice are multiplied with: the largest, and the median
PRODUCT_LIMIT = 1 << 17  # of such rows, so that sums of CHOSEN_ON products of two stay below 2^53


@njit(nogil=True, cache=True, inline="always")
def gather(known: np.ndarray, at: int, row: np.ndarray, used: int, in_slice: int, near: np.ndarray) -> tuple[Any, Any]:
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


def _robust(design: np.ndarray, target: np.ndarray, voxels: int = 0) -> tuple[np.ndarray, int, float]:
    """Weights int16 [n] that predict `target` [v] from `design` [v, n], their shift, and their mean absolute error.

    Iteratively reweighted least squares (Holland & Welsch 1977): a voxel that is predicted badly counts less in the
    next round, down to what the logarithm of a Laplacian's or a logistic's density would give it, so that edges do not
    spoil the prediction of what lies between them. The weights are rounded to a unit about as large as they are
    uncertain when so many voxels tell them: finer ones cost more than they save. 0 voxels ask for the finest.
    """
    importance, unit = np.ones(len(target)), 1 << WEIGHT_BITS
    for thinning in THINNING:
        # Sums of integers below 2^53, so exact whatever the order or the threads; of an array by itself, so in half the
        # time.
        rows = design[::thinning] * importance[::thinning, None]
        gram = rows.T @ rows
        right = rows.T @ (target[::thinning] * importance[::thinning])
        gram[np.diag_indices(len(gram))] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
        solved = solve_positive_definite(gram, right) * unit
        weights = np.clip(np.rint(solved), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = np.abs(target * unit - design @ weights)  # integers as well
        usual = np.partition(error, error.size // 2)[error.size // 2] + unit // 2
        importance = np.rint(HEAVIEST * np.sqrt(usual / (error + usual)))
    missed, shift = float(error.mean()) / unit, 0
    if voxels:
        spread = float((design * design).mean())
        certain = (UNCERTAIN * (missed + 0.2)) ** 2 / (voxels * spread + 1e-3) * unit**2  # square of the unit, in steps
        while shift < SHIFT_LIMIT and 2 * 4**shift < certain:
            shift += 1
        most = WEIGHT_LIMIT >> shift
        weights = np.clip(np.rint(solved / (1 << shift)), -most, most) * (1 << shift)
    return weights.astype(np.int16), shift, missed


def _fit_group(
    known: np.ndarray, index: np.ndarray, flat: np.ndarray, in_slice: int, classes: int, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Thresholds [classes - 1], weights [classes, neighbours], shifts [classes], and what a voxel of the group would
    cost in bits if its residual were Laplacian in every class; the neighbours are those at `flat` int64 [n], relative
    to a voxel."""
    voxels = index.size // classes  # in each class
    index = _thinned(index, samples)
    size = flat.size
    activity = _activities(known, index, flat, size, in_slice)
    thresholds, chosen = _classes(activity, classes)
    weights, shifts = np.zeros((classes, size), np.int16), np.zeros(classes, np.uint8)
    bits = 0.0
    for c in range(classes):
        members = index[chosen == c]
        if members.size == 0:
            continue
        design, target = _designed(known, _thinned(members, CLASS_SAMPLES), flat, in_slice)
        weights[c], shifts[c], error = _robust(design, target, voxels)
        # What the same weights would miss on other voxels (the final prediction error: Akaike 1969).
        error *= np.sqrt((target.size + size) / max(target.size - size, 1))
        bits += members.size * np.log2(2 * np.e * (error + 0.2))
    return thresholds, weights, shifts, bits / index.size


def _thinned(index: np.ndarray, count: int) -> np.ndarray:
    """At most so many of the voxels, evenly."""
    return index[:: max(1, -(-index.size // count))]


def _classes(activity: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds [classes - 1] that divide voxels into so many classes of one size, and each one's class."""
    ranks = (np.arange(1, classes) * activity.size) // classes
    thresholds = np.partition(activity, ranks)[ranks]
    return thresholds, np.searchsorted(thresholds, activity, side="right")


def _designed(known: np.ndarray, index: np.ndarray, flat: np.ndarray, in_slice: int) -> tuple[np.ndarray, np.ndarray]:
    """`_design` into new arrays."""
    design, target = np.empty((index.size, flat.size)), np.empty(index.size)
    _design(known, index, flat, in_slice, design, target)
    return design, target


@njit(nogil=True, cache=True)
def _gain(gram: np.ndarray, run: np.ndarray, taken: np.ndarray) -> Any:
    """By how much the sum of squares would shrink if the members of a run that are not taken were."""
    size = 0
    for i in run:
        size += i >= 0 and not taken[i]
    columns, n = np.empty(size, np.int64), 0
    for i in run:
        if i >= 0 and not taken[i]:
            columns[n] = i
            n += 1
    matrix, right = np.empty((size, size)), np.empty(size)
    for a in range(size):
        right[a] = gram[columns[a], -1]
        for b in range(size):
            matrix[a, b] = gram[columns[a], columns[b]]
    x = solve_positive_definite(matrix, right)
    gain = 0.0
    for a in range(size):
        gain += x[a] * right[a]
    return gain


@njit(nogil=True, cache=True)
def _greedy(gram: np.ndarray, members: np.ndarray, first: int, count: int) -> np.ndarray:
    """Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993) by runs: the first ones as they are listed,
    then always that which shrinks the sum of squares most; int64 [count].

    gram float64 [n + 1, n + 1]     products of the neighbours, and last of the voxel; overwritten with what is left
                                    of them when the taken neighbours have explained all that they can
    members int64 [runs, LANES]     each run's neighbours, −1 for none
    """
    n = gram.shape[0]
    taken, order = np.zeros(n, np.bool_), np.empty(count, np.int64)
    for step in range(count):
        at = step
        if step >= first:
            best = -1.0
            for r in range(members.shape[0]):
                gain = _gain(gram, members[r], taken)
                if gain > best:
                    best, at = gain, r
        order[step] = at
        for i in members[at]:
            if i < 0 or taken[i]:
                continue
            taken[i] = True
            row = gram[i].copy()
            for a in range(n):
                factor = row[a] / row[i]
                for b in range(n):
                    gram[a, b] -= factor * row[b]
    return order


def _pool(depth: int) -> list[Offset]:
    """The runs that may be chosen for slices with so many before them, first those of FIRST."""
    runs = [
        (-back, dy, dx)
        for back, rows in enumerate(ROWS[: depth + 1])
        for dy in range(-rows, rows + 1 if back else 0)
        for dx in ((MIDDLE, LEFT, RIGHT) if back < LONG_ROWS else (MIDDLE,))
    ]
    return [*FIRST, *(run for run in runs if run not in FIRST)]


def _choose(known: np.ndarray, index: np.ndarray, strides: tuple[int, int], depth: int, count: int) -> list[Offset]:
    """Runs to predict these voxels from, which lie in slices with `depth` before them: the best first, after those that
    every support has."""
    runs = _pool(depth)
    pool = of_runs(runs)
    used = sum(-dz <= depth for dz, _, _ in pool.offsets)
    index = _thinned(index, CHOSEN_ON)
    flat = pool.flat(strides)[depth, :used]
    design, target = _designed(known, index, flat, pool.in_slice)
    # Errors count by their size relative to what is usual where they occur, as bits do, and large ones less.
    near = np.array([pool.offsets.index(o) for o in named("narrow").offsets if -o[0] <= depth])
    _, chosen = _classes(_activities(known, index, flat, flat.size, pool.in_slice), 16)
    importance = np.zeros(index.size)
    for c in np.unique(chosen):
        members = np.flatnonzero(chosen == c)
        weights, _, _ = _robust(design[np.ix_(members, near)], target[members])
        error = np.abs(target[members] - design[np.ix_(members, near)] @ weights / (1 << WEIGHT_BITS))
        usual = np.partition(error, error.size // 2)[error.size // 2] + 0.5
        importance[members] = 1 / np.sqrt((error + usual) * usual)
    importance /= np.partition(importance, importance.size // 2)[importance.size // 2]
    importance = np.rint(np.minimum(USUAL * importance, HEAVY))
    for part in (design, target[:, None]):  # in place: these are the largest arrays of an encoder
        part *= importance[:, None]
        np.clip(part, -PRODUCT_LIMIT, PRODUCT_LIMIT, out=part)
    right = design.T @ target
    gram = np.block([[design.T @ design, right[:, None]], [right, target @ target]])
    gram[np.diag_indices(flat.size)] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
    place = {offset: i for i, offset in enumerate(pool.offsets[:used])}
    members = np.full((len(runs), LANES), -1)
    for r, run in enumerate(runs):
        held = [place[offset] for offset in voxels_of(run) if offset in place]
        members[r, : len(held)] = held
    return [runs[r] for r in _greedy(gram, members, len(FIRST), min(count, len(runs)))]


def fit_by_effort(levels: np.ndarray, widest: int, effort: int) -> Weights:
    """Fitted to a slab [Z, Y, X], with no more than `widest` runs in its support."""
    runs, bits, counts = SEARCH[effort]
    return fit(*padded(levels), min(runs, widest), 1 << bits, counts)


def fit(
    known: np.ndarray, index: np.ndarray, strides: tuple[int, int], widest: int, samples: int = 1 << 18,
    counts: tuple[int, ...] = (2, 4, 8),
) -> Weights:  # fmt: skip
    """Fit the weights of one slab, with that support and that number of classes which cost least.

    known int32 [n]      the padded slab, flat, whole
    index int64 [z, v]   the place of every voxel, slice by slice
    strides              elements from slice to slice and from row to row
    widest               the most runs that a support may have; 0 for a named one without a search
    samples              voxels that one group is fitted on
    counts               numbers of classes to try; the last is that which supports are compared with
    """
    # Supports are compared on the same voxels: a quarter of the slab at most is what they may look back on.
    depth = min(REACH, max(2, len(index) // 4), len(index) - 1)
    sample = _thinned(index[depth:].ravel(), PRICED)
    tried = [named("narrow")]
    if index.size < 1 << 20:
        tried.append(named("small"))
    if widest and sample.size >= FEWEST:
        runs = _choose(known, sample, strides, depth, widest)
        tried += [of_runs(runs[:n]) for n in RUN_COUNTS if n <= widest]

    def price(support: Support, classes: int, cost: float) -> float:
        flat = support.flat(strides)[depth, : support.in_slice if depth == 0 else None]
        groups = int(groups_of(len(index), _group_height(index.shape, support), support).max()) + 1
        sent = classes * sum(support.used(g) for g in range(groups))
        return _fit_group(known, sample, flat, support.in_slice, classes, PRICED)[3] + cost * sent / index.size

    usual = counts[-1]
    support = min(tried, key=lambda s: price(s, usual, NEIGHBOUR_COST)) if len(tried) > 1 else tried[0]
    classes = min(counts, key=lambda c: price(support, c, CLASS_COST)) if len(counts) > 1 else usual
    return _fitted(known, index, strides, support, classes, samples)


def _fitted(
    known: np.ndarray, index: np.ndarray, strides: tuple[int, int], support: Support, classes: int, samples: int
) -> Weights:
    """The weights of every group of a slab."""
    height = _group_height(index.shape, support)
    groups = groups_of(len(index), height, support)
    flat = support.flat(strides)
    thresholds = np.zeros((int(groups.max()) + 1, classes - 1), np.int64)
    weights = np.zeros((len(thresholds), classes, len(support.offsets)), np.int16)
    shifts = np.zeros(weights.shape[:2], np.uint8)
    for g in range(len(thresholds)):
        used = support.used(g)
        slices = np.flatnonzero(groups == g)
        # The first ones, whose neighbours in slices before the slab's first are read from that, stand in only where
        # there are no others.
        depth = min(int(slices.max()), -support.offsets[used - 1][0])
        members = index[slices[slices >= depth]].ravel()
        thresholds[g], weights[g, :, :used], shifts[g], _ = _fit_group(
            known, members, flat[depth, :used], support.in_slice, classes, samples
        )
    return Weights(support, height, thresholds, weights, shifts)


def _group_height(shape: tuple[int, ...], support: Support) -> int:
    """How many slices of a slab [slices, voxels] share one group, so that all groups have about as many."""
    slices = shape[0] - (support.reach if support.reach > 2 else 1)
    aim = max(GROUP_VOXELS // shape[1], GROUP_SLICES)
    return int(min(max(-(-slices // max(1, round(slices / aim))), 1), 255))
