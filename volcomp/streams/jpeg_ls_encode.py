"""The encoder of JPEG-LS (ITU-T T.87, Annex A): samples to the entropy-coded data between two markers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from .jpeg_ls_model import (
    BITS_PER_SAMPLE,
    RUN_ORDER,
    Coding,
    context,
    counters,
    golomb_order,
    interruption_order,
    learn,
    learn_interruption,
    predicted,
)  # fmt: skip

CHUNK = 1 << 16  # samples that are coded at a time: more take more memory, fewer more calls


@part
def _emit(out: np.ndarray, at: Any, bits: Any, used: Any) -> tuple[Any, Any]:
    """Write all whole bytes of the lowest `used` bits. A byte after 0xFF holds 7 bits, so that no marker is written."""
    while used >= 8:
        width = 7 if out[np.uint64(at - 1)] == 0xFF else 8
        used -= width
        out[np.uint64(at)] = (bits >> used) & ((1 << width) - 1)
        at += 1
    return at, used


@part
def _put(out: np.ndarray, at: Any, bits: Any, used: Any, value: Any, width: Any) -> tuple[Any, Any, Any]:
    """Append `width` bits, 32 at most, to fewer than 32."""
    bits = bits << width | value
    used += width
    if used >= 32:
        at, used = _emit(out, at, bits, used)
    return at, bits, used


@part
def _put_golomb(
    out: np.ndarray, at: Any, bits: Any, used: Any, mapped: Any, k: Any, limit: Any, qbpp: Any
) -> tuple[Any, Any, Any]:
    """Append the Golomb code of order k of a number, of `limit` bits at most (A.5.3)."""
    zeros, low, width = mapped >> k, mapped & ((1 << k) - 1), k
    if zeros >= limit - qbpp - 1:
        zeros, low, width = limit - qbpp - 1, mapped - 1, qbpp
    if zeros + width < 32:
        return _put(out, at, bits, used, 1 << width | low, zeros + 1 + width)
    while zeros > 24:
        at, bits, used = _put(out, at, bits, used, low * 0, 24)
        zeros -= 24
    at, bits, used = _put(out, at, bits, used, low * 0 + 1, zeros + 1)
    return _put(out, at, bits, used, low, width)


@part
def _put_run(
    out: np.ndarray, at: Any, bits: Any, used: Any, length: Any, ended: Any, index: Any
) -> tuple[Any, Any, Any, Any]:
    """Append the code of a run, which the end of the line has `ended`, or a sample (A.7.1.2). Returns the new index."""
    while length >= 1 << RUN_ORDER[index]:
        at, bits, used = _put(out, at, bits, used, length * 0 + 1, 1)
        length -= 1 << RUN_ORDER[index]
        if index < 31:
            index += 1
    if not ended:
        at, bits, used = _put(out, at, bits, used, length, 1 + RUN_ORDER[index])
    elif length > 0:
        at, bits, used = _put(out, at, bits, used, length * 0 + 1, 1)
    return at, bits, used, index


@part
def _put_regular(
    out: np.ndarray, at: Any, bits: Any, used: Any, known: np.ndarray, coding: Coding, q: Any, value: Any,
    left: Any, above: Any, corner: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Append a sample of context q, and learn (A.4 to A.6)."""
    sign = 1 if q >= 0 else -1
    q = np.uint64(q * sign)
    error = (value - predicted(left, above, corner, sign * known[q, 2], coding.maxval)) * sign
    if error < 0:
        error += coding.maxval + 1
    if error >= coding.half:
        error -= coding.maxval + 1
    k = golomb_order(known[q, 3], known[q, 0])
    mapped = 2 * error if error >= 0 else -2 * error - 1
    if k == 0 and 2 * known[q, 1] <= -known[q, 3]:
        mapped ^= 1
    at, bits, used = _put_golomb(out, at, bits, used, mapped, k, coding.limit, coding.qbpp)
    learn(known, q, error, coding.reset)
    return at, bits, used


@part
def _put_interruption(
    out: np.ndarray, at: Any, bits: Any, used: Any, known: np.ndarray, coding: Coding, value: Any, left: Any,
    above: Any, equal: Any, index: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Append a sample that interrupts a run, and learn (A.7.2)."""
    error = value - above
    if not equal and left > above:
        error = -error
    if error < 0:
        error += coding.maxval + 1
    if error >= coding.half:
        error -= coding.maxval + 1
    k = interruption_order(known, equal)
    q = 365 + equal
    often = 2 * known[q, 1] >= known[q, 3]
    flag = error < 0 if k != 0 or often else error > 0
    mapped = 2 * abs(error) - equal - flag
    at, bits, used = _put_golomb(out, at, bits, used, mapped, k, coding.limit - RUN_ORDER[index] - 1, coding.qbpp)
    learn_interruption(known, equal, error, mapped, coding.reset)
    return at, bits, used


@part
def _put_line(
    out: np.ndarray, at: Any, bits: Any, used: Any, known: np.ndarray, coding: Coding, previous: np.ndarray,
    current: np.ndarray, index: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Append a line of one component, current int64 [X + 2] with a sample before and after it as in `previous`."""
    size = current.shape[0] - 2
    x = 1
    corner, above = previous[0], previous[1]
    left = above
    while x <= size:
        right = previous[np.uint64(x + 1)]
        value = current[np.uint64(x)]
        q = context(coding.classes, coding.maxval, left, above, corner, right)
        if q != 0:
            at, bits, used = _put_regular(out, at, bits, used, known, coding, q, value, left, above, corner)
        else:
            begin = x
            while x <= size and current[np.uint64(x)] == left:
                x += 1
            at, bits, used, index = _put_run(out, at, bits, used, x - begin, x > size, index)
            if x > size:
                break
            value, above, right = current[np.uint64(x)], previous[np.uint64(x)], previous[np.uint64(x + 1)]
            at, bits, used = _put_interruption(
                out, at, bits, used, known, coding, value, left, above, np.int64(left == above), index
            )
            if index > 0:
                index -= 1
        corner, above, left = above, right, value
        x += 1
    return at, bits, used, index


@part
def _put_line_by_sample(
    out: np.ndarray, at: Any, bits: Any, used: Any, known: np.ndarray, coding: Coding, previous: np.ndarray,
    current: np.ndarray, index: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Append a line whose components are interleaved by sample, both int64 [components, X + 2]."""
    components, size = current.shape[0], current.shape[1] - 2
    x = 1
    while x <= size:
        calm = True
        for c in range(components):
            left, above, corner = current[c, x - 1], previous[c, x], previous[c, x - 1]
            q = context(coding.classes, coding.maxval, left, above, corner, previous[c, x + 1])
            calm = calm and q == 0
        if calm:
            begin = x
            same = True
            while same and x <= size:
                for c in range(components):
                    same = same and current[c, x] == current[c, begin - 1]
                if same:
                    x += 1
            at, bits, used, index = _put_run(out, at, bits, used, x - begin, x > size, index)
            if x > size:
                break
        for c in range(components):
            left, above, corner = current[c, x - 1], previous[c, x], previous[c, x - 1]
            if calm:
                at, bits, used = _put_interruption(
                    out, at, bits, used, known, coding, current[c, x], left, above, left * 0, index
                )
            else:
                q = context(coding.classes, coding.maxval, left, above, corner, previous[c, x + 1])
                at, bits, used = _put_regular(out, at, bits, used, known, coding, q, current[c, x], left, above, corner)
        if calm and index > 0:
            index -= 1
        x += 1
    return at, bits, used, index


@entry
def _put_lines(
    samples: np.ndarray, components: np.ndarray, first: int, end: int, by_sample: bool, coding: Coding,
    known: np.ndarray, lines: np.ndarray, index: np.ndarray, out: np.ndarray, at: int, bits: int, used: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Append the lines first … end - 1 of some components to `out`; returns at, bits and used of `_put`.

    lines int64 [2, components, X + 2]   the line before the first one, in the row that first & 1 does not select
    index int64 [components]             of the runs
    """
    size = samples.shape[2]
    for y in range(first, end):
        current, previous = lines[y & 1], lines[1 - (y & 1)]
        for n in range(components.shape[0]):
            for x in range(size):
                current[n, x + 1] = samples[components[n], y, x]
            current[n, 0] = previous[n, 1]
            previous[n, size + 1] = previous[n, size]
        if by_sample:
            at, bits, used, index[0] = _put_line_by_sample(
                out, at, bits, used, known, coding, previous, current, index[0]
            )
        else:
            for n in range(components.shape[0]):
                at, bits, used, index[n] = _put_line(
                    out, at, bits, used, known, coding, previous[n], current[n], index[n]
                )
    at, used = _emit(out, at, bits, used)
    return at, bits, used


def encode(
    samples: np.ndarray, components: np.ndarray, first: int, end: int, by_sample: bool, coding: Coding, fill: int
) -> list[bytes]:
    """Encode lines first … end - 1 of some components from a fresh start; returns the data in pieces.

    samples      uint8 or uint16 [C, Y, X], none above coding.maxval
    components   int64 [n]
    by_sample    whether components are interleaved by sample, else by line
    fill         the unused bits of the last byte, as a number
    """
    size = samples.shape[2]
    known = counters(coding)
    lines = np.zeros((2, components.size, size + 2), np.int64)
    index = np.zeros(components.size, np.int64)
    step = min(max(1, CHUNK // (components.size * size)), end - first)
    out = np.zeros(step * components.size * size * BITS_PER_SAMPLE // 7 + 64, np.uint8)
    pieces = []
    bits = used = 0
    for y in range(first, end, step):
        # The byte before the first is the last one of the piece before, which tells how wide the next byte is.
        at, bits, used = _put_lines(
            samples, components, y, min(y + step, end), by_sample, coding, known, lines, index, out, 1, bits, used
        )
        pieces.append(out[1:at].tobytes())
        out[0] = out[at - 1]
    if used:
        width = 7 if out[0] == 0xFF else 8
        pieces.append(bytes([(bits << (width - used) | fill & ((1 << (width - used)) - 1)) & ((1 << width) - 1)]))
    return pieces
