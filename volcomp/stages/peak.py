"""The spike: one grey level of a slab that occurs far more often than the density around it says.

Masked background, clipped air, the zeros that a fit left where it failed: no smooth density has room for a single value
in the midst of others. Where it pays, a flag "is the spike" comes before a voxel's symbol, and a voxel that is needs no
symbol. The flag's probability depends on how many of seven neighbours are the spike and on how far off, in scales, the
mean lies; the encoder measures it, context by context, and sends a byte for each. (On apparent diffusion maps this
takes off 20 % of the size, on head CT 1 %.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import constants
from ..runtime.compiled import entry, part

NEIGHBOURS = ((0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0))
IN_SLICE = 4
# Distances of the mean from the spike, in quarters of the scale, that begin a new context.
STEPS = np.array([1, 2, 4, 6, 8, 12, 16, 24, 32], np.int64)
CONTEXTS = (len(NEIGHBOURS) + 1) * (len(STEPS) + 1)
QUARTERS = np.array(constants.QUARTERS, np.int64)
# A level is tried if it exceeds those beside it by so much of a slab, and of itself: the peak of a smooth histogram
# exceeds them by an eighth at most.
RARE, PEAK = 1 / 4096, 1 / 6


class Spike(NamedTuple):
    """value: the grey level; codes uint8 [CONTEXTS]: the flag's probability in every context."""

    value: int
    codes: np.ndarray


@part
def context(known: Any, at: Any, near: Any, depth: Any, value: Any, mean: Any, c: Any) -> Any:
    """The context of a voxel that lies at `at` in a padded slab, and whose causal neighbours, at `near` int64 [7]
    relative to it, are known; `depth` is 0 in a slab's first slice, and class c as the network gave it."""
    same = 0
    for i in range(len(NEIGHBOURS) if depth else IN_SLICE):
        same += known[np.uint64(at + near[i])] == value
    # A sixteenth of a grey level is the unit of the mean; class 0 is at 2^-6 grey levels, so its scale is 1/4 of it.
    scale = QUARTERS[c & 3] << np.int64(c >> 2)  # in 1/4096 of that unit
    distance = abs(np.int64(mean) - 16 * value) << 14  # in quarters of a scale, times `scale`
    step = 0
    while step < STEPS.shape[0] and distance >= STEPS[step] * scale:
        step += 1
    return same * (STEPS.shape[0] + 1) + step


@entry
def contexts(
    known: np.ndarray, index: np.ndarray, depth: np.ndarray, flat: np.ndarray, value: int, mean: np.ndarray,
    classes: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """`context` uint8 [v] of several voxels; `flat` int64 [DEPTHS, 7] as for the features."""
    for v in range(index.shape[0]):
        out[v] = context(known, index[v], flat[depth[v]], depth[v], value, mean[v], np.int64(classes[v]))


@entry
def _count_edges(levels: np.ndarray, counts: np.ndarray) -> None:
    """How often every grey level of [Z, Y, X] occurs where the voxel to the left, above or in the slice before has
    another."""
    for z in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                level = levels[z, y, x]
                counts[level] += (
                    (x > 0 and levels[z, y, x - 1] != level)
                    or (y > 0 and levels[z, y - 1, x] != level)
                    or (z > 0 and levels[z - 1, y, x] != level)
                )


def candidate(levels: np.ndarray, limit: int) -> int | None:
    """The grey level of a slab [Z, Y, X] of 0 … limit that may be a spike: that which is farthest above both levels on
    either side of it, counted among other voxels alone. (Padding is the most frequent level of many a CT, but costs
    next to nothing; what its air is clipped to lies in the midst of noise.) None where no level stands out."""
    edges = np.zeros(limit + 5, np.int64)
    own = edges[2:-2]
    _count_edges(levels, own)
    excess = own - np.maximum.reduce([edges[:-4], edges[1:-3], edges[3:-1], edges[4:]])
    excess[(excess <= RARE * levels.size) | (excess <= PEAK * own)] = 0
    value = int(excess.argmax())
    return value if excess[value] else None


def choose(value: int, total: np.ndarray, spikes: np.ndarray, saved: np.ndarray, flag_bits: np.ndarray) -> Spike | None:
    """The codes that make a slab smallest; None where no flag pays.

    total, spikes int64 [CONTEXTS]   how many voxels have each context, and how many of them the value
    saved float64 [CONTEXTS]         bits of the latter without a flag
    flag_bits float64 [256, 2]       bits of no and yes for every code
    """
    flags = np.outer(total - spikes, flag_bits[:, 0]) + np.outer(spikes, flag_bits[:, 1])  # [CONTEXTS, 256]
    best = 1 + flags[:, 1:].argmin(axis=1)
    gain = saved - np.take_along_axis(flags, best[:, None], axis=1)[:, 0]
    codes = np.where(gain > 0, best, 0).astype(np.uint8)
    return Spike(value, codes) if gain[gain > 0].sum() > 8 * (CONTEXTS + 4) else None
