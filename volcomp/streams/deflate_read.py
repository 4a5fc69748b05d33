"""The symbols and blocks of a deflate stream (RFC 1951), as far as they matter to make it again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from .deflate_huffman import Codes
from .deflate_tables import (
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    DISTANCES,
    END,
    FIXED,
    FIXED_DISTANCE_BITS,
    FIXED_SYMBOL_BITS,
    LENGTH_BASE,
    LENGTH_EXTRA,
    ORDER_OF_ORDERS,
    ORDERS,
    STORED,
)  # fmt: skip

KIND, HEADER, BODY, BEGIN, FINISH, COUNT = range(6)  # columns of blocks
TABLE = 1 << 15
AT, DONE, SIZE, FULL = range(4)  # the state: the next bit, whether the last block was read, bytes so far, no room
NONE, NO_ROOM = -1, -2  # of bits: there are no such symbols, or no room for them


@part
def _peek(data: np.ndarray, at: Any) -> Any:
    """Return 32 bits from bit `at` on, the first one lowest; zeros follow the end."""
    first = at >> 3
    value = np.int64(0)
    for n in range(5):
        if first + n < data.shape[0]:
            value |= np.int64(data[np.uint64(first + n)]) << (8 * n)
    return value >> (at & 7)


@part
def _tabulate(lengths: np.ndarray, longest: Any, table: np.ndarray, counts: np.ndarray) -> Any:
    """Fill table int32 [1 << longest] with symbol << 4 | bits for all that can follow; 0 where no code is.

    Returns whether the codes fit, that is, whether they are not too many.
    """
    for n in range(17):
        counts[n] = 0
    for n in range(lengths.shape[0]):
        counts[lengths[n]] += 1
    counts[0] = 0
    code, room = 0, 1 << longest
    for bits in range(1, longest + 1):
        room -= counts[bits] << (longest - bits)
        code, counts[bits] = (code + counts[bits]) << 1, code
    if room < 0:
        return False
    for n in range(1 << longest):
        table[n] = 0
    for n in range(lengths.shape[0]):
        bits = lengths[n]
        if bits > 0:
            value, turned = counts[bits], 0
            counts[bits] += 1
            for _ in range(bits):
                turned = turned << 1 | value & 1
                value >>= 1
            while turned < 1 << longest:
                table[turned] = n << 4 | bits
                turned += 1 << bits
    return True


@part
def _header(data: np.ndarray, at: Any, codes: Codes, table: np.ndarray) -> Any:
    """Read the header of a dynamic block from bit `at` on into `codes.lengths`; returns its end, or -1."""
    value = _peek(data, at)
    symbols, distances, orders = 257 + (value & 31), 1 + (value >> 5 & 31), 4 + (value >> 10 & 15)
    if symbols > 286 or distances > DISTANCES:
        return -1
    at += 14
    lengths = codes.lengths
    for row in range(3):
        for n in range(lengths.shape[1]):
            lengths[row, n] = 0
    for n in range(orders):
        lengths[2, ORDER_OF_ORDERS[n]] = _peek(data, at) & 7
        at += 3
    if not _tabulate(lengths[2, :ORDERS], 7, table, codes.counts):
        return -1
    n, before = 0, np.int64(-1)
    while n < symbols + distances:
        value = _peek(data, at)
        entry = table[value & 127]
        at += entry & 15
        value >>= entry & 15
        order, count = np.int64(entry >> 4), 1
        if entry == 0 or at > 8 * data.shape[0]:
            return -1
        if order == 16:
            order, count = before, 3 + (value & 3)
            at += 2
        elif order == 17:
            order, count = np.int64(0), 3 + (value & 7)
            at += 3
        elif order == 18:
            order, count = np.int64(0), 11 + (value & 127)
            at += 7
        if order < 0 or n + count > symbols + distances:
            return -1
        for _ in range(count):
            if n < symbols:
                lengths[0, n] = order
            else:
                lengths[1, n - symbols] = order
            n += 1
        before = order
    return at


@entry
def read_header(data: np.ndarray, codes: Codes, table: np.ndarray) -> int:
    """Read the header of a dynamic block into `codes.lengths`; returns its number of bits, or -1 if it is none."""
    return _header(data, 0, codes, table)


@part
def _symbols(
    data: np.ndarray, at: Any, table: np.ndarray, lengths: np.ndarray, distances: np.ndarray, base: Any, total: Any,
    position: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Read the symbols of a block from bit `at` on. Returns the end, NONE or NO_ROOM, the new position, the number."""
    end = 8 * data.shape[0]
    size = base + lengths.shape[0]
    lacking = np.int64(NO_ROOM if size < total else NONE)
    acc, have, byte = np.int64(0), np.int64(0), at >> 3
    count = 0
    if at & 7 and byte < data.shape[0]:
        acc, have, byte = np.int64(data[byte]) >> (at & 7), 8 - (at & 7), byte + 1
    while True:
        while have <= 48:
            if byte < data.shape[0]:
                acc |= np.int64(data[np.uint64(byte)]) << have
            byte += 1
            have += 8
        if 8 * byte - have > end:
            return np.int64(-1), position, count
        entry = np.int64(table[0, np.uint64(acc & (TABLE - 1))])
        acc >>= entry & 15
        have -= entry & 15
        symbol = entry >> 4
        if entry == 0:
            return np.int64(-1), position, count
        if symbol < END:
            if position >= size:
                return lacking, position, count
            lengths[np.uint64(position - base)] = 1
            position += 1
            count += 1
            continue
        if symbol == END:
            break
        symbol -= 257
        if symbol >= LENGTH_BASE.shape[0]:
            return np.int64(-1), position, count
        length = LENGTH_BASE[symbol] + (acc & ((1 << LENGTH_EXTRA[symbol]) - 1))
        acc >>= LENGTH_EXTRA[symbol]
        have -= LENGTH_EXTRA[symbol]
        entry = np.int64(table[1, np.uint64(acc & (TABLE - 1))])
        acc >>= entry & 15
        have -= entry & 15
        symbol = entry >> 4
        if entry == 0 or symbol >= DISTANCES or position + length > total:
            return np.int64(-1), position, count
        if position + length > size:
            return lacking, position, count
        distance = DISTANCE_BASE[symbol] + (acc & ((1 << DISTANCE_EXTRA[symbol]) - 1))
        acc >>= DISTANCE_EXTRA[symbol]
        have -= DISTANCE_EXTRA[symbol]
        if distance > position:
            return np.int64(-1), position, count
        lengths[np.uint64(position - base)] = length
        distances[np.uint64(position - base)] = distance - 1
        position += length
        count += 1
    at = 8 * byte - have
    return (at if at <= end else np.int64(-1)), position, count


@entry
def read(
    data: np.ndarray, state: np.ndarray, base: int, total: int, lengths: np.ndarray, distances: np.ndarray,
    blocks: np.ndarray, codes: Codes, table: np.ndarray,
) -> int:  # fmt: skip
    """Read blocks until the last one or until there is no room for more.

    state int64 [4]                 see above; goes on from there
    total                           bytes that the stream holds
    lengths, distances uint16 [n]   of the symbol that begins at each byte from `base` on: 1 for a literal, the distance
                                    less 1. Bytes of stored blocks keep 0
    blocks int64 [m, 6]             the type, the bits where header and symbols begin, where the bytes begin and end,
                                    and the number of symbols, or 0 for a stored block
    table int32 [2, TABLE]          scratch

    Returns the number of blocks, or -1 where the stream is none that zlib reads. FULL is set where the next block has
    more bytes than are left.
    """
    count = 0
    while count < blocks.shape[0] and state[DONE] == 0:
        at, position = state[AT], state[SIZE]
        value = _peek(data, at)
        kind = value >> 1 & 3
        at += 3
        blocks[count, KIND], blocks[count, HEADER], blocks[count, BEGIN] = kind, at, position
        if at > 8 * data.shape[0] or kind == 3:
            return -1
        blocks[count, COUNT] = 0
        if kind == STORED:
            at = (at + 7) >> 3
            if at + 4 > data.shape[0]:
                return -1
            size = np.int64(data[at]) | np.int64(data[at + 1]) << 8
            position += size
            at = 8 * (at + 4 + size)
            if at > 8 * data.shape[0] or position > total:
                return -1
            if position > base + lengths.shape[0]:
                state[FULL] = 1
                return count
        else:
            if kind == FIXED:
                for n in range(FIXED_SYMBOL_BITS.shape[0]):
                    codes.lengths[0, n] = FIXED_SYMBOL_BITS[n]
                for n in range(DISTANCES):
                    codes.lengths[1, n] = FIXED_DISTANCE_BITS[n]
            else:
                at = _header(data, at, codes, table[0])
            blocks[count, BODY] = at
            if (
                at < 0
                or not _tabulate(codes.lengths[0, : FIXED_SYMBOL_BITS.shape[0]], 15, table[0], codes.counts)
                or not _tabulate(codes.lengths[1, :DISTANCES], 15, table[1], codes.counts)
            ):
                return -1
            at, position, blocks[count, COUNT] = _symbols(
                data, at, table, lengths, distances, np.int64(base), np.int64(total), position
            )
            if at == NO_ROOM:
                state[FULL] = 1
                return count
            if at < 0:
                return -1
        blocks[count, FINISH] = position
        state[AT], state[DONE], state[SIZE] = at, value & 1, position
        count += 1
    return count
