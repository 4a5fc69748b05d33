"""The decoder of JPEG-LS (ITU-T T.87, Annex A): the entropy-coded data between two markers to samples.

Any bytes are decoded in bounded time and memory. After the end of the data come zeros; a limit on their number stops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import entry, part
from .jpeg_ls_model import (
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

LEADING_ZEROS = np.array([8 - n.bit_length() for n in range(256)], np.int64)
BEYOND = 64  # bytes that may be read beyond the end before decoding stops; they are zeros
BAD = 1 << 40  # what is returned for codes that no encoder writes; no error is as large


@part
def _refill(data: np.ndarray, at: Any, bits: Any, left: Any) -> tuple[Any, Any, Any]:
    """Append bytes until more than 48 bits are left. A byte after 0xFF has 7 bits."""
    while left <= 48:
        byte, width = bits * 0, 8
        if at < data.shape[0]:
            byte = np.int64(data[np.uint64(at)])
            if at > 0 and data[np.uint64(at - 1)] == 0xFF:
                width = 7
        bits = bits << width | byte
        left += width
        at += 1
    return at, bits, left


@part
def _get(data: np.ndarray, at: Any, bits: Any, left: Any, width: Any) -> tuple[Any, Any, Any, Any]:
    """Read `width` bits, 32 at most."""
    if left < width:
        at, bits, left = _refill(data, at, bits, left)
    left -= width
    return (bits >> left) & ((1 << width) - 1), at, bits, left


@part
def _get_golomb(
    data: np.ndarray, at: Any, bits: Any, left: Any, k: Any, limit: Any, qbpp: Any
) -> tuple[Any, Any, Any, Any]:
    """Read a Golomb code of order k (A.5.3); BAD where it is longer than `limit`."""
    if left < 32:
        at, bits, left = _refill(data, at, bits, left)
    longest = limit - qbpp - 1
    zeros = LEADING_ZEROS[np.uint64((bits >> (left - 8)) & 255)]
    found = zeros
    while found == 8 and zeros <= longest:
        left -= 8
        if left < 8:
            at, bits, left = _refill(data, at, bits, left)
        found = LEADING_ZEROS[np.uint64((bits >> (left - 8)) & 255)]
        zeros += found
    left -= found + 1
    value = zeros << k
    if zeros < longest:
        low, at, bits, left = _get(data, at, bits, left, k)
        value |= low
    elif zeros == longest:
        low, at, bits, left = _get(data, at, bits, left, qbpp)
        value = low + 1
    else:
        value = np.int64(BAD)
    return value, at, bits, left


@part
def _get_run(data: np.ndarray, at: Any, bits: Any, left: Any, most: Any, index: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Read the length of a run of `most` samples at most, which the end of the line ends (A.7.1.2)."""
    length = most * 0
    while length < most:
        one, at, bits, left = _get(data, at, bits, left, 1)
        if one == 0:
            more, at, bits, left = _get(data, at, bits, left, RUN_ORDER[index])
            length += more
            # A run that an interruption ends does not reach the end of the line.
            return (length if length < most else np.int64(BAD)), at, bits, left, index
        step = 1 << RUN_ORDER[index]
        if length + step <= most and index < 31:
            index += 1
        length += step
    return most, at, bits, left, index


@part
def _get_regular(
    data: np.ndarray, at: Any, bits: Any, left: Any, known: np.ndarray, coding: Coding, q: Any, before: Any,
    above: Any, corner: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Read a sample of context q after the sample `before`, and learn (A.4 to A.6)."""
    sign = 1 if q >= 0 else -1
    q = np.uint64(q * sign)
    value = predicted(before, above, corner, sign * known[q, 2], coding.maxval)
    k = golomb_order(known[q, 3], known[q, 0])
    mapped, at, bits, left = _get_golomb(data, at, bits, left, k, coding.limit, coding.qbpp)
    if mapped > coding.maxval + 1:
        return np.int64(BAD), at, bits, left
    if k == 0 and 2 * known[q, 1] <= -known[q, 3]:
        mapped ^= 1
    error = -((mapped + 1) >> 1) if mapped & 1 else mapped >> 1
    learn(known, q, error, coding.reset)
    value += error * sign
    if value < 0:
        value += coding.maxval + 1
    elif value > coding.maxval:
        value -= coding.maxval + 1
    return value, at, bits, left


@part
def _get_interruption(
    data: np.ndarray, at: Any, bits: Any, left: Any, known: np.ndarray, coding: Coding, before: Any, above: Any,
    equal: Any, index: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Read a sample that interrupts a run, and learn (A.7.2)."""
    k = interruption_order(known, equal)
    mapped, at, bits, left = _get_golomb(data, at, bits, left, k, coding.limit - RUN_ORDER[index] - 1, coding.qbpp)
    if mapped > coding.maxval + 1:
        return np.int64(BAD), at, bits, left
    q = 365 + equal
    often = 2 * known[q, 1] >= known[q, 3]
    error = (mapped + equal + 1) >> 1
    flag = (mapped + equal) & 1
    if flag == (k != 0 or often):
        error = -error
    learn_interruption(known, equal, error, mapped, coding.reset)
    if not equal and before > above:
        error = -error
    value = above + error
    if value < 0:
        value += coding.maxval + 1
    elif value > coding.maxval:
        value -= coding.maxval + 1
    return value, at, bits, left


@part
def _get_line(
    data: np.ndarray, at: Any, bits: Any, left: Any, known: np.ndarray, coding: Coding, previous: np.ndarray,
    current: np.ndarray, index: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Read a line of one component into current int64 [X + 2]; index is BAD after a code that no encoder writes."""
    size = current.shape[0] - 2
    x = 1
    corner, above = previous[0], previous[1]
    before = above
    while x <= size:
        right = previous[np.uint64(x + 1)]
        q = context(coding.classes, coding.maxval, before, above, corner, right)
        if q != 0:
            value, at, bits, left = _get_regular(data, at, bits, left, known, coding, q, before, above, corner)
        else:
            run, at, bits, left, index = _get_run(data, at, bits, left, size + 1 - x, index)
            if run == BAD:
                return at, bits, left, run
            end = x + run
            while x < end:
                current[np.uint64(x)] = before
                x += 1
            if x > size:
                break
            above, right = previous[np.uint64(x)], previous[np.uint64(x + 1)]
            value, at, bits, left = _get_interruption(
                data, at, bits, left, known, coding, before, above, np.int64(before == above), index
            )
            if index > 0:
                index -= 1
        if value < 0 or value > coding.maxval:
            return at, bits, left, np.int64(BAD)
        current[np.uint64(x)] = value
        corner, above, before = above, right, value
        x += 1
    return at, bits, left, index


@part
def _get_line_by_sample(
    data: np.ndarray, at: Any, bits: Any, left: Any, known: np.ndarray, coding: Coding, previous: np.ndarray,
    current: np.ndarray, index: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Read a line whose components are interleaved by sample, int64 [components, X + 2]."""
    components, size = current.shape[0], current.shape[1] - 2
    x = 1
    while x <= size:
        calm = True
        for c in range(components):
            before, above, corner = current[c, x - 1], previous[c, x], previous[c, x - 1]
            q = context(coding.classes, coding.maxval, before, above, corner, previous[c, x + 1])
            calm = calm and q == 0
        if calm:
            run, at, bits, left, index = _get_run(data, at, bits, left, size + 1 - x, index)
            if run == BAD:
                return at, bits, left, run
            for c in range(components):
                for n in range(x, x + run):
                    current[c, n] = current[c, x - 1]
            x += run
            if x > size:
                break
        for c in range(components):
            before, above, corner = current[c, x - 1], previous[c, x], previous[c, x - 1]
            if calm:
                value, at, bits, left = _get_interruption(
                    data, at, bits, left, known, coding, before, above, before * 0, index
                )
            else:
                q = context(coding.classes, coding.maxval, before, above, corner, previous[c, x + 1])
                value, at, bits, left = _get_regular(data, at, bits, left, known, coding, q, before, above, corner)
            if value < 0 or value > coding.maxval:
                return at, bits, left, np.int64(BAD)
            current[c, x] = value
        if calm and index > 0:
            index -= 1
        x += 1
    return at, bits, left, index


@entry
def _get_lines(
    data: np.ndarray, samples: np.ndarray, components: np.ndarray, first: int, end: int, by_sample: bool,
    coding: Coding, known: np.ndarray, lines: np.ndarray, index: np.ndarray,
) -> Any:  # fmt: skip
    """Read the lines first … end - 1 of some components into `samples`.

    Returns where the data ends and how many bits of its last byte are left; -1 for data that no encoder writes.
    """
    size = samples.shape[2]
    at, bits, left = np.int64(0), np.int64(0), np.int64(0)
    for y in range(first, end):
        current, previous = lines[y & 1], lines[1 - (y & 1)]
        for n in range(components.shape[0]):
            current[n, 0] = previous[n, 1]
            previous[n, size + 1] = previous[n, size]
        if by_sample:
            at, bits, left, index[0] = _get_line_by_sample(
                data, at, bits, left, known, coding, previous, current, index[0]
            )
            bad = index[0] == BAD
        else:
            bad = False
            for n in range(components.shape[0]):
                if not bad:
                    at, bits, left, index[n] = _get_line(
                        data, at, bits, left, known, coding, previous[n], current[n], index[n]
                    )
                    bad = index[n] == BAD
        if bad or at > data.shape[0] + BEYOND:
            return -1, 0
        for n in range(components.shape[0]):
            for x in range(size):
                samples[components[n], y, x] = current[n, x + 1]
    while at > 0:
        width = 7 if 1 < at <= data.shape[0] and data[at - 2] == 0xFF else 8
        if left < width:
            break
        left -= width
        at -= 1
    return (at if at <= data.shape[0] else np.int64(-1)), left


class Segment(NamedTuple):
    """Where the data of a segment ends, and what its last byte has beyond it."""

    length: int
    fill: int


def decode(
    data: np.ndarray, samples: np.ndarray, components: np.ndarray, first: int, end: int, by_sample: bool, coding: Coding
) -> Segment | None:
    """Decode data uint8 [n] into lines first … end - 1 of some components of `samples`, from a fresh start.

    The parameters are those of `encode`. Returns None for data that no encoder writes.
    """
    lines = np.zeros((2, components.size, samples.shape[2] + 2), np.int64)
    length, left = _get_lines(
        data, samples, components, first, end, by_sample, coding, counters(coding), lines,
        np.zeros(components.size, np.int64),
    )  # fmt: skip
    if length < 0:
        return None
    return Segment(length, int(data[length - 1]) & ((1 << left) - 1) if length else 0)
