"""Blocks of deflate as zlib writes them: symbols to bits, in the shortest of the three types."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from .deflate_huffman import Codes, assign, build, orders_stated, run_lengths
from .deflate_ordered import LONGEST, build_ordered, run_lengths_of_both
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
HEADER_BYTES = 600  # no header takes more
ALPHABETS = np.array([SYMBOLS, DISTANCES, ORDERS], np.int64)
LONGEST_CODE = np.array([15, 15, 7], np.int64)


@part
def _put(out: np.ndarray, at: Any, bits: Any, used: Any, value: Any, width: Any) -> tuple[Any, Any, Any]:
    """Append `width` bits, 48 at most, to fewer than 8, the lowest first."""
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
def _build_all(codes: Codes, extra: Any, ordered: Any) -> tuple[Any, Any, Any, Any]:
    """Build the codes of a dynamic block; returns its bits, and how many codes of the alphabets and runs it states."""
    cost = extra + 3 + 14
    symbols = others = runs = 0
    for n in range(SYMBOLS, FIXED_SYMBOL_BITS.shape[0]):
        codes.lengths[0, n] = 0  # a fixed block before has codes for them
    if ordered:
        for row in range(3):
            size = ALPHABETS[row]
            if row == 2:
                runs = run_lengths_of_both(codes.lengths, symbols, others, codes.runs)
                for n in range(runs):
                    codes.frequency[2, codes.runs[0, n]] += 1
                    cost += ORDER_EXTRA[codes.runs[0, n]]
            last = build_ordered(
                codes.frequency[row], codes.lengths[row, :size], LONGEST[row], codes.tree, codes.counts
            )
            cost += _cost(codes.frequency[row], codes.lengths[row], size)
            if row == 0:
                symbols = last + 1
            elif row == 1:
                others = last + 1
        return cost + 3 * orders_stated(codes.lengths[2]), symbols, others, runs
    for row in range(3):
        size = ALPHABETS[row]
        for n in range(runs if row == 2 else 0):
            codes.frequency[2, codes.runs[0, n]] += 1
            cost += ORDER_EXTRA[codes.runs[0, n]]
        last = build(codes.frequency[row], codes.lengths[row, :size], LONGEST_CODE[row], codes.tree, codes.counts)
        cost += _cost(codes.frequency[row], codes.lengths[row], size)
        if row < 2:
            runs = run_lengths(codes.lengths[row], last + 1, codes.runs, runs)
        if row == 0:
            symbols = last + 1
        elif row == 1:
            others = last + 1
    return cost + 3 * orders_stated(codes.lengths[2]), symbols, others, runs


@part
def _field(codes: Codes, count: Any, value: Any, width: Any) -> Any:
    """Append a field to what is written before the symbols; returns the new number of fields."""
    codes.fields[0, count], codes.fields[1, count] = value, width
    return count + 1


@part
def _header(codes: Codes, count: Any, symbols: Any, distances: Any, runs: Any) -> Any:
    """Append the fields of the header of a dynamic block, whose counts of codes and run lengths are given."""
    orders = orders_stated(codes.lengths[2])
    count = _field(codes, count, symbols - 257, 5)
    count = _field(codes, count, distances - 1, 5)
    count = _field(codes, count, orders - 4, 4)
    for n in range(orders):
        count = _field(codes, count, codes.lengths[2, ORDER_OF_ORDERS[n]], 3)
    assign(codes.lengths[2, :ORDERS], codes.codes[2], codes.counts)
    for n in range(runs):
        order = codes.runs[0, n]
        width = codes.lengths[2, order]
        count = _field(codes, count, codes.codes[2, order] | codes.runs[1, n] << width, width + ORDER_EXTRA[order])
    return count


@part
def _put_symbols(
    out: np.ndarray, at: Any, bits: Any, used: Any, codes: Codes, lengths: np.ndarray, distances: np.ndarray, size: Any
) -> tuple[Any, Any, Any]:
    """Append symbols and the end of the block."""
    code, width = codes.codes, codes.lengths
    for n in range(size + 1):
        symbol, length = np.int64(END), np.int64(1)
        if n < size:
            symbol, length = np.int64(distances[n]), np.int64(lengths[n])
        if length == 1:
            value, wide = code[0, np.uint64(symbol)], width[0, np.uint64(symbol)]
        else:
            k = np.int64(LENGTH_CODE[np.uint64(length)])
            wide = width[0, np.uint64(257 + k)]
            value = code[0, np.uint64(257 + k)] | (length - LENGTH_BASE[k]) << wide
            wide += LENGTH_EXTRA[k]
            k = np.int64(DISTANCE_CODE[np.uint64(symbol)])
            value |= code[1, k] << wide
            wide += width[1, k]
            value |= (symbol - DISTANCE_BASE[k]) << wide
            wide += DISTANCE_EXTRA[k]
        at, bits, used = _put(out, at, bits, used, value, wide)
    return at, bits, used


@entry
def put_block(
    out: np.ndarray, at: int, bits: int, used: int, raw: np.ndarray, begin: int, end: int, last: bool, kind: int,
    fixed: bool, ordered: bool, header: np.ndarray, header_bits: int, codes: Codes, lengths: np.ndarray,
    distances: np.ndarray, size: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Append a block of bytes begin … end - 1, whose symbols are those that `deflate_match.symbols` found.

    out uint8          has room for the larger of BYTES_PER_SYMBOL a symbol and the bytes, and HEADER_BYTES more
    at, bits, used     where to write, and up to 7 bits that are left from before
    last               whether it is the last one
    kind               STORED, FIXED, DYNAMIC, CHOOSE or GIVEN
    fixed              whether zlib may choose fixed codes alone, its strategy Z_FIXED
    ordered            whether dynamic codes are those of `deflate_ordered`, and types are compared by bits
    header uint8       the header of a given block, of `header_bits` bits; `codes.lengths` are what it states

    Returns the kind, or IMPOSSIBLE, and the new at, bits and used.
    """
    extra = _count(lengths, distances, size, codes.frequency)
    runs = symbols = others = 0
    if kind in (CHOOSE, DYNAMIC):
        cost, symbols, others, runs = _build_all(codes, extra, ordered)
        if kind == CHOOSE:
            cheap = extra + 3
            cheap += _cost(codes.frequency[0], FIXED_SYMBOL_BITS, SYMBOLS)
            cheap += _cost(codes.frequency[1], FIXED_DISTANCE_BITS, DISTANCES)
            dynamic_bytes, fixed_bytes = (cost + 7) >> 3, (cheap + 7) >> 3
            kind = DYNAMIC
            if fixed_bytes <= dynamic_bytes or fixed:
                kind, dynamic_bytes = FIXED, fixed_bytes
            if ordered:
                kind = FIXED if cheap <= cost else DYNAMIC
                dynamic_bytes = ((cheap if cheap <= cost else cost) - 3 - ((13 - used) & 7)) >> 3
            if end - begin + 4 <= dynamic_bytes and end - begin <= 65535:
                kind = STORED
    if kind == FIXED:
        _fixed_codes(codes)
    if kind == STORED and end - begin > 65535:
        return IMPOSSIBLE, at, bits, used
    for row in range(0 if kind == STORED else 2):
        if _cost(codes.frequency[row], codes.lengths[row], ALPHABETS[row]) < 0:
            return IMPOSSIBLE, at, bits, used
    fields = _field(codes, 0, (DYNAMIC if kind == GIVEN else kind) << 1 | last, 3)
    if kind == STORED:
        fields = _field(codes, fields, 0, (13 - used) & 7)
        fields = _field(codes, fields, end - begin, 16)
        fields = _field(codes, fields, 65535 - (end - begin), 16)
    elif kind == DYNAMIC:
        fields = _header(codes, fields, symbols, others, runs)
    elif kind == GIVEN:
        for n in range((header_bits + 7) >> 3):
            width = header_bits - 8 * n if header_bits - 8 * n < 8 else 8
            fields = _field(codes, fields, header[n] & ((1 << width) - 1), width)
    for n in range(fields):
        at, bits, used = _put(out, at, bits, used, codes.fields[0, n], codes.fields[1, n])
    if kind == STORED:
        for n in range(begin, end):
            out[at] = raw[n]
            at += 1
        return kind, at, bits, used
    assign(codes.lengths[0, : FIXED_SYMBOL_BITS.shape[0]], codes.codes[0], codes.counts)
    assign(codes.lengths[1, :DISTANCES], codes.codes[1], codes.counts)
    at, bits, used = _put_symbols(out, at, bits, used, codes, lengths, distances, size)
    return kind, at, bits, used
