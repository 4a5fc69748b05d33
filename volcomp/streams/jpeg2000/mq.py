"""The MQ coder: adaptive binary arithmetic coding (ITU-T T.800, Annex C).

A context's state is one number: twice the index of Table C.2, plus the more probable symbol. The coder's registers C, A
and CT and the position of byte B are int64, and loops pass them as values: then they stay in the processor's registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import part
from ...runtime.scalars import smaller

CONTEXTS = 19
ZERO, SIGN, REFINE, RUN, UNIFORM = 0, 9, 14, 17, 18  # the first context of each kind (Table D.1 to D.4)
FLUSHED = 5  # bytes that hold all of C
SEGMENT_END = 2  # bytes 0xFF that follow a segment in memory: the decoder takes them for a marker, and stays there

# Table C.2: Qe, the next index after a more probable symbol, after a less probable one, and whether they are exchanged
_TABLE = (
    (0x5601, 1, 1, 1), (0x3401, 2, 6, 0), (0x1801, 3, 9, 0), (0x0AC1, 4, 12, 0), (0x0521, 5, 29, 0),
    (0x0221, 38, 33, 0), (0x5601, 7, 6, 1), (0x5401, 8, 14, 0), (0x4801, 9, 14, 0), (0x3801, 10, 14, 0),
    (0x3001, 11, 17, 0), (0x2401, 12, 18, 0), (0x1C01, 13, 20, 0), (0x1601, 29, 21, 0), (0x5601, 15, 14, 1),
    (0x5401, 16, 14, 0), (0x5101, 17, 15, 0), (0x4801, 18, 16, 0), (0x3801, 19, 17, 0), (0x3401, 20, 18, 0),
    (0x3001, 21, 19, 0), (0x2801, 22, 19, 0), (0x2401, 23, 20, 0), (0x2201, 24, 21, 0), (0x1C01, 25, 22, 0),
    (0x1801, 26, 23, 0), (0x1601, 27, 24, 0), (0x1401, 28, 25, 0), (0x1201, 29, 26, 0), (0x1101, 30, 27, 0),
    (0x0AC1, 31, 28, 0), (0x09C1, 32, 29, 0), (0x08A1, 33, 30, 0), (0x0521, 34, 31, 0), (0x0441, 35, 32, 0),
    (0x02A1, 36, 33, 0), (0x0221, 37, 34, 0), (0x0141, 38, 35, 0), (0x0111, 39, 36, 0), (0x0085, 40, 37, 0),
    (0x0049, 41, 38, 0), (0x0025, 42, 39, 0), (0x0015, 43, 40, 0), (0x0009, 44, 41, 0), (0x0005, 45, 42, 0),
    (0x0001, 45, 43, 0), (0x5601, 46, 46, 0),
)  # fmt: skip
_QE = np.array([row[0] for row in _TABLE for _ in (0, 1)], np.int64)
_MORE = np.array([2 * row[1] + likely for row in _TABLE for likely in (0, 1)], np.uint8)
_LESS = np.array([2 * row[2] + (likely ^ row[3]) for row in _TABLE for likely in (0, 1)], np.uint8)


@part
def reset(states: np.ndarray) -> None:
    """Put all contexts, uint8 [CONTEXTS], into their first state (Table D.7)."""
    states[:] = 0
    states[ZERO], states[RUN], states[UNIFORM] = 2 * 4, 2 * 3, 2 * 46


@part
def byte_in(data: np.ndarray, c: Any, at: Any) -> Any:
    """Read a byte (C.3); returns C, CT and the position."""
    if data[at] == 0xFF:
        if data[at + 1] > 0x8F:
            return c + 0xFF00, 8, at
        return c + (np.int64(data[at + 1]) << 9), 7, at + 1
    return c + (np.int64(data[at + 1]) << 8), 8, at + 1


@part
def begin(data: np.ndarray, at: Any) -> Any:
    """Begin to decode the segment at a position, which ends with SEGMENT_END bytes (C.3)."""
    c, ct, at = byte_in(data, np.int64(data[at]) << 16, at)
    return c << 7, 0x8000, ct - 7, at


@part
def renormalise(data: np.ndarray, c: Any, a: Any, ct: Any, at: Any) -> Any:
    """Double A until it is 0x8000 or more (C.3)."""
    while a < 0x8000:
        if ct == 0:
            c, ct, at = byte_in(data, c, at)
        a <<= 1
        c <<= 1
        ct -= 1
    return c, a, ct, at


@part
def decode(states: np.ndarray, context: Any, data: np.ndarray, c: Any, a: Any, ct: Any, at: Any) -> Any:
    """Decode a symbol in a context (C.3); returns it and the registers."""
    state = np.int64(states[context])
    qe = _QE[state]
    a -= qe
    if c >> 16 >= qe:
        c -= qe << 16
        if a >= 0x8000:
            return state & 1, c, a, ct, at
        likely = a >= qe
    else:
        likely = a < qe
        a = qe
    if likely:
        symbol = state & 1
        states[context] = _MORE[state]
    else:
        symbol = 1 - (state & 1)
        states[context] = _LESS[state]
    c, a, ct, at = renormalise(data, c, a, ct, at)
    return symbol, c, a, ct, at


@part
def byte_out(out: np.ndarray, c: Any, at: Any) -> Any:
    """Write a byte (C.2); returns C, CT and the position.

    out[at] is the byte before, which a carry may change; the first one is a dummy. A full buffer stays at its end.
    """
    if out[at] != 0xFF and c >= 0x8000000:
        out[at] += 1
        c &= 0x7FFFFFF
    stuffed = out[at] == 0xFF
    at = smaller(at + 1, out.shape[0] - 1)
    if stuffed:
        out[at] = c >> 20
        return c & 0xFFFFF, 7, at
    out[at] = c >> 19
    return c & 0x7FFFF, 8, at


@part
def begin_encoding() -> Any:
    """Return the registers C, A, CT and the position at the begin of a segment (C.2.8)."""
    return np.int64(0), np.int64(0x8000), np.int64(12), np.int64(0)


@part
def encode(
    symbols: np.ndarray, count: Any, states: np.ndarray, out: np.ndarray, c: Any, a: Any, ct: Any, at: Any
) -> Any:
    """Encode symbols uint8 [count], each twice its context plus the bit (C.2); returns the registers."""
    for n in range(count):
        context = np.int64(symbols[n]) >> 1
        state = np.int64(states[context])
        qe = _QE[state]
        a -= qe
        if (symbols[n] ^ state) & 1 == 0:
            if a >= 0x8000:
                c += qe
                continue
            if a < qe:
                a = qe
            else:
                c += qe
            states[context] = _MORE[state]
        else:
            if a < qe:
                c += qe
            else:
                a = qe
            states[context] = _LESS[state]
        while a < 0x8000:
            a <<= 1
            c <<= 1
            ct -= 1
            if ct == 0:
                c, ct, at = byte_out(out, c, at)
    return c, a, ct, at


@part
def flush(out: np.ndarray, c: Any, a: Any, ct: Any, at: Any) -> Any:
    """End a segment (C.2.9); returns the position after its last byte, which is not 0xFF."""
    end = c + a
    c |= 0xFFFF
    if c >= end:
        c -= 0x8000
    c, ct, at = byte_out(out, c << ct, at)
    c, ct, at = byte_out(out, c << ct, at)
    return at if out[at] == 0xFF else at + 1


@part
def _suffices(out: np.ndarray, upper: np.ndarray, base: Any, last: Any, end: Any) -> Any:
    """Return whether the bytes up to `last`, and then ones, are within the interval; see `flush_short`."""
    for n in range(base, last + 1):
        if out[n] != upper[n - base]:
            return True
    before: Any = np.int64(out[last])
    for n in range(last + 1, end + 1):
        ones = 0x7F if before == 0xFF else 0xFF
        bound = np.int64(out[n]) if n < base else np.int64(upper[n - base])
        if ones != bound:
            return ones < bound
        before = ones
    return True


@part
def flush_short(out: np.ndarray, upper: np.ndarray, c: Any, a: Any, ct: Any, at: Any) -> Any:
    """End a segment with the fewest bytes of the interval's lower end from which, followed by ones, all is decoded.

    upper uint8 [FLUSHED + 1]: scratch. Returns the position after the last byte.
    """
    base = at
    upper[0] = out[at]
    c_upper, ct_upper, at_upper = c + a - 1, ct, 0
    for _ in range(FLUSHED):
        c_upper = (c_upper + 1 << ct_upper) - 1  # the bits below are 1 as well
        c_upper, ct_upper, at_upper = byte_out(upper, c_upper, at_upper)
        c, ct, at = byte_out(out, c << ct, at)
    end = base + FLUSHED
    if at != end:  # the buffer is full
        return at
    while end > 0 and _suffices(out, upper, base, end - 1, base + FLUSHED):
        end -= 1
    return end + 1
