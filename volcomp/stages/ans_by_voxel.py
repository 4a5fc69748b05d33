"""The entropy coder of slabs whose grey levels have factors (`histogram.py`): every voxel has probabilities of its own.

They are the counts of its table, each multiplied by the mean factor of the levels that the token stands for; symbols
are numbered by ascending level, the escape last. The low bits of a level follow as symbols as well, highest first, by
the factors of both halves of what is left. The code is that of `entropy.py`, in which a front comes as all its flags,
and then voxel by voxel. (constriction would want the probabilities of every voxel as floats; in tests it says what this
must write where all factors are 1.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from ..runtime.scalars import larger, smaller
from . import symbols
from .ans import FLAGS, PRECISION, Quantiles, Room, Stream, Tables, flush, push, push_flags
from .level_factors import Blocks, weigh

_u64 = np.uint64


@part
def _middle(sums: np.ndarray, begin: Any, size: int) -> Any:
    """The edge between both halves of `size` levels from `begin` on, in 2^PRECISION."""
    last = sums.shape[0] - 1
    below = sums[smaller(larger(begin, 0), last)]
    left = sums[smaller(larger(begin + (size >> 1), 0), last)] - below
    both = sums[smaller(larger(begin + size, 0), last)] - below
    return 1 + left * ((1 << PRECISION) - 2) // larger(both, 1)


@entry
def _encode(
    voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, flag: np.ndarray, settled: np.ndarray, sizes: np.ndarray,
    ordered: np.ndarray, escape: np.ndarray, quantiles: Quantiles, blocks: Blocks, products: np.ndarray, room: Room,
) -> int:  # fmt: skip
    """Push everything in reverse; returns how many words there are. `products` uint32 [longest table] is room too."""
    words, place, order, _ = room
    state, used = _u64(0), np.int64(0)
    end = voxel.shape[0]
    for f in range(sizes.shape[0] - 1, -1, -1):
        first = end - sizes[f]
        for v in range(end - 1, first - 1, -1):
            if settled[v]:
                continue
            c = np.int64(classes[v])
            low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
            begin, _, below, tokens, total = weigh(mean[v], c, ordered, escape, blocks, products)
            size, scale = 2 * reach, (1 << PRECISION) - (2 * reach + 1)
            i = ((voxel[v] - begin) >> low) + reach
            if 0 <= i < size:
                level = begin + ((i - reach) << low)
                for k in range(low):
                    half = (voxel[v] - level) >> (k + 1) << (k + 1)
                    edge = _middle(blocks.sums, level + half, 2 << k)
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
        state, used = push_flags(flag[first:end], settled[first:end], quantiles, words, state, used, place, order)
        end = first
    return flush(words, state, used)


def encode(
    tables: Tables, blocks: Blocks, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, flag: np.ndarray,
    settled: np.ndarray, sizes: np.ndarray, bits: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Code a slab's voxels, in fronts of the given sizes int64 [f]; returns words uint32 and raw bits uint8: the ranks,
    of so many bits, of voxels that escape.

    voxel, mean int32 [v]; classes uint8 [v], those whose tables are used
    flag uint8 [v]       the code of every voxel's flag, 0 for none
    settled bool [v]     whether the flag is yes, so that no token follows
    """
    escapes = np.zeros(voxel.size, bool)
    count = int(np.count_nonzero(flag)) + _count(voxel, mean, classes, settled, escapes)
    room, products = Room.of(count, FLAGS, sizes), np.empty(tables.ordered.shape[2], np.uint32)
    used = _encode(
        voxel, mean, classes, flag, settled, sizes, tables.ordered, tables.escape, tables.quantiles, blocks, products,
        room,
    )  # fmt: skip
    return room.words[:used].copy(), _raw(voxel[escapes], bits)


@entry
def _count(voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, settled: np.ndarray, escapes: np.ndarray) -> int:
    """How many symbols the voxels have, and into bool [v] which of them are farther from their means than their tables
    reach."""
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


def _raw(ranks: np.ndarray, bits: int) -> np.ndarray:
    """Ranks in so many bits each, least significant first, in bytes."""
    return np.packbits((ranks[:, None] >> np.arange(bits)) & 1, bitorder="little")


@part
def _pop(words: np.ndarray, state: Any, left: Any, begin: Any, end: Any) -> tuple[Any, Any]:
    """The state uint64 once the symbol between these edges has been taken, and how many words are left then."""
    low = state & _u64((1 << PRECISION) - 1)
    state = (state >> _u64(PRECISION)) * _u64(end - begin) + (low - _u64(begin))
    if state < _u64(1 << 32) and left > 0:
        left -= 1
        state = state << _u64(32) | _u64(words[left])
    return state, left


@entry
def take(
    mean: np.ndarray, classes: np.ndarray, settled: np.ndarray, stream: Stream, ordered: np.ndarray,
    escape: np.ndarray, products: np.ndarray, blocks: Blocks, raw: np.ndarray, position: int, bits: int, limit: int,
    voxel: np.ndarray,
) -> int:  # fmt: skip
    """Decode the voxels int32 [v] of a front, where they are not settled bool [v]. Returns the position in the raw bits
    after them, or −1, as `residual.to_voxels` does. `products` uint32 [longest table] is room to work in."""
    state, left = stream.state[0], np.int64(stream.state[1])
    mask = _u64((1 << PRECISION) - 1)
    for v in range(mean.shape[0]):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        low, reach = symbols.LOW_BITS[c], symbols.REACH[c]
        begin, _, below, _, total = weigh(mean[v], c, ordered, escape, blocks, products)
        size, scale, quantile = 2 * reach, (1 << PRECISION) - (2 * reach + 1), np.int64(state & mask)
        # Symbol i, with so much below it, begins at below · scale // total + i, which is not beyond the quantile if
        # below · scale < (quantile − i + 1) · total.
        i: Any = reach
        while i > 0 and below * scale >= (quantile - i + 1) * total:
            i -= 1
            below -= np.int64(products[i])
        while i < size and (below + np.int64(products[i])) * scale < (quantile - i) * total:
            below += np.int64(products[i])
            i += 1
        first = below * scale // total + i
        if i == size:
            state, left = _pop(stream.words, state, left, first, 1 << PRECISION)
            if position + bits > raw.shape[0] << 3:
                return -1
            level: Any = np.int64(0)
            for k in range(bits):
                level |= np.int64((raw[(position + k) >> 3] >> ((position + k) & 7)) & 1) << k
            position += bits
        else:
            state, left = _pop(
                stream.words, state, left, first, (below + np.int64(products[i])) * scale // total + i + 1
            )
            level = begin + ((i - reach) << low)
            for k in range(low - 1, -1, -1):
                edge = _middle(blocks.sums, level, 2 << k)
                if np.int64(state & mask) < edge:
                    state, left = _pop(stream.words, state, left, 0, edge)
                else:
                    state, left = _pop(stream.words, state, left, edge, 1 << PRECISION)
                    level += 1 << k
        if level < 0 or level > limit:
            return -1
        voxel[v] = level
    stream.state[0], stream.state[1] = state, _u64(left)
    return position
