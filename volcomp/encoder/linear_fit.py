"""The encoder's fit of the linear stage: the choice of neighbours and of their weights. `linear.py` applies them.

All results are the same on every machine, to the bit, so that all encoders write the same files: sums are of integers
that float64 holds exactly, and the equations are solved in a fixed order of operations.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from neighbourhoods import Offset, pad

from ..constants import LANES, RADIUS
from ..dtypes import Float64s, Int16s, Int32s, Int64s, Levels, UInt8s
from ..runtime.compiled import entry, part
from ..stages.grid import Places, beside, geometry
from ..stages.linear import SHIFT_LIMIT, WEIGHT_LIMIT, LinearWeights, groups_of
from ..stages.supports import REACH, Support, named, of_runs, voxels_of
from .normal_equations import UNIT, Equations, EquationsOf, Maker, activities, on_cpu

# Most voxels that are used
CLASS_SAMPLES = 1 << 16  # to fit one class of a group,
PRICED = 1 << 16  # to estimate the cost of a support or of a number of classes,
CHOSEN_ON = 1 << 15  # and to choose a support
# Relative to the mean square difference. It is small because smooth images need long filters whose weights nearly
# cancel, and a ridge prevents these.
RIDGE = 1e-6
UNCERTAIN = 3.0  # the unit of the weights of v voxels is 3 · their mean error / (their differences · √v)
THINNING = (4, 4, 1)  # each round of reweighting uses every 4th voxel, the last one all
# Bits that a weight must save in the linear stage alone: its cost in the file, about seven bits, divided by the share
# of the saving that remains once a network follows: a tenth for more classes, a third for more neighbours.
CLASS_COST, NEIGHBOUR_COST = 70.0, 20.0  # bits
# A group has about 2^21 voxels, but at least 8 slices. (One group for 32 slices of 512², instead of one for 8, costs
# 0.1 to 0.2 %; one for each slice gains as much and costs more.)
GROUP_VOXELS, GROUP_SLICES = 1 << 21, 8

# The fit of the linear stage, by effort: the most runs of a support, log2 of the number of voxels that a group is
# fitted on, and the numbers of classes that are tried.
SEARCH = {
    1: (0, 15, (8,)), 2: (0, 17, (8,)), 3: (12, 17, (8,)), 4: (16, 17, (4, 8)),
    5: (24, 18, (2, 4, 8)), **dict.fromkeys((6, 7, 8, 9), (24, 20, (2, 4, 8))),
}  # fmt: skip

# Squared radii of the discs in a reference that are tried: in the slice, and in those before and after it (−1: none).
# Supports are compared with USUAL_DISCS. A reference must save REFERENCE_SAVING of the estimated bits.
DISCS = ((0, -1), (1, -1), (1, 0), (2, 0), (2, 2), (5, 2))
USUAL_DISCS = (2, 0)
REFERENCE_SAVING = 1 / 256

# The rows that may be chosen: the farthest row above and below, by slices back. Rows in the first LONG_ROWS slices may
# have runs across the whole RADIUS; rows in the others have one run, in the middle.
ROWS = (7, 5, 3, 2, 2, 1, 1, 1)
LONG_ROWS = 2  # slices
MIDDLE, LEFT, RIGHT = -4, -8, 0  # dx at which runs begin
# Runs that every support has: the voxel's own row to the left, and those that contain CORE.
FIRST = ((0, 0, LEFT), *((-back, dy, MIDDLE) for back, dy in ((0, -1), (0, -2), (1, -1), (1, 0), (1, 1))))
RUN_COUNTS = (8, 12, 16, 24)  # numbers of runs that are tried
FEWEST = 1 << 14  # voxels; fewer are too few to choose runs by
HEAVY, USUAL = 64, 8  # largest and median factor by which voxels are multiplied when runs are chosen


@entry(both=True)
def solve_positive_definite(n: Any, matrix: Float64s, x: Float64s) -> None:
    """Solve n equations, matrix · solution = x, by Cholesky. The order of operations is the same on every machine, as
    that of LAPACK is not, so that all encoders write the same bytes. Overwrites `matrix` float64 [≥ n, ≥ n], and
    `x` float64 [≥ n] with the solution."""
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


def _robust(equations: Equations, voxels: int = 0) -> tuple[Int16s, UInt8s, Float64s]:
    """Fit weights int16 [c, n] of several classes. Returns them, their shifts uint8 [c] and mean absolute errors [c].

    Iteratively reweighted least squares (Holland & Welsch 1977): a voxel that is predicted badly counts less in the
    next round, down to its weight under the logarithm of a Laplacian or logistic density, so that edges do not spoil
    the prediction of the voxels between them. The weights are rounded to a unit about as large as their uncertainty
    after a fit to `voxels` voxels per class, since finer ones cost more than they save. 0 voxels select the finest
    unit.
    """
    for k, thinning in enumerate(THINNING):
        if k:
            equations.reweigh()
        solved = np.stack([_solved(products) for products in equations.products(thinning)]) * UNIT
        errors = equations.mean_errors(np.clip(np.rint(solved), -WEIGHT_LIMIT, WEIGHT_LIMIT)) / UNIT
    shifts = np.zeros(len(solved), np.int64)
    if voxels:
        # Squares of the units, in steps of 1 / UNIT.
        certain = (UNCERTAIN * (errors + 0.2)) ** 2 / (voxels * equations.spread() + 1e-3) * UNIT**2
        shifts = np.searchsorted(2 * 4 ** np.arange(SHIFT_LIMIT), certain)
    unit = 1 << shifts[:, None]
    most = WEIGHT_LIMIT // unit
    weights = np.clip(np.rint(solved / unit), -most, most) * unit
    return weights.astype(np.int16), shifts.astype(np.uint8), errors


def _solved(products: Float64s) -> Float64s:
    """Solve sums of products [n + 1, n + 1] for the weights float64 [n], in which 1.0 is one."""
    gram, right = products[:-1, :-1].copy(), products[:-1, -1].copy()
    gram[np.diag_indices(len(gram))] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
    solve_positive_definite(len(right), gram, right)
    return right


def _fit_group(
    known: Levels, form: EquationsOf, index: Int32s, flat: Int64s, leading: int, classes: int, samples: int
) -> tuple[np.ndarray, Int16s, UInt8s, float]:
    """Fit one group. Returns thresholds [classes - 1], weights [classes, n], shifts [classes], and the bits per voxel
    of the group, estimated as if the residuals of each class were Laplacian. The n neighbours are at `flat` int64 [n],
    relative to a voxel, the `leading` ones first."""
    voxels = index.size // classes  # in each class
    index = _thinned(index, samples)
    size = flat.size
    thresholds, chosen = _classes(activities(known, index, flat, leading), classes)
    weights, shifts = np.zeros((classes, size), np.int16), np.zeros(classes, np.uint8)
    occurring = np.unique(chosen)  # classes that have voxels
    members = [index[chosen == c] for c in occurring]
    fitted_on = [_thinned(m, CLASS_SAMPLES) for m in members]
    errors = np.zeros(len(occurring))
    for k, c in enumerate(occurring.tolist()):  # one by one, since all at once take eight times the memory
        weights[c : c + 1], shifts[c : c + 1], errors[k : k + 1] = _robust(form(fitted_on[k : k + 1], flat), voxels)
    bits = 0.0
    for m, on, error in zip(members, fitted_on, errors, strict=True):
        # The error of the same weights on other voxels (final prediction error: Akaike 1969).
        expected = error * np.sqrt((on.size + size) / max(on.size - size, 1))
        bits += m.size * np.log2(2 * np.e * (expected + 0.2))
    return thresholds, weights, shifts, bits / index.size


def _thinned(index: Int32s, count: int) -> Int32s:
    """Select at most `count` of the voxels, evenly spaced."""
    return index[:: max(1, -(-index.size // count))]


def _classes(activity: Int64s, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide voxels into classes of equal size. Returns thresholds [classes - 1], and the class of each voxel."""
    ranks = (np.arange(1, classes) * activity.size) // classes
    thresholds = np.partition(activity, ranks)[ranks]
    return thresholds, np.searchsorted(thresholds, activity, side="right")


class _Scratch(NamedTuple):
    """Scratch arrays of the choice of runs, for n neighbours.

    taken bool [n]                  whether a neighbour has been selected
    row float64 [n + 1]             products of the neighbour that is being selected
    columns int64 [LANES]           neighbours of a run that are not selected yet
    matrix float64 [LANES, LANES]   their products with each other
    right float64 [LANES]           their products with the voxel
    """

    taken: np.ndarray
    row: np.ndarray
    columns: np.ndarray
    matrix: np.ndarray
    right: np.ndarray


@part
def _gain(gram: Float64s, members: np.ndarray, r: int, scratch: _Scratch) -> Any:
    """Return by how much the sum of squares shrinks if the remaining members of run r are selected."""
    n, last = np.int64(0), gram.shape[0] - 1  # int64 from the start, or numba compiles for two types
    for k in range(members.shape[1]):
        i = members[r, k]
        if i >= 0 and not scratch.taken[i]:
            scratch.columns[n] = i
            n += 1
    for a in range(n):
        scratch.right[a] = gram[scratch.columns[a], last]
        for b in range(n):
            scratch.matrix[a, b] = gram[scratch.columns[a], scratch.columns[b]]
    solve_positive_definite(n, scratch.matrix, scratch.right)
    gain = 0.0
    for a in range(n):
        gain += scratch.right[a] * gram[scratch.columns[a], last]
    return gain


@entry
def _run_greedy(gram: Float64s, members: np.ndarray, first: int, scratch: _Scratch, order: np.ndarray) -> None:
    """Compute `_greedy`, into `order`."""
    n = gram.shape[0]
    for step in range(order.shape[0]):
        at = step
        if step >= first:
            best = -1.0
            for r in range(members.shape[0]):
                gain = _gain(gram, members, r, scratch)
                if gain > best:
                    best, at = gain, r
        order[step] = at
        for k in range(members.shape[1]):
            i = members[at, k]
            if i < 0 or scratch.taken[i]:
                continue
            scratch.taken[i] = True
            for a in range(n):
                scratch.row[a] = gram[i, a]
            for a in range(n):
                factor = scratch.row[a] / scratch.row[i]
                for b in range(n):
                    gram[a, b] -= factor * scratch.row[b]


def _greedy(gram: Float64s, members: np.ndarray, first: int, count: int) -> np.ndarray:
    """Select runs by orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993): the `first` ones in their
    given order, then always the one that shrinks the sum of squares most. Returns their numbers int64 [count].

    gram float64 [n + 1, n + 1]     products of the neighbours, and last of the voxel; overwritten with the products of
                                    what the selected neighbours leave unexplained
    members int64 [runs, LANES]     neighbours of each run, −1 for none
    """
    n, order = len(gram), np.empty(count, np.int64)
    scratch = _Scratch(
        np.zeros(n, bool), np.empty(n), np.empty(LANES, np.int64), np.empty((LANES, LANES)), np.empty(LANES)
    )
    _run_greedy(gram, members, first, scratch, order)
    return order


def _pool(depth: int) -> list[Offset]:
    """Return the runs that may be chosen for a slice with `depth` slices before it; those of FIRST come first."""
    runs = [
        (-back, dy, dx)
        for back, rows in enumerate(ROWS[: depth + 1])
        for dy in range(-rows, rows + 1 if back else 0)
        for dx in ((MIDDLE, LEFT, RIGHT) if back < LONG_ROWS else (MIDDLE,))
    ]
    return [*FIRST, *(run for run in runs if run not in FIRST)]


def _choose(
    known: Levels, form: EquationsOf, index: Int32s, strides: tuple[int, int], depth: int, count: int, size: int = 0
) -> list[Offset]:
    """Choose runs to predict these voxels from, which lie in slices with `depth` slices before them. Returns the runs
    that every support has, then the others, the best first: with a reference, the best beside USUAL_DISCS of it."""
    runs = _pool(depth)
    pool = of_runs(runs).referring(USUAL_DISCS if size else ())
    beside = [*range(pool.in_slice, pool.leading)]
    place = {offset: i if i < pool.in_slice else i + len(beside) for i, offset in enumerate(pool.offsets)}
    used = sum(-dz <= depth for dz, _, _ in pool.offsets) + len(beside)
    index = _thinned(index, CHOSEN_ON)
    flat = pool.flat(strides, size)[depth, :used]
    # An error counts relative to the usual error of its class, as bits do; large ones count less.
    near = np.array([*(place[o] for o in named("narrow").offsets if -o[0] <= depth), *beside])
    _, chosen = _classes(activities(known, index, flat, pool.leading), 16)
    classes = [np.flatnonzero(chosen == c) for c in np.unique(chosen)]
    equations = form([index[of_class] for of_class in classes], flat[near])
    _robust(equations)
    importance = np.zeros(index.size)
    for of_class, errors in zip(classes, equations.errors(), strict=True):
        error = errors / UNIT
        usual = np.partition(error, error.size // 2)[error.size // 2] + 0.5
        importance[of_class] = 1 / np.sqrt((error + usual) * usual)
    importance /= np.partition(importance, importance.size // 2)[importance.size // 2]
    equations = form([index], flat)
    equations.weigh([np.rint(np.minimum(USUAL * importance, HEAVY))])
    gram = equations.products(1)[0]
    gram[np.diag_indices(flat.size)] += RIDGE * (np.trace(gram) / len(gram)) + 1.0
    # What the reference explains is selected before any run, LANES of its neighbours at a time.
    given = [beside[k : k + LANES] for k in range(0, len(beside), LANES)]
    held = [[place[offset] for offset in voxels_of(run) if place[offset] < used] for run in runs]
    members = np.full((len(given) + len(runs), LANES), -1)
    for r, of_run in enumerate([*given, *held]):
        members[r, : len(of_run)] = of_run
    order = _greedy(gram, members, len(given) + len(FIRST), len(given) + min(count, len(runs)))
    return [runs[r - len(given)] for r in order[len(given) :]]


def fit_by_effort(
    levels: Levels, runs: int, effort: int, reference: Levels | None = None, maker: Maker = on_cpu
) -> LinearWeights:
    """Fit the linear stage to a slab [Z, Y, X], with at most `runs` runs in its support, and with neighbours in the
    reference [Z, Y, X] if there is one and they pay."""
    most, bits, counts = SEARCH[effort]
    known, places, (_, _, strides) = pad(levels, 0, RADIUS).reshape(-1), Places(levels.shape), geometry(levels.shape)
    size = 0
    if reference is not None:
        size, known = known.size, np.concatenate([known, beside(reference)])
    return fit(known, places, strides, min(most, runs), 1 << bits, counts, maker, size)


def fit(
    known: Levels, index: Int32s | Places, strides: tuple[int, int], runs: int, samples: int = 1 << 18,
    counts: tuple[int, ...] = (2, 4, 8), maker: Maker = on_cpu, size: int = 0,
) -> LinearWeights:  # fmt: skip
    """Fit the weights of one slab, with the support and the number of classes that cost least.

    known int [n]        the padded slab, flat, whole
    index int32 [z, v]   the place of every voxel, slice by slice
    strides              elements from slice to slice and from row to row
    runs                 most runs of a support; 0 for a named support without a search
    samples              most voxels that one group is fitted on
    counts               numbers of classes to try; supports are compared with the last one
    maker                makes the normal equations, on the CPU or on a GPU
    size                 elements of the padded slab, if a reference follows it in `known`; else 0
    """
    form = maker(known)
    # Supports are compared on the same voxels, those after the first `depth` slices: at most a quarter of the slab.
    depth = min(REACH, max(2, len(index) // 4), len(index) - 1)
    sample = _thinned(index[depth:].ravel(), PRICED).copy()  # a view would keep all voxels in memory
    tried = [named("narrow")]
    if index.size < 1 << 20:
        tried.append(named("small"))
    if runs and sample.size >= FEWEST:
        chosen = _choose(known, form, sample, strides, depth, runs, size)
        tried += [of_runs(chosen[:n]) for n in RUN_COUNTS if n <= runs]

    @cache
    def bits(support: Support, classes: int) -> float:
        flat = support.flat(strides, size)[depth, : support.leading if depth == 0 else None]
        return _fit_group(known, form, sample, flat, support.leading, classes, PRICED)[3]

    def price(support: Support, classes: int, cost: float) -> float:
        groups = int(groups_of(len(index), _group_height(index.shape, support), support).max()) + 1
        sent = classes * sum(support.used(g) for g in range(groups))
        return bits(support, classes) + cost * sent / index.size

    usual = counts[-1]
    if size:
        tried = [support.referring(USUAL_DISCS) for support in tried]
    support = min(tried, key=lambda s: price(s, usual, NEIGHBOUR_COST)) if len(tried) > 1 else tried[0]
    if size:
        alone = price(support.referring(()), usual, NEIGHBOUR_COST)
        support = min((support.referring(discs) for discs in DISCS), key=lambda s: price(s, usual, NEIGHBOUR_COST))
        if price(support, usual, NEIGHBOUR_COST) > (1 - REFERENCE_SAVING) * alone:
            return fit(known[:size], index, strides, runs, samples, counts, maker)
    classes = min(counts, key=lambda c: price(support, c, CLASS_COST)) if len(counts) > 1 else usual
    return _fitted(known, form, index, strides, support, classes, samples, size)


def _fitted(
    known: Levels, form: EquationsOf, index: Int32s | Places, strides: tuple[int, int], support: Support,
    classes: int, samples: int, size: int = 0,
) -> LinearWeights:  # fmt: skip
    """Fit the weights of every group of a slab."""
    height = _group_height(index.shape, support)
    groups = groups_of(len(index), height, support)
    flat = support.flat(strides, size)
    thresholds = np.zeros((int(groups.max()) + 1, classes - 1), np.int64)
    weights = np.zeros((len(thresholds), classes, support.size), np.int16)
    shifts = np.zeros(weights.shape[:2], np.uint8)
    for g in range(len(thresholds)):
        used = support.used(g)
        slices = np.flatnonzero(groups == g)
        # Slices near the first one have neighbours in slices before the slab. They are used only if there are no
        # others.
        depth = min(int(slices.max()), support.back(g))
        members = index[slices[slices >= depth]].ravel()
        thresholds[g], weights[g, :, :used], shifts[g], _ = _fit_group(
            known, form, members, flat[depth, :used], support.leading, classes, samples
        )
    return LinearWeights(support, height, thresholds, weights, shifts)


def _group_height(shape: tuple[int, ...], support: Support) -> int:
    """Return the number of slices per group for a slab [slices, voxels], so that all groups are about equal."""
    slices = shape[0] - (support.reach if support.reach > 2 else 1)
    aim = max(GROUP_VOXELS // shape[1], GROUP_SLICES)
    return int(min(max(-(-slices // max(1, round(slices / aim))), 1), 255))
