"""High-Throughput code blocks to segments of bytes (ITU-T T.814, clause 7): the cleanup pass of bit plane 0.

A segment has three streams: magnitudes and signs from its start on, run lengths of quads (MEL) after them, and codes of
quads (VLC) from its end backwards.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from .blocks import LARGEST
from .ht_tables import ENCODE

MOST_BITS = 26  # of an exponent's bound
LONGEST_SUFFIX = 4079  # bytes of MEL and VLC
# E of the states of the run length coder
RUN_EXPONENTS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5], np.int64)
# Registers of the writers: the byte in hand, its bits that are used or left, how many it has in all, its position
(
    MS_BYTE,
    MS_USED,
    MS_ALL,
    MS_AT,
    MEL_BYTE,
    MEL_LEFT,
    MEL_RUN,
    MEL_STATE,
    MEL_AT,
    VLC_BYTE,
    VLC_USED,
    VLC_HIGH,
    VLC_AT,
) = range(13)


class HtScratch(NamedTuple):
    """The scratch of one thread.

    out uint8          one segment from byte 1 on, for which the magnitudes are written there
    mel, vlc uint8     the other streams, the latter from its end
    registers int64    of the writers, or readers
    exponents int64    of the row above a row of quads and of its last one, from column 2 on, between zeros
    quad int64 [4]     2 · (magnitude - 1) + sign of a quad's coefficients
    """

    out: np.ndarray
    mel: np.ndarray
    vlc: np.ndarray
    registers: np.ndarray
    exponents: np.ndarray
    quad: np.ndarray


def scratch() -> HtScratch:
    """Allocate scratch."""
    return HtScratch(
        np.empty(8 * LARGEST, np.uint8),
        np.empty(2 * LARGEST, np.uint8),
        np.empty(2 * LARGEST, np.uint8),
        np.empty(16, np.int64),
        np.empty((2, 1024 + 8), np.int64),
        np.empty(4, np.int64),
    )


@part
def bit_length(value: Any) -> Any:
    """Return how many bits a value >= 0 has."""
    bits = np.int64(0)
    while value:
        bits += 1
        value >>= 1
    return bits


@part
def _put_magnitude(out: np.ndarray, s: np.ndarray, value: Any, count: Any) -> None:
    """Write bits, the lowest first; a byte after 0xFF has 7."""
    while count > 0:
        some = smaller(s[MS_ALL] - s[MS_USED], count)
        s[MS_BYTE] |= (value & ((1 << some) - 1)) << s[MS_USED]
        s[MS_USED] += some
        value >>= some
        count -= some
        if s[MS_USED] == s[MS_ALL]:
            out[s[MS_AT]] = s[MS_BYTE]
            s[MS_AT] += 1
            s[MS_ALL] = 7 if s[MS_BYTE] == 0xFF else 8
            s[MS_BYTE], s[MS_USED] = 0, 0


@part
def _put_mel_bit(out: np.ndarray, s: np.ndarray, bit: Any) -> None:
    """Write a bit, the highest first; a byte after 0xFF has 7."""
    s[MEL_BYTE] = s[MEL_BYTE] << 1 | bit
    s[MEL_LEFT] -= 1
    if s[MEL_LEFT] == 0:
        out[s[MEL_AT]] = s[MEL_BYTE]
        s[MEL_AT] += 1
        s[MEL_LEFT] = 7 if s[MEL_BYTE] == 0xFF else 8
        s[MEL_BYTE] = 0


@part
def _put_event(out: np.ndarray, s: np.ndarray, event: Any) -> None:
    """Encode an event of the run length coder."""
    exponent = RUN_EXPONENTS[s[MEL_STATE]]
    if event == 0:
        s[MEL_RUN] += 1
        if s[MEL_RUN] == 1 << exponent:
            _put_mel_bit(out, s, 1)
            s[MEL_RUN] = 0
            s[MEL_STATE] = smaller(s[MEL_STATE] + 1, 12)
        return
    _put_mel_bit(out, s, 0)
    for n in range(exponent - 1, -1, -1):
        _put_mel_bit(out, s, s[MEL_RUN] >> n & 1)
    s[MEL_RUN] = 0
    s[MEL_STATE] = larger(s[MEL_STATE] - 1, 0)


@part
def _put_code(out: np.ndarray, s: np.ndarray, code: Any, count: Any) -> None:
    """Write bits backwards, the lowest first; a byte 0x7F before one above 0x8F has 7."""
    while count > 0:
        some = smaller(8 - s[VLC_HIGH] - s[VLC_USED], count)
        s[VLC_BYTE] |= (code & ((1 << some) - 1)) << s[VLC_USED]
        s[VLC_USED] += some
        code >>= some
        count -= some
        if s[VLC_USED] == 8 - s[VLC_HIGH]:
            if s[VLC_HIGH] and s[VLC_BYTE] != 0x7F:
                s[VLC_HIGH] = 0
                continue
            out[s[VLC_AT]] = s[VLC_BYTE]
            s[VLC_AT] += 1
            s[VLC_HIGH] = s[VLC_BYTE] > 0x8F
            s[VLC_BYTE], s[VLC_USED] = 0, 0


@part
def _prefix(out: np.ndarray, s: np.ndarray, value: Any) -> None:
    """Write the prefix of a value, nothing for 0."""
    if value == 0:
        return
    if value < 3:
        _put_code(out, s, value, value)
    elif value < 5:
        _put_code(out, s, 4, 3)
    else:
        _put_code(out, s, 0, 3)


@part
def _suffix(out: np.ndarray, s: np.ndarray, value: Any) -> None:
    """Write the suffix of a value, if it has one."""
    if 3 <= value < 5:
        _put_code(out, s, value - 3, 1)
    elif 5 <= value < 33:
        _put_code(out, s, value - 5, 5)


@part
def _load(coefficients: np.ndarray, block: np.ndarray, y: Any, x: Any, scratch: HtScratch) -> Any:
    """Read a quad; returns rho, the largest exponent, and which coefficients have it."""
    rho, largest, reached = 0, np.int64(0), 0
    for n in range(4):
        row, column = y + (n & 1), x + (n >> 1)
        exponent = np.int64(0)
        if row < block[3] and column < block[4]:
            value = np.int64(coefficients[block[0], block[1] + row, block[2] + column])
            if value:
                magnitude = abs(value) - 1
                scratch.quad[n] = 2 * magnitude + (value < 0)
                exponent = 1 + bit_length(magnitude)
                rho |= 1 << n
        if exponent > largest:
            largest, reached = exponent, 1 << n
        elif exponent == largest and exponent:
            reached |= 1 << n
        if n & 1:
            scratch.exponents[1, column + 2] = exponent
    return rho, largest, reached


@part
def context(exponents: np.ndarray, x: Any, left: Any, first: Any) -> Any:
    """Return the context of the quad at column x, given rho of the one to its left."""
    if first:
        return (left & 1 | left >> 1 & 1) | left >> 2 << 1
    index = 0
    if exponents[0, x + 1] or exponents[0, x + 2]:
        index |= 1
    if left & 12:
        index |= 2
    if exponents[0, x + 3] or exponents[0, x + 4]:
        index |= 4
    return index


@part
def prediction(exponents: np.ndarray, x: Any, rho: Any, first: Any) -> Any:
    """Return what the exponents' bound is at least, given those of the row above."""
    if first or rho & (rho - 1) == 0:
        return np.int64(1)
    above = exponents[0]
    most = larger(larger(above[x + 1], above[x + 2]), larger(above[x + 3], above[x + 4]))
    return larger(most - 1, np.int64(1))


@part
def _encode_quad(
    coefficients: np.ndarray, block: np.ndarray, y: Any, x: Any, left: Any, scratch: HtScratch
) -> Any:  # fmt: skip
    """Encode a quad but for what its bound exceeds the prediction by; returns that, and rho."""
    s, first = scratch.registers, y == 0
    rho, largest, reached = _load(coefficients, block, y, x, scratch)
    index = context(scratch.exponents, x, left, first)
    if index == 0:
        _put_event(scratch.mel, s, 1 if rho else 0)
        if rho == 0:
            return 0, rho
    least = prediction(scratch.exponents, x, rho, first)
    bound = larger(largest, least)
    more = bound - least
    code = np.int64(ENCODE[0 if first else 1, index, rho, 1 if more else 0, reached if more else 0])
    _put_code(scratch.vlc, s, code >> 7, code & 7)
    for n in range(4):
        if rho >> n & 1:
            bits = bound - (code >> (3 + n) & 1)
            _put_magnitude(scratch.out, s, scratch.quad[n] & ((1 << bits) - 1), bits)
    return more, rho


@part
def _encode_pair(s: np.ndarray, scratch: HtScratch, a: Any, b: Any, first: Any) -> None:
    """Encode what the bounds of two quads exceed their predictions by."""
    vlc = scratch.vlc
    if first and a and b:
        both = a > 2 and b > 2
        _put_event(scratch.mel, s, 1 if both else 0)
        if both:
            a -= 2
            b -= 2
        elif a > 2:
            _prefix(vlc, s, a)
            _put_code(vlc, s, b - 1, 1)
            _suffix(vlc, s, a)
            return
    _prefix(vlc, s, a)
    _prefix(vlc, s, b)
    _suffix(vlc, s, a)
    _suffix(vlc, s, b)


@part
def _join(scratch: HtScratch) -> Any:
    """End the three streams and put them together; returns the bytes, -1 where the last two are too long."""
    s, out, mel, vlc = scratch.registers, scratch.out, scratch.mel, scratch.vlc
    if s[MS_USED]:
        s[MS_BYTE] |= 0xFF << s[MS_USED] & ((1 << s[MS_ALL]) - 1)
        if s[MS_BYTE] != 0xFF:
            out[s[MS_AT]] = s[MS_BYTE]
            s[MS_AT] += 1
    elif s[MS_ALL] == 7:
        s[MS_AT] -= 1
    if s[MEL_RUN]:
        _put_mel_bit(mel, s, 1)
    s[MEL_BYTE] <<= s[MEL_LEFT]
    mel_bits, vlc_bits = 0xFF << s[MEL_LEFT] & 0xFF, (1 << s[VLC_USED]) - 1
    if mel_bits or vlc_bits:
        # One byte may be the last of both.
        shared = s[MEL_BYTE] | s[VLC_BYTE]
        mel[s[MEL_AT]] = s[MEL_BYTE]
        if (
            (shared ^ s[MEL_BYTE]) & mel_bits == 0 and (shared ^ s[VLC_BYTE]) & vlc_bits == 0
            and shared != 0xFF and s[VLC_AT] > 1
        ):  # fmt: skip
            mel[s[MEL_AT]] = shared
        else:
            vlc[s[VLC_AT]] = s[VLC_BYTE]
            s[VLC_AT] += 1
        s[MEL_AT] += 1
    suffix = s[MEL_AT] + s[VLC_AT]
    if suffix > LONGEST_SUFFIX:
        return -1
    at = s[MS_AT]
    for n in range(s[MEL_AT]):
        out[at + n] = mel[n]
    at += s[MEL_AT]
    for n in range(s[VLC_AT]):
        out[at + n] = vlc[s[VLC_AT] - 1 - n]
    at += s[VLC_AT]
    out[at - 1] = suffix >> 4
    out[at - 2] = out[at - 2] & 0xF0 | suffix & 15
    return at - 1


@part
def encode_block(coefficients: np.ndarray, block: np.ndarray, scratch: HtScratch) -> Any:
    """Encode a block into scratch.out, from byte 1 on; returns its bytes, -1 where it has no segment."""
    s = scratch.registers
    s[MS_BYTE], s[MS_USED], s[MS_ALL], s[MS_AT] = 0, 0, 8, 1
    s[MEL_BYTE], s[MEL_LEFT], s[MEL_RUN], s[MEL_STATE], s[MEL_AT] = 0, 8, 0, 0, 0
    s[VLC_BYTE], s[VLC_USED], s[VLC_HIGH], s[VLC_AT] = 15, 4, 1, 1
    scratch.vlc[0] = 0xFF
    w = np.int64(block[4])
    for x in range(w + 8):
        scratch.exponents[0, x] = 0
        scratch.exponents[1, x] = 0
    for y in range(0, block[3], 2):
        left = np.int64(0)
        for x in range(0, w, 4):
            a, left = _encode_quad(coefficients, block, y, x, left, scratch)
            b = np.int64(0)
            if x + 2 < w:
                b, left = _encode_quad(coefficients, block, y, x + 2, left, scratch)
            _encode_pair(s, scratch, a, b, y == 0)
        for x in range(2, w + 4):
            scratch.exponents[0, x] = scratch.exponents[1, x]
    return _join(scratch)


@part
def bits_of(coefficients: np.ndarray, block: np.ndarray) -> Any:
    """Return how many bits the largest exponent of a block needs, 0 for a block of zeros."""
    largest = np.int64(0)
    for y in range(block[3]):
        for x in range(block[4]):
            largest = larger(largest, abs(np.int64(coefficients[block[0], block[1] + y, block[2] + x])))
    return 1 + bit_length(largest - 1) if largest else np.int64(0)


@entry
def encode(
    coefficients: np.ndarray, blocks: np.ndarray, wanted: np.ndarray, scratch: HtScratch, begin: int, position: int,
    coded: np.ndarray, lengths: np.ndarray, out: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Do what `tier1_encode.encode` does, for the cleanup pass of bit plane 0: one coded bit plane, one pass."""
    for b in range(begin, blocks.shape[0]):
        bits = bits_of(coefficients, blocks[b])
        some = 1 if bits else 0
        if wanted[b, 0] >= 0:
            some = wanted[b, 0] if some <= wanted[b, 0] else -1  # a block of zeros may have a segment
        size = encode_block(coefficients, blocks[b], scratch) if some > 0 and bits <= MOST_BITS else 0
        if size < 0 or bits > MOST_BITS:
            some, size = -1, 0
        if position + size > out.shape[0]:
            return b, position
        for k in range(size):
            out[position + k] = scratch.out[1 + k]
        coded[b, 0], coded[b, 1], lengths[b] = some, some, size
        position += size
    return blocks.shape[0], position
