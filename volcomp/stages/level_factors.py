"""Factors of grey levels: how much more or less often each one occurs than the densities around it say.

Rescaled series have combs, where every second level hardly occurs; air that is clipped, masks and reserved values end a
histogram in the midst of noise. No smooth density knows of either, whatever its mean. Where it pays, a slab states a
factor for every level, in eighths of an octave, by which the probability of the level is multiplied wherever it could
occur, and no level below 0 or above the limit has any. (After the histogram-based schemes for sparse images, Pinho
2002, but a rare level stays possible.) `weighted.py` is the coder that multiplies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..constants import TABLE_BITS
from ..errors import DamagedError
from ..runtime.compiled import entry, part
from ..wire import rice
from ..wire.cursor import Cursor, varint
from . import symbols

UNIT = 256  # a factor of 1
EIGHTHS = np.array([256, 279, 304, 332, 362, 395, 431, 470], np.int64)  # UNIT · 2^(i/8)
LOWEST, HIGHEST = -64, 31  # exponents: factors of 1/256 to 14.7
PERIODS = 16  # a level's exponent is told by that of the level so many before it, at most
LOW = int(symbols.LOW_BITS.max()) + 1
PAD = 320  # blocks before the first level, of which a table reaches 205
TAIL = 288  # and after the last
SAMPLE = 1 << 19  # voxels that the encoder looks at, unless it is told otherwise
PRIOR = 3  # occurrences, as many as expected, that every level is given to begin with
COST, LISTED = 8.0, 1.5  # bits that a level's exponent must save, and those of a level within the list that has none


class Blocks(NamedTuple):
    """Factors of levels 0 … limit as the coder wants them, for tokens of 2^l levels each.

    factors uint16 [n]   mean factor of blocks of 2^l levels, levels outside having none: for every l, for every
                         phase 0 … 2^l − 1, those that begin at level phase + k·2^l, k from −PAD on
    first int64 [LOW]    where those of l begin
    length int64 [LOW]   how many a phase has
    sums int64 [s]       sums of factors: of all levels below this one
    """

    factors: np.ndarray
    first: np.ndarray
    length: np.ndarray
    sums: np.ndarray


def blocks(exponents: np.ndarray) -> Blocks:
    """Of exponents int64 [limit + 1] within LOWEST … HIGHEST."""
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
    return Blocks(np.concatenate([part.ravel() for part in parts]), first, length, sums)


@part
def weigh(
    mean: Any, c: Any, ordered: np.ndarray, escape: np.ndarray, blocks: Blocks, products: np.ndarray
) -> tuple[Any, Any, Any, Any, Any]:
    """The weighted counts of a voxel with this mean and class, as `entropy.Tables` has counts: those of its tokens by
    ascending level into `products` uint32, for 2^20 counts with factors below 2^12 fit 32 bits.

    Returns the level at which token `reach` begins, which is near the mean; where the tokens' factors begin in
    `blocks`; and the sums of what lies below token `reach`, of all tokens, and of these and the escape.
    """
    begin, mirrored, table = symbols.ascending(np.int64(mean), c)
    low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
    phase = begin & ((1 << low) - 1)
    at = blocks.first[low] + phase * blocks.length[low] + (begin >> low) - reach + PAD
    counts, factors = ordered[table, mirrored, : 2 * reach], blocks.factors[at : at + 2 * reach]
    out = products[: 2 * reach]
    for i in range(out.shape[0]):
        out[i] = np.uint32(counts[i] * np.uint32(factors[i]))
    below, above = np.int64(0), np.int64(0)
    for count in products[:reach]:
        below += np.int64(count)
    for count in products[reach : 2 * reach]:
        above += np.int64(count)
    return begin, at, below, below + above, below + above + np.int64(escape[table]) * UNIT


def to_bytes(exponents: np.ndarray) -> bytes:
    """What a slab says of exponents int64 [limit + 1]: a period; how many are listed, all others being 0; and each
    one's difference to that of a period before."""
    listed = exponents[: int(np.flatnonzero(exponents).max(initial=-1)) + 1]

    def coded(period: int) -> bytes:
        return bytes([period]) + varint(listed.size) + rice.encode(listed - _delayed(listed, period))

    return min(map(coded, range(1, PERIODS + 1)), key=len)


def _delayed(values: np.ndarray, period: int) -> np.ndarray:
    return np.concatenate([np.zeros(period, np.int64), values])[: values.size]


def from_bytes(data: bytes, limit: int) -> np.ndarray:
    """The exponents int64 [limit + 1] that `to_bytes` wrote; DamagedError where it does not write such."""
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
def _expect(
    voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, settled: np.ndarray, step: int, ordered: np.ndarray,
    escape: np.ndarray, products: np.ndarray, blocks: Blocks, expected: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Add to `expected` int64 how often every block should occur if its factors are right, in 2^-40, laid out as
    `Blocks.factors`; and to `counts` int64 [limit + 1] how often every level does. Every `step`th voxel is looked at,
    but for those that are settled bool [v]; `ordered` and `escape` as `entropy.Tables` has them, `products` as for
    `weigh`."""
    for v in range(0, voxel.shape[0], step):
        if settled[v]:
            continue
        counts[voxel[v]] += 1
        c = np.int64(classes[v])
        _, at, _, _, total = weigh(mean[v], c, ordered, escape, blocks, products)
        scale = (1 << 40) // total
        out = expected[at : at + 2 * symbols.REACH[c]]
        for i in range(out.shape[0]):
            out[i] += np.int64(products[i]) * scale


@entry
def _prices(
    voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, settled: np.ndarray, step: int, ordered: np.ndarray,
    escape: np.ndarray, products: np.ndarray, blocks: Blocks,
) -> tuple[float, float]:  # fmt: skip
    """Bits of the same voxels without factors and with them, but for raw bits."""
    plain, weighted = 0.0, 0.0
    for v in range(0, voxel.shape[0], step):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        begin, _, _, _, total = weigh(mean[v], c, ordered, escape, blocks, products)
        _, mirrored, table = symbols.ascending(np.int64(mean[v]), c)
        reach = symbols.REACH[c]
        i = ((np.int64(voxel[v]) - begin) >> symbols.LOW_BITS[c]) + reach
        own, factor = np.int64(escape[table]), UNIT
        if 0 <= i < 2 * reach:
            # As many levels as the token has, with the voxel's factor: the low bits are in that.
            own, factor = np.int64(ordered[table, mirrored, i]), blocks.sums[voxel[v] + 1] - blocks.sums[voxel[v]]
        plain -= np.log2(own / (1 << TABLE_BITS))
        weighted -= np.log2(own * factor / float(total))
    return plain, weighted


def _spread(expected: np.ndarray, blocks: Blocks, levels: int) -> np.ndarray:
    """What is expected of blocks, as of every level: float64 [levels]."""
    rising = np.zeros(levels + 1, np.int64)
    for low in range(LOW):
        count = int(blocks.length[low])
        part = expected[int(blocks.first[low]) :][: count << low].reshape(1 << low, count)
        if not part.any():
            continue
        edges = np.add.outer(np.arange(1 << low), (np.arange(count + 1) - PAD) << low).clip(0, levels)
        begin, end = edges[:, :-1], edges[:, 1:]
        share = part // np.maximum(end - begin, 1)
        np.add.at(rising, begin[part > 0], share[part > 0])
        np.subtract.at(rising, end[part > 0], share[part > 0])
    return rising[:-1].cumsum() / (1 << 40)


# Between one exponent's ratio and the next one's.
_BETWEEN = 2.0 ** ((np.arange(LOWEST, HIGHEST) + 0.5) / 8)


def find(
    voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, settled: np.ndarray, ordered: np.ndarray,
    escape: np.ndarray, limit: int, worthwhile: float, sample: int = SAMPLE,
) -> np.ndarray | None:  # fmt: skip
    """The exponents int64 [limit + 1] that make a slab smallest; None where factors do not pay.

    voxel, mean int32 [v], classes uint8 [v]   all voxels of the slab, and with which tables they are coded
    settled bool [v]                           those that have no symbol
    worthwhile                                 the share of its bits that factors must save, for they take time
    sample                                     how many voxels are looked at, at least
    """
    if voxel.size < limit:  # too few to say anything of most levels
        return None
    step = max(1, voxel.size // sample)
    arrays = (voxel, mean, classes, settled, step, ordered, escape, np.empty(ordered.shape[2], np.uint32))
    even = blocks(np.zeros(limit + 1, np.int64))
    expected, counts = np.zeros(even.factors.size, np.int64), np.zeros(limit + 1, np.int64)
    _expect(*arrays, even, expected, counts)
    likely = _spread(expected, even, limit + 1)
    exponents = np.searchsorted(_BETWEEN, (counts + PRIOR) / (likely + PRIOR)) + LOWEST
    saved = step * (counts * exponents / 8 - likely * (2.0 ** (exponents / 8) - 1) / np.log(2))
    exponents[saved <= COST] = 0
    # The list ends where those that follow do not save what it costs to come to them.
    worth = np.cumsum(np.where(exponents != 0, saved - COST, 0) - LISTED)
    exponents[int(worth.argmax()) + 1 :] = 0
    plain, weighted = _prices(*arrays, blocks(exponents))
    return exponents if step * (plain - weighted) - 8 * len(to_bytes(exponents)) > worthwhile * step * plain else None
