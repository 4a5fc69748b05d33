"""Blocks of deflate as zlib writes them: symbols to bits, in the shortest of the three types."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from .deflate_huffman import Codes, assign, build, orders_stated, run_lengths
from .deflate_tables import (
    DISTANCE_BASE,
    DISTANCE_CODE,
    DISTANCE_EXTRA,
    DISTANCES,
    DYNAMIC,
    END,
    FIXED,
    FIXED_DISTANCE_BITS,
    FIXED_SYMBOL_BITS,
    LENGTH_BASE,
    LENGTH_CODE,
    LENGTH_EXTRA,
    NODES,
    ORDER_EXTRA,
    ORDER_OF_ORDERS,
    ORDERS,
    STORED,
    SYMBOLS,
)  # fmt: skip

CHOOSE, GIVEN = -1, 3  # kinds of blocks beside the types: the shortest; dynamic with a header that is given
IMPOSSIBLE = -2  # what is returned for a block that cannot be written as its kind
BYTES_PER_SYMBOL = 6  # no symbol takes more: two codes of 15 bits, with 5 and 13 bits
HEADER_BYTES = 400  # no header takes more


@part
def _put(out: np.ndarray, at: Any, bits: Any, used: Any, value: Any, width: Any) -> tuple[Any, Any, Any]:
    """Append `width` bits, 24 at most, to fewer than 8, the lowest first."""
    bits |= value << used
    used += width
    while used >= 8:
        out[np.uint64(at)] = bits & 255
        at += 1
        bits >>= 8
        used -= 8
    return at, bits, used


@part
def _count(lengths: np.ndarray, distances: np.ndarray, size: Any, frequency: np.ndarray) -> Any:
    """Count the symbols of a block and its end; returns the number of extra bits."""
    for row in range(3):
        for n in range(NODES):
            frequency[row, n] = 0
    extra = 0
    for n in range(size):
        length = np.int64(lengths[n])
        if length == 1:
            frequency[0, np.uint64(distances[n])] += 1
        else:
            code = np.int64(LENGTH_CODE[np.uint64(length)])
            frequency[0, 257 + code] += 1
            other = np.int64(DISTANCE_CODE[np.uint64(distances[n])])
            frequency[1, other] += 1
            extra += LENGTH_EXTRA[code] + DISTANCE_EXTRA[other]
    frequency[0, END] = 1
    return extra


@part
def _cost(frequency: np.ndarray, lengths: np.ndarray, size: Any) -> Any:
    """Return the bits of all codes; -1 where a symbol occurs that has none."""
    bits = 0
    for n in range(size):
        bits += frequency[n] * lengths[n]
        if frequency[n] > 0 and lengths[n] == 0:
            return -1
    return bits


@part
def _fixed_codes(codes: Codes) -> None:
    """Take the codes of fixed blocks."""
    for n in range(FIXED_SYMBOL_BITS.shape[0]):
        codes.lengths[0, n] = FIXED_SYMBOL_BITS[n]
    for n in range(DISTANCES):
        codes.lengths[1, n] = FIXED_DISTANCE_BITS[n]


@part
def _put_header(
    out: np.ndarray, at: Any, bits: Any, used: Any, codes: Codes, symbols: Any, distances: Any, runs: Any, orders: Any
) -> tuple[Any, Any, Any]:
    """Append the header of a dynamic block, whose counts of codes are given."""
    at, bits, used = _put(out, at, bits, used, symbols - 257, 5)
    at, bits, used = _put(out, at, bits, used, distances - 1, 5)
    at, bits, used = _put(out, at, bits, used, orders - 4, 4)
    for n in range(orders):
        at, bits, used = _put(out, at, bits, used, codes.lengths[2, ORDER_OF_ORDERS[n]], 3)
    assign(codes.lengths[2, :ORDERS], codes.codes[2], codes.counts)
    for n in range(runs):
        order = codes.runs[0, n]
        at, bits, used = _put(out, at, bits, used, codes.codes[2, order], codes.lengths[2, order])
        at, bits, used = _put(out, at, bits, used, codes.runs[1, n], ORDER_EXTRA[order])
    return at, bits, used


@part
def _put_symbols(
    out: np.ndarray, at: Any, bits: Any, used: Any, codes: Codes, lengths: np.ndarray, distances: np.ndarray, size: Any
) -> tuple[Any, Any, Any]:
    """Append symbols and the end of the block."""
    code, width = codes.codes, codes.lengths
    for n in range(size):
        length, distance = np.int64(lengths[n]), np.int64(distances[n])
        if length == 1:
            at, bits, used = _put(out, at, bits, used, code[0, np.uint64(distance)], width[0, np.uint64(distance)])
        else:
            k = np.int64(LENGTH_CODE[np.uint64(length)])
            wide = width[0, np.uint64(257 + k)]
            value = code[0, np.uint64(257 + k)] | (length - LENGTH_BASE[k]) << wide
            at, bits, used = _put(out, at, bits, used, value, wide + LENGTH_EXTRA[k])
            k = np.int64(DISTANCE_CODE[np.uint64(distance)])
            wide = width[1, k]
            value = code[1, k] | (distance - DISTANCE_BASE[k]) << wide
            at, bits, used = _put(out, at, bits, used, value, wide + DISTANCE_EXTRA[k])
    return _put(out, at, bits, used, code[0, END], width[0, END])


@part
def _put_stored(
    out: np.ndarray, at: Any, bits: Any, used: Any, raw: np.ndarray, begin: Any, end: Any
) -> tuple[Any, Any, Any]:
    """Append bytes as they are."""
    if used > 0:
        at, bits, used = _put(out, at, bits, used, bits * 0, 8 - used)
    at, bits, used = _put(out, at, bits, used, end - begin, 16)
    at, bits, used = _put(out, at, bits, used, 65535 - (end - begin), 16)
    for n in range(begin, end):
        out[at] = raw[n]
        at += 1
    return at, bits, used


@entry
def put_block(
    out: np.ndarray, at: int, bits: int, used: int, raw: np.ndarray, begin: int, end: int, last: bool, kind: int,
    fixed: bool, header: np.ndarray, header_bits: int, codes: Codes, lengths: np.ndarray, distances: np.ndarray,
    size: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Append a block of bytes begin … end - 1, whose symbols are those that `deflate_match.symbols` found.

    out uint8          has room for the larger of BYTES_PER_SYMBOL a symbol and the bytes, and HEADER_BYTES more
    at, bits, used     where to write, and up to 7 bits that are left from before
    last               whether it is the last one
    kind               STORED, FIXED, DYNAMIC, CHOOSE or GIVEN
    fixed              whether zlib may choose fixed codes alone, its strategy Z_FIXED
    header uint8       the header of a given block, of `header_bits` bits; `codes.lengths` are what it states

    Returns the kind, or IMPOSSIBLE, and the new at, bits and used.
    """
    extra = _count(lengths, distances, size, codes.frequency)
    runs = orders = symbols = others = 0
    if kind in (CHOOSE, DYNAMIC):
        symbols = 1 + build(codes.frequency[0], codes.lengths[0, :SYMBOLS], 15, codes.tree, codes.counts)
        others = 1 + build(codes.frequency[1], codes.lengths[1, :DISTANCES], 15, codes.tree, codes.counts)
        runs = run_lengths(codes.lengths[0], symbols, codes.runs, 0)
        runs = run_lengths(codes.lengths[1], others, codes.runs, runs)
        cost = extra + 3 + 14
        for n in range(runs):
            codes.frequency[2, codes.runs[0, n]] += 1
            cost += ORDER_EXTRA[codes.runs[0, n]]
        build(codes.frequency[2], codes.lengths[2, :ORDERS], 7, codes.tree, codes.counts)
        orders = orders_stated(codes.lengths[2])
        cost += 3 * orders
        cost += _cost(codes.frequency[0], codes.lengths[0], SYMBOLS)
        cost += _cost(codes.frequency[1], codes.lengths[1], DISTANCES)
        cost += _cost(codes.frequency[2], codes.lengths[2], ORDERS)
        if kind == CHOOSE:
            cheap = extra + 3
            cheap += _cost(codes.frequency[0], FIXED_SYMBOL_BITS, SYMBOLS)
            cheap += _cost(codes.frequency[1], FIXED_DISTANCE_BITS, DISTANCES)
            dynamic_bytes, fixed_bytes = (cost + 7) >> 3, (cheap + 7) >> 3
            kind = DYNAMIC
            if fixed_bytes <= dynamic_bytes or fixed:
                kind, dynamic_bytes = FIXED, fixed_bytes
            if end - begin + 4 <= dynamic_bytes and end - begin <= 65535:
                kind = STORED
    if kind == FIXED:
        _fixed_codes(codes)
    if kind == STORED and end - begin > 65535:
        return IMPOSSIBLE, at, bits, used
    if kind != STORED and (
        _cost(codes.frequency[0], codes.lengths[0], SYMBOLS) < 0
        or _cost(codes.frequency[1], codes.lengths[1], DISTANCES) < 0
    ):
        return IMPOSSIBLE, at, bits, used
    written = DYNAMIC if kind == GIVEN else kind
    at, bits, used = _put(out, at, bits, used, np.int64(written << 1 | last), 3)
    if kind == STORED:
        at, bits, used = _put_stored(out, at, bits, used, raw, begin, end)
        return kind, at, bits, used
    if kind == DYNAMIC:
        at, bits, used = _put_header(out, at, bits, used, codes, symbols, others, runs, orders)
    for n in range(header_bits if kind == GIVEN else 0):
        at, bits, used = _put(out, at, bits, used, np.int64(header[n >> 3] >> (n & 7) & 1), 1)
    assign(codes.lengths[0, : FIXED_SYMBOL_BITS.shape[0]], codes.codes[0], codes.counts)
    assign(codes.lengths[1, :DISTANCES], codes.codes[1], codes.counts)
    at, bits, used = _put_symbols(out, at, bits, used, codes, lengths, distances, size)
    return kind, at, bits, used
