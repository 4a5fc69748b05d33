"""Features: the local scale of the linear stage's residuals, and the network's inputs in units of that scale.

Every input of the network is relative to the linear prediction and divided by the local scale; none is a raw intensity.
Weights that were trained on some scanners therefore serve others. All arithmetic is in integers.

Units: residuals and predictions are in sixteenths of a grey level, scales in 1/256 of one. A *scale index* counts
sixteenths of an octave from a quarter of a grey level: scale = 2^(index/16) / 4 grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Int8s, Int32s, Int64s, Integers, UInt8s
from ..runtime.compiled import entry, part
from ..runtime.scalars import larger, smaller
from .grid import PaddedSlab, flat, flat_beside

SPARED = slice(16, 40)  # inputs that the smallest networks omit: most neighbours in the slices before
RADIUS = 2  # largest distance of a neighbour within its slice, in voxels
INPUT_LIMIT = 127

# Neighbours whose grey levels the network sees: 10 in the slice, 21 in the one before, 9 in the one before that.
_IN_SLICE = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1))
_SQUARE = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_DISC = (
    *_SQUARE, (0, -2), (-2, 0), (0, 2), (2, 0),
    (-1, -2), (-2, -1), (-1, 2), (-2, 1), (1, -2), (2, -1), (1, 2), (2, 1),
)  # fmt: skip
LEVELS = (
    *((0, dy, dx) for dy, dx in _IN_SLICE),
    *((-1, dy, dx) for dy, dx in _DISC),
    *((-2, dy, dx) for dy, dx in _SQUARE),
)
# Neighbours whose residuals (after the linear stage) the network sees.
RESIDUALS = (
    *((0, dy, dx) for dy, dx in _IN_SLICE[:8]),
    *((-1, dy, dx) for dy, dx in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (0, 2))),
)
LEVELS_IN_SLICE, RESIDUALS_IN_SLICE = 10, 8
# A network that sees the reference reads levels there: in a slab's first slice those of both slices before, in others
# those of the second slice before, at their places. In the first slice the rows of the second slice before are moved,
# as (dy, dx) by the row's dy, since the others cover their places.
FARTHER = {-1: (4, 0), 0: (0, 4), 1: (1, 3)}

# Neighbours of the scale: 12 in the slice with weight 1/distance, 9 in the slice before with 0.4/(1 + distance).
_ACTIVE = (*_IN_SLICE, (-2, -2), (-2, 2))
ACTIVE = (*((0, dy, dx) for dy, dx in _ACTIVE), *((-1, dy, dx) for dy, dx in _SQUARE))
ACTIVE_IN_SLICE = len(_ACTIVE)

SCALE_FLOOR = 77  # the scale is 1.2 times the mean absolute residual nearby, plus 0.3 grey levels, in 1/256 of one
SCALE_INDICES = 320
# These weights by the distance² of a neighbour, scaled to a sum of 1.2 · 4096. The first row is for a slab's first
# slice, which has no slice before it.
_NEAR = ({1: 711, 2: 503, 4: 356, 5: 318, 8: 251}, {1: 560, 2: 396, 4: 280, 5: 251, 8: 198})
_BEFORE = ({0: 0, 1: 0, 2: 0}, {0: 224, 1: 112, 2: 93})
ACTIVITY_WEIGHTS = np.array(
    [
        [(near if dz == 0 else before)[dy * dy + dx * dx] for dz, dy, dx in ACTIVE]
        for near, before in zip(_NEAR, _BEFORE, strict=True)
    ],
    np.int64,
)


def _scale_table() -> Int64s:
    """Return the scale of every index in 1/256 of a grey level: int64 [SCALE_INDICES].

    It is the middle of the scales that `scale_index` maps to the index. Sixteen linear pieces per octave approximate
    the logarithm to within 0.09 octaves.
    """
    index = np.arange(SCALE_INDICES)
    return (2 * (16 + index % 16) + 1) << (index // 16 + 1)


SCALES = _scale_table()
RECIPROCALS = ((1 << 28) + SCALES // 2) // SCALES  # 2^28 / scale
BOUNDS = (1 << 27) // RECIPROCALS + 1  # limit of differences, at least 8 scales; limit · reciprocal is below 2^28


class Neighbours(NamedTuple):
    """The offsets of LEVELS, RESIDUALS and ACTIVE, from `flat`; and for a network that sees the reference, of places in
    it int64 [n], else empty.

    around   the voxel's own place and the eight about it
    beside   the places of the LEVELS in the slice
    """

    levels: Int64s
    residuals: Int64s
    active: Int64s
    around: Int64s
    beside: Int64s


def flat_levels(offsets: Sequence[tuple[int, int, int]], strides: tuple[int, int], size: int) -> Int64s:
    """Flatten offsets of LEVELS, or of rows of them, like `flat`: some to places in the reference, which follows the
    `size` elements of the padded slab, unless `size` is 0."""
    found = flat(offsets, strides)
    for n, (dz, dy, dx) in enumerate(offsets if size else ()):
        down, right = FARTHER[dy] if dz < -1 else (0, 0)
        first, later = flat_beside([(0, dy + down, dx + right), (0, dy, dx)], strides, size)[0]
        if dz < 0:
            found[0, n] = first
        if dz < -1:
            found[1:, n] = later
    return found


def neighbours(strides: tuple[int, int], size: int = 0) -> Neighbours:
    """Return the neighbours in a padded slab with these element strides (slice, row). `size`, of a network that sees
    the reference, is that of the padded slab, after which the reference begins; else 0."""
    around = beside = np.empty(0, np.int64)
    if size:
        around, beside = (flat_beside([(0, *o) for o in places], strides, size)[0] for places in (_SQUARE, _IN_SLICE))
    levels = flat_levels(LEVELS, strides, size)
    return Neighbours(levels, flat(RESIDUALS, strides), flat(ACTIVE, strides), around, beside)


@entry
def scale_index(scale: Any) -> Any:
    """Return the index of a scale from 64/256 grey levels to below 2^32: place of its leading bit, next four bits."""
    return (np.float64(scale).view(np.int64) >> 48) - ((1023 + 6) << 4)  # the top of a float64, less its bias


@part
def squash(units: Any) -> Any:
    """Compress an int32 difference in 1/1024 of the scale, within ±8192, to an input: u − u|u|/16 in 1/32.

    Small differences keep a fine resolution, and large ones remain distinct.
    """
    curved = np.int32(np.int32(units * np.int32(abs(units))) >> np.int32(14))
    return smaller(np.int32(np.int32(units - curved) + np.int32(16)) >> np.int32(5), np.int32(INPUT_LIMIT))


@part
def clip(value: Any) -> Any:
    return smaller(larger(value, -INPUT_LIMIT), INPUT_LIMIT)


class Sums(NamedTuple):
    """Sums over the neighbours of a voxel, int64.

    near     weighted absolute residuals in the slice
    before   the same in the slice before
    spread   absolute differences between the grey levels in the slice and the prediction
    """

    near: Any
    before: Any
    spread: Any


@part
def describe(x: Any, rest: Any, k: Any, p: Any, later: Any, sums: Any) -> None:
    """Write the last eight inputs, those that are no neighbours, to `x` from `rest` on.

    k        the scale index
    p        the prediction of the linear stage
    later    whether the slice is not the slab's first
    """
    near, before, spread = sums
    ratio = scale_index((near >> 8) + SCALE_FLOOR) - scale_index((before * 15 >> 10) + SCALE_FLOOR)
    x[rest] = clip(k - 96)
    x[rest + 1] = ((p & 15) - 8) << 3
    x[rest + 2] = 64 if later else 0
    x[rest + 3] = clip(ratio) if later else 0
    x[rest + 4] = clip(scale_index(spread * 8 // 5 + SCALE_FLOOR) - k)
    x[rest + 5] = squash(np.int32(smaller((np.int64(p) * RECIPROCALS[k]) >> 14, 8192)))
    x[rest + 6] = 64  # the input of the biases
    x[rest + 7] = 0


@part
def compare(x: Any, rest: Any, k: Any, later: Any, known: Any, at: Any, neighbours: Any) -> None:
    """Write the inputs of a network that sees the reference, relative to the scale index k: how far it was from the
    levels in the slice; and in a slab's first slice the activity of the reference about the place `at`. See `describe`.
    """
    levels, around, beside = neighbours.levels, neighbours.around, neighbours.beside
    middle = np.int64(known[np.uint64(at + around[0])])
    active, far = np.int64(0), np.int64(0)
    for i in range(1, around.shape[0]):
        active += abs(np.int64(known[np.uint64(at + around[i])]) - middle)
    for i in range(LEVELS_IN_SLICE):
        far += abs(np.int64(known[np.uint64(at + levels[0, i])]) - np.int64(known[np.uint64(at + beside[i])]))
    if not later:
        x[rest + 3] = clip(scale_index((active << 5) + SCALE_FLOOR) - k)
    x[rest + 7] = clip(scale_index(far * 128 // 5 + SCALE_FLOOR) - k)


@entry(allocates=True)
def observe(
    slab: PaddedSlab, index: Integers, depth: UInt8s, neighbours: Neighbours, prediction: Int32s,
    scale: Int32s, inputs: Int8s,
) -> None:  # fmt: skip
    """Compute the scale index and the inputs of voxels whose causal neighbours are all known.

    index int64 [v]             where each voxel lies in the slab
    depth uint8 [v]             the slice of each voxel; DEPTHS - 1 for all later slices
    prediction int32 [v]        of the linear stage
    scale int32 [v]             out: scale index
    inputs int8 [v, ≥ INPUTS]   out: columns from INPUTS on do not change
    """
    known, residual = slab
    levels, residuals, active, around, _ = neighbours
    refers = around.shape[0] > 0
    n_levels, n_residuals, n_active = len(LEVELS), len(RESIDUALS), len(ACTIVE)  # constants, so that loops are unrolled
    rest = n_levels + n_residuals
    gathered = np.empty(rest, np.int32)  # vector units can run the loops after the gathering
    absolute = np.empty(n_active, np.int32)
    for v in range(index.shape[0]):
        at, p, later = index[v], prediction[v], depth[v] > 0
        row = active[depth[v]]
        for i in range(n_active):
            absolute[i] = abs(residual[np.uint64(at + row[i])])
        weight = ACTIVITY_WEIGHTS[1 if later else 0]
        near, before = np.int64(0), np.int64(0)
        for i in range(ACTIVE_IN_SLICE):
            near += weight[i] * np.int64(absolute[i])
        for i in range(ACTIVE_IN_SLICE, n_active):
            before += weight[i] * np.int64(absolute[i])  # with weight 0 in the first slice
        k = scale_index(((near + before) >> 8) + SCALE_FLOOR)
        scale[v] = k

        row = levels[depth[v]]
        for i in range(n_levels):
            gathered[i] = np.int32(known[np.uint64(at + row[i])] * np.int32(16)) - p
        row = residuals[depth[v]]
        for i in range(n_residuals):
            gathered[n_levels + i] = residual[np.uint64(at + row[i])]
        x = inputs[v]
        reciprocal = np.int32(RECIPROCALS[k])
        bound = np.int32(BOUNDS[k])
        for i in range(rest):
            d = np.int32(smaller(larger(gathered[i], np.int32(-bound)), bound))
            units = np.int32(np.int32(d * reciprocal) >> np.int32(14))
            x[i] = squash(np.int32(smaller(larger(units, np.int32(-8192)), np.int32(8192))))
        if not later:
            x[n_levels if refers else LEVELS_IN_SLICE : n_levels] = 0
            x[n_levels + RESIDUALS_IN_SLICE : rest] = 0

        spread = np.int64(0)
        for i in range(LEVELS_IN_SLICE):
            spread += abs(gathered[i])
        describe(x, rest, k, p, later, Sums(near, before, spread))
        if refers:
            compare(x, rest, k, later, known, at, neighbours)
