"""The encoder's fit of stage 1: which neighbours to weigh, and how (`linear.py` says what the decoder does with them).

Everything here gives the same bits on every machine, so that encoders everywhere write the same files: sums are of
integers that float64 holds exactly, and what is solved from them is solved in a fixed order of operations.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from neighbourhoods import Offset, pad

from ..constants import LANES, RADIUS
from ..runtime.compiled import entry, part
from ..stages.grid import Places, geometry
from ..stages.linear import SHIFT_LIMIT, WEIGHT_LIMIT, Weights, groups_of
from ..stages.supports import REACH, Support, named, of_runs, voxels_of
from .normal_equations import UNIT, Equations, Maker, Take, activities, on_cpu

CLASS_SAMPLES = 1 << 16  # at most so many voxels one class of a group is fitted on,
PRICED = 1 << 16  # so many what a support or a number of classes would cost,
CHOSEN_ON = 1 << 15  # and so many a support is chosen on
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


@entry(both=True)
def solve_positive_definite(n: Any, matrix: np.ndarray, x: np.ndarray) -> None:
    """Solve n equations, matrix · solution = x, by Cholesky, in an order of operations that is the same on every
    machine (LAPACK's is not): encoders everywhere then write the same bytes. `matrix` float64 [≥ n, ≥ n] is
    overwritten, and `x` float64 [≥ n] by the solution."""
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(total if total > 1e-9 else 1e-9) if i == j else total / matrix[j, j]
    for i in range(n):
        for k in range(i):
            x[i] -= matrix[i, k] * x[k]
        x[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= matrix[k, i] * x[k]
        x[i] /= matrix[i, i]


def _robust(equations: Equations, voxels: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights int16 [c, n] of several classes, their shifts uint8 [c], and their mean absolute errors [c].

    Iteratively reweighted least squares (Holland & Welsch 1977): a voxel that is predicted badly counts less in the
    next round, down to what the logarithm of a Laplacian's or a logistic's density would give it, so that edges do not
    spoil the prediction of what lies between them. The weights are rounded to a unit about as large as they are
    uncertain when so many voxels of a class tell them: finer ones cost more than they save. 0 voxels ask for the
    finest.
    """
    for k, thinning in enumerate(THINNING):
        if k:
            equations.reweigh()
        solved = np.stack([_solved(products) for products in equations.products(thinning)]) * UNIT
        missed = equations.miss(np.clip(np.rint(solved), -WEIGHT_LIMIT, WEIGHT_LIMIT)) / UNIT
    shifts = np.zeros(len(solved), np.int64)
    if voxels:
        # Squares of the units, in steps of 1 / UNIT.
        certain = (UNCERTAIN * (missed + 0.2)) ** 2 / (voxels * equations.spread() + 1e-3) * UNIT**2
        shifts = np.searchsorted(2 * 4 ** np.arange(SHIFT_LIMIT), certain)
    unit = 1 << shifts[:, None]
    most = WEIGHT_LIMIT // unit
    weights = np.clip(np.rint(solved / unit), -most, most) * unit
    return weights.astype(np.int16), shifts.astype(np.uint8), missed


def _solved(products: np.ndarray) -> np.ndarray:
    """The weights float64 [n] that these sums of products [n + 1, n + 1] ask for, 1.0 as 1."""
    gram, right = products[:-1, :-1].copy(), products[:-1, -1].copy()
    gram[np.diag_indices(len(gram))] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
    solve_positive_definite(len(right), gram, right)
    return right


def _fit_group(
    known: np.ndarray, take: Take, index: np.ndarray, flat: np.ndarray, in_slice: int, classes: int, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Thresholds [classes - 1], weights [classes, neighbours], shifts [classes], and what a voxel of the group would
    cost in bits if its residual were Laplacian in every class; the neighbours are those at `flat` int64 [n], relative
    to a voxel."""
    voxels = index.size // classes  # in each class
    index = _thinned(index, samples)
    size = flat.size
    thresholds, chosen = _classes(activities(known, index, flat, in_slice), classes)
    weights, shifts = np.zeros((classes, size), np.int16), np.zeros(classes, np.uint8)
    some = np.unique(chosen)  # those that have voxels
    members = [index[chosen == c] for c in some]
    fitted_on = [_thinned(m, CLASS_SAMPLES) for m in members]
    errors = np.zeros(len(some))
    for k, c in enumerate(some.tolist()):  # one after the other, for all at once would take eight times the memory
        weights[c : c + 1], shifts[c : c + 1], errors[k : k + 1] = _robust(take(fitted_on[k : k + 1], flat), voxels)
    bits = 0.0
    for m, on, error in zip(members, fitted_on, errors, strict=True):
        # What the same weights would miss on other voxels (the final prediction error: Akaike 1969).
        missed = error * np.sqrt((on.size + size) / max(on.size - size, 1))
        bits += m.size * np.log2(2 * np.e * (missed + 0.2))
    return thresholds, weights, shifts, bits / index.size


def _thinned(index: np.ndarray, count: int) -> np.ndarray:
    """At most so many of the voxels, evenly."""
    return index[:: max(1, -(-index.size // count))]


def _classes(activity: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds [classes - 1] that divide voxels into so many classes of one size, and each one's class."""
    ranks = (np.arange(1, classes) * activity.size) // classes
    thresholds = np.partition(activity, ranks)[ranks]
    return thresholds, np.searchsorted(thresholds, activity, side="right")


class _Room(NamedTuple):
    """What a choice of runs works in, for n neighbours.

    taken bool [n]               which have been
    row float64 [n + 1]          the products of the one that is being taken
    columns int64 [LANES]        what of a run would be
    matrix float64 [LANES, LANES]   their products with each other, and with the voxel
    right float64 [LANES]
    """

    taken: np.ndarray
    row: np.ndarray
    columns: np.ndarray
    matrix: np.ndarray
    right: np.ndarray


@part
def _gain(gram: np.ndarray, members: np.ndarray, r: int, room: _Room) -> Any:
    """By how much the sum of squares would shrink if the members of run r that are not taken were."""
    n, last = np.int64(0), gram.shape[0] - 1  # of this type from the start, or numba compiles for two
    for k in range(members.shape[1]):
        i = members[r, k]
        if i >= 0 and not room.taken[i]:
            room.columns[n] = i
            n += 1
    for a in range(n):
        room.right[a] = gram[room.columns[a], last]
        for b in range(n):
            room.matrix[a, b] = gram[room.columns[a], room.columns[b]]
    solve_positive_definite(n, room.matrix, room.right)
    gain = 0.0
    for a in range(n):
        gain += room.right[a] * gram[room.columns[a], last]
    return gain


@entry
def _take_greedily(gram: np.ndarray, members: np.ndarray, first: int, room: _Room, order: np.ndarray) -> None:
    """As `_greedy`, into `order`."""
    n = gram.shape[0]
    for step in range(order.shape[0]):
        at = step
        if step >= first:
            best = -1.0
            for r in range(members.shape[0]):
                gain = _gain(gram, members, r, room)
                if gain > best:
                    best, at = gain, r
        order[step] = at
        for k in range(members.shape[1]):
            i = members[at, k]
            if i < 0 or room.taken[i]:
                continue
            room.taken[i] = True
            for a in range(n):
                room.row[a] = gram[i, a]
            for a in range(n):
                factor = room.row[a] / room.row[i]
                for b in range(n):
                    gram[a, b] -= factor * room.row[b]


def _greedy(gram: np.ndarray, members: np.ndarray, first: int, count: int) -> np.ndarray:
    """Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993) by runs: the first ones as they are listed,
    then always that which shrinks the sum of squares most; int64 [count].

    gram float64 [n + 1, n + 1]     products of the neighbours, and last of the voxel; overwritten with what is left
                                    of them when the taken neighbours have explained all that they can
    members int64 [runs, LANES]     each run's neighbours, −1 for none
    """
    n, order = len(gram), np.empty(count, np.int64)
    room = _Room(np.zeros(n, bool), np.empty(n), np.empty(LANES, np.int64), np.empty((LANES, LANES)), np.empty(LANES))
    _take_greedily(gram, members, first, room, order)
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


def _choose(
    known: np.ndarray, take: Take, index: np.ndarray, strides: tuple[int, int], depth: int, count: int
) -> list[Offset]:
    """Runs to predict these voxels from, which lie in slices with `depth` before them: the best first, after those that
    every support has."""
    runs = _pool(depth)
    pool = of_runs(runs)
    used = sum(-dz <= depth for dz, _, _ in pool.offsets)
    index = _thinned(index, CHOSEN_ON)
    flat = pool.flat(strides)[depth, :used]
    # Errors count by their size relative to what is usual where they occur, as bits do, and large ones less.
    near = np.array([pool.offsets.index(o) for o in named("narrow").offsets if -o[0] <= depth])
    _, chosen = _classes(activities(known, index, flat, pool.in_slice), 16)
    classes = [np.flatnonzero(chosen == c) for c in np.unique(chosen)]
    equations = take([index[of_class] for of_class in classes], flat[near])
    _robust(equations)
    importance = np.zeros(index.size)
    for of_class, missed in zip(classes, equations.errors(), strict=True):
        error = missed / UNIT
        usual = np.partition(error, error.size // 2)[error.size // 2] + 0.5
        importance[of_class] = 1 / np.sqrt((error + usual) * usual)
    importance /= np.partition(importance, importance.size // 2)[importance.size // 2]
    equations = take([index], flat)
    equations.weigh([np.rint(np.minimum(USUAL * importance, HEAVY))])
    gram = equations.products(1)[0]
    gram[np.diag_indices(flat.size)] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
    place = {offset: i for i, offset in enumerate(pool.offsets[:used])}
    members = np.full((len(runs), LANES), -1)
    for r, run in enumerate(runs):
        held = [place[offset] for offset in voxels_of(run) if offset in place]
        members[r, : len(held)] = held
    return [runs[r] for r in _greedy(gram, members, len(FIRST), min(count, len(runs)))]


def fit_by_effort(levels: np.ndarray, widest: int, effort: int, maker: Maker = on_cpu) -> Weights:
    """Fitted to a slab [Z, Y, X], with no more than `widest` runs in its support."""
    runs, bits, counts = SEARCH[effort]
    known, places, (_, _, strides) = pad(levels, 0, RADIUS).reshape(-1), Places(levels.shape), geometry(levels.shape)
    return fit(known, places, strides, min(runs, widest), 1 << bits, counts, maker)


def fit(
    known: np.ndarray, index: np.ndarray | Places, strides: tuple[int, int], widest: int, samples: int = 1 << 18,
    counts: tuple[int, ...] = (2, 4, 8), maker: Maker = on_cpu,
) -> Weights:  # fmt: skip
    """Fit the weights of one slab, with that support and that number of classes which cost least.

    known int [n]        the padded slab, flat, whole
    index int32 [z, v]   the place of every voxel, slice by slice
    strides              elements from slice to slice and from row to row
    widest               the most runs that a support may have; 0 for a named one without a search
    samples              voxels that one group is fitted on
    counts               numbers of classes to try; the last is that which supports are compared with
    maker                who adds up what the fit is solved from
    """
    take = maker(known)
    # Supports are compared on the same voxels: a quarter of the slab at most is what they may look back on.
    depth = min(REACH, max(2, len(index) // 4), len(index) - 1)
    sample = _thinned(index[depth:].ravel(), PRICED).copy()  # or all others would be here as long
    tried = [named("narrow")]
    if index.size < 1 << 20:
        tried.append(named("small"))
    if widest and sample.size >= FEWEST:
        runs = _choose(known, take, sample, strides, depth, widest)
        tried += [of_runs(runs[:n]) for n in RUN_COUNTS if n <= widest]

    @cache
    def bits(support: Support, classes: int) -> float:
        flat = support.flat(strides)[depth, : support.in_slice if depth == 0 else None]
        return _fit_group(known, take, sample, flat, support.in_slice, classes, PRICED)[3]

    def price(support: Support, classes: int, cost: float) -> float:
        groups = int(groups_of(len(index), _group_height(index.shape, support), support).max()) + 1
        sent = classes * sum(support.used(g) for g in range(groups))
        return bits(support, classes) + cost * sent / index.size

    usual = counts[-1]
    support = min(tried, key=lambda s: price(s, usual, NEIGHBOUR_COST)) if len(tried) > 1 else tried[0]
    classes = min(counts, key=lambda c: price(support, c, CLASS_COST)) if len(counts) > 1 else usual
    return _fitted(known, take, index, strides, support, classes, samples)


def _fitted(
    known: np.ndarray, take: Take, index: np.ndarray | Places, strides: tuple[int, int], support: Support,
    classes: int, samples: int,
) -> Weights:  # fmt: skip
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
            known, take, members, flat[depth, :used], support.in_slice, classes, samples
        )
    return Weights(support, height, thresholds, weights, shifts)


def _group_height(shape: tuple[int, ...], support: Support) -> int:
    """How many slices of a slab [slices, voxels] share one group, so that all groups have about as many."""
    slices = shape[0] - (support.reach if support.reach > 2 else 1)
    aim = max(GROUP_VOXELS // shape[1], GROUP_SLICES)
    return int(min(max(-(-slices // max(1, round(slices / aim))), 1), 255))
