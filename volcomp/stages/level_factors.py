"""Level factors: how much more or less often each grey level occurs than the densities around it expect.

Rescaled series have combs, in which every second level is rare. Clipped air, masks and reserved values end a histogram
amid noise. No smooth density can describe either, whatever its mean. Where it pays, a slab states a factor for every
level, in eighths of an octave. The probability of a level is multiplied by its factor wherever the level could occur;
levels below 0 or above the limit have factor 0. (After the histogram-based schemes for sparse images, Pinho 2002, but a
rare level stays possible.) The coder that multiplies is `ans_by_voxel.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..constants import TABLE_BITS
from ..dtypes import Float64s, Int64s, UInt16s, UInt32s
from ..errors import DamagedError
from ..runtime.compiled import entry, part
from ..wire import rice
from ..wire.cursor import Cursor, varint
from . import ans, symbols
from .symbols import Voxels

UNIT = 256  # represents a factor of 1
EIGHTHS = np.array([256, 279, 304, 332, 362, 395, 431, 470], np.int64)  # UNIT · 2^(i/8)
LOWEST, HIGHEST = -64, 31  # exponents: factors of 1/256 to 14.7
PERIODS = 16  # largest distance to the earlier level from whose exponent a level's exponent is predicted
LOW = int(symbols.LOW_BITS.max()) + 1
PAD = 320  # blocks before the first level, of which a table reaches 205
TAIL = 288  # blocks after the last level
SAMPLE = 1 << 19  # voxels that the encoder examines, by default
PRIOR = 3  # occurrences added to both the actual and the expected count of every level
COST, LISTED = 8.0, 1.5  # bits that an exponent must save to be stated; bits of a listed level whose exponent is 0


class LevelFactors(NamedTuple):
    """The factors of levels 0 … limit, prepared for the coder, whose tokens stand for 2^l levels each.

    means uint16 [n]     mean factors of blocks of 2^l levels, where levels outside 0 … limit count as 0: for every l,
                         for every phase 0 … 2^l − 1, the blocks that begin at level phase + k·2^l, k from −PAD on
    first int64 [LOW]    index of the first block of each l
    length int64 [LOW]   number of blocks of a phase
    sums int64 [s]       sum of the factors of all levels below this one
    """

    means: UInt16s
    first: Int64s
    length: Int64s
    sums: Int64s


def of_exponents(exponents: Int64s) -> LevelFactors:
    """Prepare the factors of exponents int64 [limit + 1] within LOWEST … HIGHEST."""
    octave, eighth = exponents >> 3, EIGHTHS[exponents & 7]
    factors = np.where(octave < 0, eighth >> np.maximum(-octave, 0), eighth << np.maximum(octave, 0))
    sums = np.concatenate([[0], np.cumsum(factors)])
    parts = []
    for low in range(LOW):
        count = PAD + ((exponents.size + 1) >> low) + TAIL
        before, after = PAD << low, ((count + 1 - PAD) << low) - sums.size
        edges = np.concatenate([np.zeros(before, np.int64), sums, np.full(after, sums[-1])]).reshape(-1, 1 << low)
        parts.append(np.ascontiguousarray((np.diff(edges, axis=0) >> low).T, np.uint16))
    first = np.cumsum([0, *(part.size for part in parts[:-1])])
    length = np.array([part.shape[1] for part in parts])
    return LevelFactors(np.concatenate([part.ravel() for part in parts]), first, length, sums)


class Weighing(NamedTuple):
    """All that weighs counts with level factors.

    ordered uint32 [tables, 2, longest], escape uint32 [tables]   of `ans.Tables`
    products uint32 [longest]                                     scratch: the weighted counts of one voxel's tokens
    """

    ordered: UInt32s
    escape: UInt32s
    products: UInt32s
    factors: LevelFactors


def weighing(tables: ans.Tables, factors: LevelFactors) -> Weighing:
    """Prepare to weigh the counts of a model's tables."""
    return Weighing(tables.ordered, tables.escape, np.empty(tables.ordered.shape[2], np.uint32), factors)


@part
def weigh(mean: Any, c: Any, weighing: Weighing) -> tuple[Any, Any, Any, Any, Any]:
    """Weigh the counts of a voxel's table with the level factors, given its mean and class.

    Writes the weighted counts of its tokens, by ascending level, to `weighing.products`. 32 bits suffice, because
    counts sum to 2^20 and factors are below 2^12.

    Returns the level at which token `reach` begins, which is near the mean; the index in `factors.means` of the first
    token; and three sums of weighted counts: below token `reach`, of all tokens, and of all tokens and the escape.
    """
    ordered, escape, products, factors = weighing
    begin, mirrored, table = symbols.ascending(np.int64(mean), c)
    low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
    phase = begin & ((1 << low) - 1)
    at = factors.first[low] + phase * factors.length[low] + (begin >> low) - reach + PAD
    counts, means = ordered[table, mirrored, : 2 * reach], factors.means[at : at + 2 * reach]
    out = products[: 2 * reach]
    for i in range(out.shape[0]):
        out[i] = np.uint32(counts[i] * np.uint32(means[i]))
    below, above = np.int64(0), np.int64(0)
    for count in products[:reach]:
        below += np.int64(count)
    for count in products[reach : 2 * reach]:
        above += np.int64(count)
    return begin, at, below, below + above, below + above + np.int64(escape[table]) * UNIT


def to_bytes(exponents: Int64s) -> bytes:
    """Serialise exponents int64 [limit + 1].

    The bytes hold a period, the number of exponents that are listed (all later ones are 0), and the difference of each
    listed exponent to that of one period earlier.
    """
    listed = exponents[: int(np.flatnonzero(exponents).max(initial=-1)) + 1]

    def listing(period: int) -> bytes:
        return bytes([period]) + varint(listed.size) + rice.encode(listed - _delayed(listed, period))

    return min(map(listing, range(1, PERIODS + 1)), key=len)


def _delayed(values: Int64s, period: int) -> Int64s:
    return np.concatenate([np.zeros(period, np.int64), values])[: values.size]


def from_bytes(data: bytes, limit: int) -> Int64s:
    """Read the exponents int64 [limit + 1] that `to_bytes` wrote; DamagedError if it cannot have written the data."""
    reader = Cursor(data, "its list of factors")
    period, count = reader.take(1)[0], reader.varint(limit + 1)
    if not 0 < period <= PERIODS:
        raise DamagedError(f"its list of factors has a period of {period}, where 1 to {PERIODS} are possible")
    steps = rice.decode(reader.rest(), count)
    exponents = np.zeros(limit + 1, np.int64)
    for k in range(min(period, count)):
        exponents[k:count:period] = steps[k::period].cumsum()
    if exponents.min() < LOWEST or exponents.max() > HIGHEST:
        raise DamagedError(f"its list of factors leaves 2^({LOWEST}/8) … 2^({HIGHEST}/8)")
    return exponents


# --------------------------------------------------------------------------------------------------------- the encoder


@entry
def _expect(voxels: Voxels, step: int, weighing: Weighing, expected: Int64s, counts: Int64s) -> None:
    """Count how often blocks are expected and how often levels occur, over every `step`th voxel that is not settled.

    expected int64 [n]           added to, in 2^-40: the occurrences of every block that the factors predict, in the
                                 layout of `LevelFactors.means`
    counts int64 [limit + 1]     added to: the actual occurrences of every level
    """
    voxel, mean, classes, settled = voxels
    products = weighing.products
    for v in range(0, voxel.shape[0], step):
        if settled[v]:
            continue
        counts[voxel[v]] += 1
        c = np.int64(classes[v])
        _, at, _, _, total = weigh(mean[v], c, weighing)
        scale = (1 << 40) // total
        out = expected[at : at + 2 * symbols.REACH[c]]
        for i in range(out.shape[0]):
            out[i] += np.int64(products[i]) * scale


@entry
def _prices(voxels: Voxels, step: int, weighing: Weighing) -> tuple[float, float]:
    """Return the bits of the voxels that `_expect` counts, without factors and with them, excluding raw bits."""
    voxel, mean, classes, settled = voxels
    ordered, escape, _, factors = weighing
    plain, weighted = 0.0, 0.0
    for v in range(0, voxel.shape[0], step):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        begin, _, _, _, total = weigh(mean[v], c, weighing)
        _, mirrored, table = symbols.ascending(np.int64(mean[v]), c)
        reach = symbols.REACH[c]
        i = ((np.int64(voxel[v]) - begin) >> symbols.LOW_BITS[c]) + reach
        count, factor = np.int64(escape[table]), UNIT
        if 0 <= i < 2 * reach:
            # The count times the factor of the voxel's own level: this includes the cost of the low bits.
            count, factor = np.int64(ordered[table, mirrored, i]), factors.sums[voxel[v] + 1] - factors.sums[voxel[v]]
        plain -= np.log2(count / (1 << TABLE_BITS))
        weighted -= np.log2(count * factor / float(total))
    return plain, weighted


def _spread(expected: Int64s, factors: LevelFactors, levels: int) -> Float64s:
    """Distribute the expected occurrences of blocks over their levels: float64 [levels]."""
    rising = np.zeros(levels + 1, np.int64)
    for low in range(LOW):
        count = int(factors.length[low])
        part = expected[int(factors.first[low]) :][: count << low].reshape(1 << low, count)
        if not part.any():
            continue
        edges = np.add.outer(np.arange(1 << low), (np.arange(count + 1) - PAD) << low).clip(0, levels)
        begin, end = edges[:, :-1], edges[:, 1:]
        share = part // np.maximum(end - begin, 1)
        np.add.at(rising, begin[part > 0], share[part > 0])
        np.subtract.at(rising, end[part > 0], share[part > 0])
    return rising[:-1].cumsum() / (1 << 40)


# The boundaries between the ratios of neighbouring exponents.
_BETWEEN = 2.0 ** ((np.arange(LOWEST, HIGHEST) + 0.5) / 8)


def find(voxels: Voxels, tables: ans.Tables, limit: int, minimum_saving: float, sample: int = SAMPLE) -> Int64s | None:
    """Find the exponents int64 [limit + 1] that make a slab smallest; None where factors do not pay.

    voxels           all of the slab, with their corrected classes
    minimum_saving   the share of its bits that factors must save, because they cost time
    sample           the least number of voxels to examine
    """
    size = voxels.voxel.size
    if size < limit:  # too few to estimate most levels
        return None
    step = max(1, size // sample)
    even = of_exponents(np.zeros(limit + 1, np.int64))
    expected, counts = np.zeros(even.means.size, np.int64), np.zeros(limit + 1, np.int64)
    _expect(voxels, step, weighing(tables, even), expected, counts)
    likely = _spread(expected, even, limit + 1)
    exponents = np.searchsorted(_BETWEEN, (counts + PRIOR) / (likely + PRIOR)) + LOWEST
    saved = step * (counts * exponents / 8 - likely * (2.0 ** (exponents / 8) - 1) / np.log(2))
    exponents[saved <= COST] = 0
    # The list ends where the later exponents do not save what the list costs up to them.
    worth = np.cumsum(np.where(exponents != 0, saved - COST, 0) - LISTED)
    exponents[int(worth.argmax()) + 1 :] = 0
    plain, weighted = _prices(voxels, step, weighing(tables, of_exponents(exponents)))
    saving = step * (plain - weighted) - 8 * len(to_bytes(exponents))
    return exponents if saving > minimum_saving * step * plain else None
