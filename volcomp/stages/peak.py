"""The peak of the histogram: one grey level of a slab that occurs far more often than the density around it expects.

Examples are masked background, clipped air, and the zeros that a fit leaves where it fails. No smooth density can
describe a single value that stands out from its neighbours. Where it pays, a flag precedes a voxel's symbol and tells
whether the voxel has the peak's level; if it has, no symbol follows. The flag's probability depends on how many of
seven neighbours have that level and on the distance of the mean from it, in scales. The encoder measures the
probability of each context and sends one byte for each. (This reduces apparent diffusion maps by 20 %, head CT by 1 %.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import constants
from ..dtypes import Float64s, Int32s, Int64s, Integers, Levels, UInt8s
from ..runtime.compiled import entry, part

NEIGHBOURS = ((0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0))
IN_SLICE = 4
# Distances of the mean from the peak, in quarters of the scale, at which a new context begins.
STEPS = np.array([1, 2, 4, 6, 8, 12, 16, 24, 32], np.int64)
CONTEXTS = (len(NEIGHBOURS) + 1) * (len(STEPS) + 1)
QUARTERS = np.array(constants.QUARTERS, np.int64)
# A level can be the candidate only if its excess over the levels beside it is above these shares of the slab and of its
# own count. The maximum of a smooth histogram exceeds the levels beside it by an eighth at most.
MINIMUM_OF_SLAB, MINIMUM_OF_LEVEL = 1 / 4096, 1 / 6


class Peak(NamedTuple):
    """The peak of a slab.

    value                   its grey level
    codes uint8 [CONTEXTS]  the flag's probability in every context
    """

    value: int
    codes: UInt8s


class Candidate(NamedTuple):
    """The grey level that may become the peak, and where its contexts are computed from.

    value                          the level, or −1 for none
    neighbours int64 [DEPTHS, 7]   NEIGHBOURS, relative to a voxel of a padded slab (`grid.flat`)
    """

    value: int
    neighbours: Int64s


@part
def context(known: Any, at: Any, depth: Any, candidate: Any, mean: Any, c: Any) -> Any:
    """Compute the context of the voxel at `at` in a padded slab, whose causal neighbours are known.

    `depth` is 0 in a slab's first slice. Class c is the network's own, before correction.
    """
    value, near = candidate.value, candidate.neighbours[depth]
    equal = 0
    for i in range(len(NEIGHBOURS) if depth else IN_SLICE):
        equal += known[np.uint64(at + near[i])] == value
    # The mean is in sixteenths of a grey level. Class 0 has a scale of 2^-6 grey levels, which is 1/4 of that unit.
    scale = QUARTERS[c & 3] << np.int64(c >> 2)  # in 1/4096 of that unit
    distance = abs(np.int64(mean) - 16 * value) << 14  # in quarters of a scale, times `scale`
    step = 0
    while step < STEPS.shape[0] and distance >= STEPS[step] * scale:
        step += 1
    return equal * (STEPS.shape[0] + 1) + step


@entry
def contexts(
    known: Levels, index: Integers, depth: UInt8s, candidate: Candidate, mean: Int32s,
    classes: UInt8s, out: UInt8s,
) -> None:  # fmt: skip
    """Compute the `context` uint8 [v] of several voxels."""
    for v in range(index.shape[0]):
        out[v] = context(known, index[v], depth[v], candidate, mean[v], np.int64(classes[v]))


@entry
def _count_edges(levels: Levels, counts: Int64s) -> None:
    """Count each grey level of [Z, Y, X] where the voxel to the left, above or in the slice before has another one."""
    for z in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                level = levels[z, y, x]
                counts[level] += (
                    (x > 0 and levels[z, y, x - 1] != level)
                    or (y > 0 and levels[z, y - 1, x] != level)
                    or (z > 0 and levels[z - 1, y, x] != level)
                )


def candidate(levels: Levels, limit: int) -> int | None:
    """Find the grey level of a slab [Z, Y, X] of 0 … limit that may become its peak; None where no level stands out.

    It is the level whose count exceeds those of the two levels on either side by most. Only voxels beside another level
    count: padding is the most frequent level of many CT volumes but costs almost nothing, whereas the level to which
    air is clipped lies amid noise.
    """
    edges = np.zeros(limit + 5, np.int64)
    own = edges[2:-2]
    _count_edges(levels, own)
    excess = own - np.maximum.reduce([edges[:-4], edges[1:-3], edges[3:-1], edges[4:]])
    excess[(excess <= MINIMUM_OF_SLAB * levels.size) | (excess <= MINIMUM_OF_LEVEL * own)] = 0
    value = int(excess.argmax())
    return value if excess[value] else None


class FlagTotals(NamedTuple):
    """What the codes of the flags are chosen by, for every context [CONTEXTS].

    total, at_peak int64   how many voxels have each context, and how many of these have the value
    saved float64          bits that the latter cost without a flag
    """

    total: Int64s
    at_peak: Int64s
    saved: Float64s


def choose(value: int, totals: FlagTotals, flag_bits: Float64s) -> Peak | None:
    """Choose the codes that make a slab smallest; None where flags do not pay.

    flag_bits float64 [256, 2]   bits of no and yes for every code
    """
    total, at_peak, saved = totals
    flags = np.outer(total - at_peak, flag_bits[:, 0]) + np.outer(at_peak, flag_bits[:, 1])  # [CONTEXTS, 256]
    best = 1 + flags[:, 1:].argmin(axis=1)
    gain = saved - np.take_along_axis(flags, best[:, None], axis=1)[:, 0]
    codes = np.where(gain > 0, best, 0).astype(np.uint8)
    return Peak(value, codes) if gain[gain > 0].sum() > 8 * (CONTEXTS + 4) else None
