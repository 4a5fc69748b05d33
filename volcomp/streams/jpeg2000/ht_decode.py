"""Segments of bytes to High-Throughput code blocks (ITU-T T.814, clause 7): the cleanup pass of bit plane 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from .ht_encode import (
    LONGEST_SUFFIX,
    MOST_BITS,
    RUN_EXPONENTS,
    HtScratch,
    bit_length,
    context,
    encode_block,
    prediction,
)
from .ht_tables import CODE_BITS, DECODE

# Registers of the readers: bits in hand and their number, the next byte, the byte before it, where bytes end
(
    MS_BITS, MS_COUNT, MS_AT, MS_LAST, MS_END, MEL_BITS, MEL_COUNT, MEL_AT, MEL_LAST, MEL_RUN, MEL_STATE, VLC_BITS,
    VLC_COUNT, VLC_AT, VLC_LAST, END,
) = range(16)  # fmt: skip


@part
def _begin(data: np.ndarray, at: Any, length: Any, s: np.ndarray) -> Any:
    """Begin to read a segment; returns whether it may be one."""
    if length < 2:
        return False
    suffix = np.int64(data[at + length - 1]) << 4 | np.int64(data[at + length - 2]) & 15
    if suffix < 2 or suffix > length or suffix > LONGEST_SUFFIX:
        return False
    s[MS_BITS], s[MS_COUNT], s[MS_AT], s[MS_LAST], s[MS_END] = 0, 0, at, 0, at + length - suffix
    s[MEL_BITS], s[MEL_COUNT], s[MEL_AT], s[MEL_LAST] = 0, 0, at + length - suffix, 0
    s[MEL_RUN], s[MEL_STATE], s[END] = -1, 0, at + length
    last = np.int64(data[at + length - 2]) | 15
    s[VLC_BITS] = last >> 4
    s[VLC_COUNT] = 3 if last & 0x7F == 0x7F else 4
    s[VLC_BITS] &= (1 << s[VLC_COUNT]) - 1
    s[VLC_AT], s[VLC_LAST] = at + length - 3, last
    return True


@part
def _magnitude(data: np.ndarray, s: np.ndarray, count: Any) -> Any:
    """Read bits, the lowest first. Beyond the stream they are 1."""
    while s[MS_COUNT] < count:
        byte = np.int64(data[s[MS_AT]]) if s[MS_AT] < s[MS_END] else np.int64(0xFF)
        s[MS_AT] += 1
        bits = 7 if s[MS_LAST] == 0xFF else 8
        s[MS_BITS] |= (byte & ((1 << bits) - 1)) << s[MS_COUNT]
        s[MS_COUNT] += bits
        s[MS_LAST] = byte
    value = s[MS_BITS] & ((1 << count) - 1)
    s[MS_BITS] >>= count
    s[MS_COUNT] -= count
    return value


@part
def _mel_bit(data: np.ndarray, s: np.ndarray) -> Any:
    """Read a bit of the run length coder, the highest first."""
    if s[MEL_COUNT] == 0:
        byte = np.int64(0xFF)
        if s[MEL_AT] < s[END] - 1:
            byte = np.int64(data[s[MEL_AT]])
            if s[MEL_AT] == s[END] - 2:
                byte |= 15
        s[MEL_AT] += 1
        s[MEL_COUNT] = 7 if s[MEL_LAST] == 0xFF else 8
        s[MEL_BITS] = s[MEL_LAST] = byte
    s[MEL_COUNT] -= 1
    return s[MEL_BITS] >> s[MEL_COUNT] & 1


@part
def _event(data: np.ndarray, s: np.ndarray) -> Any:
    """Decode an event. MEL_RUN is twice the events 0 that are left, plus 1 where none follows them; or -1."""
    if s[MEL_RUN] < 0:
        exponent = RUN_EXPONENTS[s[MEL_STATE]]
        if _mel_bit(data, s):
            s[MEL_RUN] = 2 << exponent | 1
            s[MEL_STATE] = smaller(s[MEL_STATE] + 1, 12)
        else:
            run = np.int64(0)
            for _ in range(exponent):
                run = run << 1 | _mel_bit(data, s)
            s[MEL_RUN] = 2 * run
            s[MEL_STATE] = larger(s[MEL_STATE] - 1, 0)
    if s[MEL_RUN] >= 2:
        s[MEL_RUN] -= 2
        if s[MEL_RUN] == 1:
            s[MEL_RUN] = -1
        return 0
    s[MEL_RUN] = -1
    return 1


@part
def _fill(data: np.ndarray, s: np.ndarray) -> None:
    """Have 16 bits of codes in hand or more. Beyond the stream they are 0."""
    while s[VLC_COUNT] < 16:
        byte = np.int64(data[s[VLC_AT]]) if s[VLC_AT] >= s[MS_END] else np.int64(0)
        s[VLC_AT] -= 1
        bits = 7 if s[VLC_LAST] > 0x8F and byte & 0x7F == 0x7F else 8
        s[VLC_BITS] |= (byte & ((1 << bits) - 1)) << s[VLC_COUNT]
        s[VLC_COUNT] += bits
        s[VLC_LAST] = byte


@part
def _code(data: np.ndarray, s: np.ndarray, count: Any) -> Any:
    """Read up to 16 bits of codes, the lowest first."""
    _fill(data, s)
    value = s[VLC_BITS] & ((1 << count) - 1)
    s[VLC_BITS] >>= count
    s[VLC_COUNT] -= count
    return value


@part
def _prefix(data: np.ndarray, s: np.ndarray) -> Any:
    """Read a prefix (Table 3): 1, 2, 3 or 5."""
    if _code(data, s, 1):
        return np.int64(1)
    if _code(data, s, 1):
        return np.int64(2)
    return np.int64(3) if _code(data, s, 1) else np.int64(5)


@part
def _suffix(data: np.ndarray, s: np.ndarray, prefix: Any) -> Any:
    """Read a suffix."""
    if prefix < 3:
        return np.int64(0)
    return _code(data, s, 1 if prefix == 3 else 5)


@part
def _extension(data: np.ndarray, s: np.ndarray, suffix: Any) -> Any:
    """Read an extension."""
    return 4 * _code(data, s, 4) if suffix >= 28 else np.int64(0)


@part
def _pair(data: np.ndarray, s: np.ndarray, a: Any, b: Any, first: Any) -> Any:
    """Decode what the bounds of two quads exceed their predictions by, for those that do."""
    more = 0
    if first and a and b:
        if _event(data, s):
            more = 2
        else:
            one = _prefix(data, s)
            if one > 2:
                two = 1 + _code(data, s, 1)
                suffix = _suffix(data, s, one)
                return one + suffix + _extension(data, s, suffix), two
            two = _prefix(data, s)
            suffix = _suffix(data, s, two)
            return one, two + suffix + _extension(data, s, suffix)
    one = _prefix(data, s) if a else np.int64(0)
    two = _prefix(data, s) if b else np.int64(0)
    suffix_one, suffix_two = _suffix(data, s, one), _suffix(data, s, two)
    one += suffix_one + _extension(data, s, suffix_one)
    two += suffix_two + _extension(data, s, suffix_two)
    return one + more, two + more


@part
def _pattern(data: np.ndarray, s: np.ndarray, exponents: np.ndarray, x: Any, left: Any, first: Any) -> Any:
    """Decode the code of a quad: an entry of DECODE without length, 0 for a quad of zeros without a code."""
    index = context(exponents, x, left, first)
    if index == 0 and not _event(data, s):
        return np.int64(0)
    _fill(data, s)
    entry_of = np.int64(DECODE[0 if first else 1, index, s[VLC_BITS] & ((1 << CODE_BITS) - 1)])
    _code(data, s, entry_of & 7)
    return entry_of >> 3


@part
def _quad(
    data: np.ndarray, block: np.ndarray, y: Any, x: Any, pattern: Any, more: Any, scratch: HtScratch,
    coefficients: np.ndarray,
) -> Any:  # fmt: skip
    """Decode the coefficients of a quad; returns whether they may be some."""
    rho = pattern & 15
    bound = prediction(scratch.exponents, x, rho, y == 0) + more
    if bound > MOST_BITS:
        return False
    for n in range(4):
        row, column = y + (n & 1), x + (n >> 1)
        exponent = np.int64(0)
        inside = row < block[3] and column < block[4]
        if rho >> n & 1:
            bits = bound - (pattern >> (5 + n) & 1)
            value = _magnitude(data, scratch.registers, bits) | (pattern >> (9 + n) & 1) << bits
            magnitude = value >> 1
            exponent = 1 + bit_length(magnitude)
            if not inside:
                return False
            coefficients[block[0], block[1] + row, block[2] + column] = -magnitude - 1 if value & 1 else magnitude + 1
        elif inside:
            coefficients[block[0], block[1] + row, block[2] + column] = 0
        if n & 1:
            scratch.exponents[1, column + 2] = exponent
    return True


@part
def _decode_block(
    data: np.ndarray, at: Any, length: Any, block: np.ndarray, scratch: HtScratch, coefficients: np.ndarray
) -> Any:  # fmt: skip
    """Decode a block; returns whether its segment may be one."""
    s = scratch.registers
    if not _begin(data, at, length, s):
        return False
    w = np.int64(block[4])
    for x in range(w + 8):
        scratch.exponents[0, x] = 0
        scratch.exponents[1, x] = 0
    for y in range(0, block[3], 2):
        left, first = np.int64(0), y == 0
        for x in range(0, w, 4):
            one = _pattern(data, s, scratch.exponents, x, left, first)
            left = one & 15
            two = np.int64(0)
            if x + 2 < w:
                two = _pattern(data, s, scratch.exponents, x + 2, left, first)
                left = two & 15
            a, b = _pair(data, s, one >> 4 & 1, two >> 4 & 1, first)
            if not _quad(data, block, y, x, one, a, scratch, coefficients):
                return False
            if x + 2 < w and not _quad(data, block, y, x + 2, two, b, scratch, coefficients):
                return False
        for x in range(2, w + 4):
            scratch.exponents[0, x] = scratch.exponents[1, x]
    return True


@entry
def decode(
    blocks: np.ndarray, coded: np.ndarray, data: np.ndarray, begins: np.ndarray, lengths: np.ndarray,
    scratch: HtScratch, coefficients: np.ndarray, own: np.ndarray, same: np.ndarray,
) -> bool:  # fmt: skip
    """Do what `tier1_decode.decode` does, for cleanup passes of bit plane 0; False for segments that are none."""
    for b in range(blocks.shape[0]):
        block = blocks[b]
        size, equal = np.int64(0), np.int64(0)
        for y in range(block[3]):
            for x in range(block[4]):
                coefficients[block[0], block[1] + y, block[2] + x] = 0
        if coded[b, 1]:
            if not _decode_block(data, begins[b], lengths[b], block, scratch, coefficients):
                return False
            for y in range(block[3]):
                for x in range(block[4]):
                    if coefficients[block[0], block[1] + y, block[2] + x]:
                        own[b] = 1
            size = encode_block(coefficients, block, scratch)
            if size < 0:
                return False
            while equal < size and equal < lengths[b] and scratch.out[1 + equal] == data[begins[b] + equal]:
                equal += 1
        same[b, 0], same[b, 1] = size, equal
    return True
