"""ANS with a distribution per voxel, for slabs with level factors (`level_factors.py`) or near factors as well.

The probabilities of a voxel are the counts of its table, each multiplied by the mean factor of the levels that the
token stands for, and in slabs with near factors by that of its level (`near_factors.py`). Symbols are numbered by
ascending level, with the escape last. The low bits of a level are symbols as well, highest bit first; their
probabilities are the factors of the two halves of the levels that remain. The code is that of `ans.py`: a front begins
with all its flags, and its voxels follow one by one. (constriction would need the probabilities of every voxel as
floats. In tests it defines the result for factors that are all 1.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import Bools, Int64s, Levels, UInt8s, UInt32s
from ..runtime.compiled import entry, part
from ..runtime.scalars import larger, smaller
from . import symbols
from .ans import FLAGS, PRECISION, AnsStream, EncoderScratch, Quantiles, Tables, flush, push, push_flags
from .level_factors import Weighing, weigh
from .near_factors import Near, favour, place, without
from .symbols import RawBits, Voxels

_u64 = np.uint64


@part
def _middle(sums: Int64s, begin: Any, size: int) -> Any:
    """Return the edge between the two halves of `size` levels from `begin` on, in 2^-PRECISION."""
    last = sums.shape[0] - 1
    below = sums[smaller(larger(begin, 0), last)]
    left = sums[smaller(larger(begin + (size >> 1), 0), last)] - below
    both = sums[smaller(larger(begin + size, 0), last)] - below
    return 1 + left * ((1 << PRECISION) - 2) // larger(both, 1)


@entry
def _encode(
    voxels: Voxels,
    flag: UInt8s,
    sizes: Int64s,
    quantiles: Quantiles,
    weighing: Weighing,
    near: Near,
    scratch: EncoderScratch,
) -> int:
    """Push everything in reverse; returns the number of words."""
    voxel, mean, classes, settled = voxels
    words, products, factors = scratch.words, weighing.products, weighing.factors
    state, used = _u64(0), np.int64(0)
    end = voxel.shape[0]
    for f in range(sizes.shape[0] - 1, -1, -1):
        first = end - sizes[f]
        for v in range(end - 1, first - 1, -1):
            if settled[v]:
                continue
            c = np.int64(classes[v])
            low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
            begin, _, below, tokens, total = weigh(mean[v], c, weighing)
            if near.exponents.shape[0] and low == 0:
                below, tokens, total = favour(v - first, f, begin, c, total - tokens, weighing, near)
            size, scale = 2 * reach, (1 << PRECISION) - (2 * reach + 1)
            i = ((voxel[v] - begin) >> low) + reach
            if 0 <= i < size:
                level = begin + ((i - reach) << low)
                for k in range(low):
                    half = (voxel[v] - level) >> (k + 1) << (k + 1)
                    edge = _middle(factors.sums, level + half, 2 << k)
                    upper = (voxel[v] - level) >> k & 1
                    state, used = push(words, state, used, edge if upper else 0, 1 << PRECISION if upper else edge)
                for count in products[i:reach]:
                    below -= np.int64(count)
                for count in products[reach:i]:
                    below += np.int64(count)
                past = below + np.int64(products[i])
                first_edge, last_edge = below * scale // total + i, past * scale // total + i + 1
            else:
                first_edge, last_edge = tokens * scale // total + size, 1 << PRECISION
            state, used = push(words, state, used, first_edge, last_edge)
        state, used = push_flags(flag[first:end], settled[first:end], quantiles, scratch, state, used)
        end = first
    return flush(words, state, used)


def encode(
    voxels: Voxels, flag: UInt8s, sizes: Int64s, tables: Tables, weighing: Weighing, bits: int, near: Near | None = None
) -> tuple[UInt32s, UInt8s]:  # fmt: skip
    """Encode a slab's voxels, in fronts of the given sizes int64 [f].

    Returns words uint32 and raw bits uint8. The raw bits are the grey levels of escapes, in `bits` bits each.

    voxels            with their corrected classes
    flag uint8 [v]    the code of each voxel's flag, 0 for none; the flags that are yes settle their voxels
    near              with the image of the slab, where it has near factors
    """
    escapes = np.zeros(voxels.voxel.size, bool)
    count = int(np.count_nonzero(flag)) + _count(voxels, escapes)
    scratch = EncoderScratch.of(count, FLAGS, sizes)
    used = _encode(voxels, flag, sizes, tables.quantiles, weighing, near or without(weighing), scratch)
    return scratch.words[:used].copy(), _raw(voxels.voxel[escapes], bits)


@entry
def _count(voxels: Voxels, escapes: Bools) -> int:
    """Count the symbols of the voxels, and mark in `escapes` bool [v] those that lie outside their tables."""
    voxel, mean, classes, settled = voxels
    total = 0
    for v in range(voxel.shape[0]):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        begin, _, _ = symbols.ascending(np.int64(mean[v]), c)
        i = ((voxel[v] - begin) >> symbols.LOW_BITS[c]) + symbols.REACH[c]
        escapes[v] = not 0 <= i < 2 * symbols.REACH[c]
        total += 1 + (0 if escapes[v] else symbols.LOW_BITS[c])
    return total


def _raw(levels: Levels, bits: int) -> UInt8s:
    """Pack grey levels in `bits` bits each, least significant bit first, into bytes."""
    return np.packbits((levels[:, None] >> np.arange(bits)) & 1, bitorder="little")


@part
def _pop_symbol(words: UInt32s, state: Any, left: Any, begin: Any, end: Any) -> tuple[Any, Any]:
    """Pop the symbol between two edges; returns the new state uint64 and the number of words left."""
    low = state & _u64((1 << PRECISION) - 1)
    state = (state >> _u64(PRECISION)) * _u64(end - begin) + (low - _u64(begin))
    if state < _u64(1 << 32) and left > 0:
        left -= 1
        state = state << _u64(32) | _u64(words[left])
    return state, left


@entry
def pop(voxels: Voxels, stream: AnsStream, weighing: Weighing, near: Near, raw: RawBits, position: int) -> int:
    """Pop the voxels of a front that are not settled, into `voxels.voxel`; with near factors all into its image.

    Returns the position in the raw bits after them, or −1 if the raw bits end too soon or a voxel lies outside
    0 … limit.
    """
    voxel, mean, classes, settled = voxels
    data, limit, bits = raw
    products, factors = weighing.products, weighing.factors
    state, left = stream.state[0], np.int64(stream.state[1])
    mask = _u64((1 << PRECISION) - 1)
    f, is_near = near.front[0], near.exponents.shape[0] > 0
    for v in range(mean.shape[0]):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
        begin, _, below, tokens, total = weigh(mean[v], c, weighing)
        if is_near and low == 0:
            below, _, total = favour(v, f, begin, c, total - tokens, weighing, near)
        size, scale, quantile = 2 * reach, (1 << PRECISION) - (2 * reach + 1), np.int64(state & mask)
        # Symbol i begins at below · scale // total + i, where `below` is the sum of all symbols before it. This is not
        # beyond the quantile if below · scale < (quantile − i + 1) · total.
        i: Any = reach
        while i > 0 and below * scale >= (quantile - i + 1) * total:
            i -= 1
            below -= np.int64(products[i])
        while i < size and (below + np.int64(products[i])) * scale < (quantile - i) * total:
            below += np.int64(products[i])
            i += 1
        first = below * scale // total + i
        if i == size:
            state, left = _pop_symbol(stream.words, state, left, first, 1 << PRECISION)
            if position + bits > data.shape[0] << 3:
                return -1
            level: Any = np.int64(0)
            for k in range(bits):
                level |= np.int64((data[(position + k) >> 3] >> ((position + k) & 7)) & 1) << k
            position += bits
        else:
            state, left = _pop_symbol(
                stream.words, state, left, first, (below + np.int64(products[i])) * scale // total + i + 1
            )
            level = begin + ((i - reach) << low)
            for k in range(low - 1, -1, -1):
                edge = _middle(factors.sums, level, 2 << k)
                if np.int64(state & mask) < edge:
                    state, left = _pop_symbol(stream.words, state, left, 0, edge)
                else:
                    state, left = _pop_symbol(stream.words, state, left, edge, 1 << PRECISION)
                    level += 1 << k
        if level < 0 or level > limit:
            return -1
        voxel[v] = level
    if is_near:
        for v in range(mean.shape[0]):
            y, x = place(v, f, near)
            near.image[y, x] = voxel[v]
        near.front[0] = f + 1
    stream.state[0], stream.state[1] = state, _u64(left)
    return position
