"""The segments of DICOM RLE (PS3.5, Annex G.3): plain bytes as literals and runs, the way PackBits does it.

A header byte n below 128 is followed by n + 1 literal bytes; above 128, the next byte comes 257 - n times; 128 is
nothing. Any bytes can be cut in many ways. An encoder's way is taken for a function of where it stands: a `Strategy`
gives the next header. Where an encoder deviates from it, a correction gives the header instead.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import entry, part

NOTHING = 128


class Pairs(IntEnum):
    """Where two equal bytes are a run, or end a literal, although it takes more elsewhere.

    NOWHERE
    ROW       at the end of a row (of the plane, if rows do not count). What is left after a run of full length stands
              by itself too, even a single byte.
    LITERAL   at the end of a row, and where they would be the last of a literal of full length. Bytes beyond that do
              not count for where a literal ends.
    """

    NOWHERE = 0
    ROW = 1
    LITERAL = 2


class Strategy(NamedTuple):
    """How an encoder cuts bytes.

    by_row     no header reaches into the next row
    shortest   a run begins with so many equal bytes, where no literal is open
    breaking   a literal ends before so many equal bytes
    literal    most bytes of a literal
    run        longest run
    pairs      where two are enough after all
    """

    by_row: bool
    shortest: int
    breaking: int
    literal: int
    run: int
    pairs: Pairs


# All strategies. Their numbers are in archives, so that the list only ever grows, at its end.
STRATEGIES = tuple(
    Strategy(by_row, shortest, breaking, literal, run, pairs)
    for by_row in (True, False)
    for shortest in (2, 3)
    for breaking in (2, 3)
    for literal in (128, 127)
    for run in (128, 127)
    for pairs in Pairs
)
_ROW, _LITERAL = int(Pairs.ROW), int(Pairs.LITERAL)


@part
def _alike(plane: Any, at: Any, end: Any) -> Any:
    """Count the equal bytes from `at` on, up to `end`."""
    last = at + 1
    while last < end and plane[last] == plane[at]:
        last += 1
    return last - at


@part
def _header(plane: Any, at: Any, width: Any, strategy: Any) -> Any:
    """Return the header that a strategy gives at `at`; strategy int64 [6]."""
    size = plane.shape[0]
    begin = at // width * width if strategy[0] else 0
    end = min(begin + width, size) if strategy[0] else size
    shortest, breaking, longest, pairs = strategy[1], strategy[2], strategy[4], strategy[5]
    equal = _alike(plane, at, min(end, at + longest))
    if equal >= shortest or (equal >= 2 and pairs >= _ROW and at + equal == end):
        return 257 - equal
    if pairs == _ROW and at - begin >= longest and _alike(plane, at - longest, at + 1) > longest:
        return 257 - equal if equal > 1 else 0
    most = min(end, at + strategy[3])
    seen = most if pairs == _LITERAL else end
    last = at + 1
    while last < most:
        equal = _alike(plane, last, min(seen, last + breaking))
        if equal >= breaking or (equal >= 2 and pairs >= _ROW and last + equal == seen):
            break
        last += 1
    return last - at - 1


@entry
def unpack(data: Any, at: Any, end: Any, plane: Any) -> Any:
    """Decode plane uint8 [n] from a segment at `at`, which ends before `end`.

    Returns where in the stream its last header's bytes end; -1 if the segment is too short or longer than the plane.
    """
    size, n = plane.shape[0], 0
    while n < size:
        if at >= end:
            return -1
        header: Any = np.int64(data[at])
        at += 1
        if header < NOTHING:
            count = header + 1
            if count > end - at or count > size - n:
                return -1
            for i in range(count):
                plane[n + i] = data[at + i]
            at += count
        elif header > NOTHING:
            count = 257 - header
            if at >= end or count > size - n:
                return -1
            for i in range(count):
                plane[n + i] = data[at]
            at += 1
        else:
            count = 0
        n += count
    return at


@entry
def deviations(
    data: Any, at: Any, plane: Any, width: Any, strategy: Any, headers: Any, most: Any, corrections: Any, written: Any
) -> Any:
    """Compare the headers of a segment, which `unpack` has decoded to plane uint8 [n], with those of a strategy.

    width, strategy      bytes of a row; int64 [6]
    headers              how many to compare at most
    most                 stop after so many deviations and one more
    corrections uint8    gets each deviation: how many headers are as expected before it, as a varint, and the header
    written int64 [1]    gets the length of these

    Returns the number of deviations.
    """
    size, n, w = plane.shape[0], 0, 0
    found, since = 0, 0
    while n < size and headers > 0:
        headers -= 1
        header: Any = np.int64(data[at])
        if header != NOTHING and header == _header(plane, n, width, strategy):
            since += 1
        else:
            found += 1
            if found > most:
                break
            while since >= 128:
                corrections[w] = since & 127 | 128
                since >>= 7
                w += 1
            corrections[w] = since
            corrections[w + 1] = header
            w += 2
            since = 0
        if header < NOTHING:
            n += header + 1
            at += header + 2
        elif header > NOTHING:
            n += 257 - header
            at += 2
        else:
            at += 1
    written[0] = w
    return found


@entry
def pack(plane: Any, width: Any, strategy: Any, corrections: Any, out: Any) -> Any:
    """Encode plane uint8 [n], the inverse of `unpack`.

    corrections uint8   all deviations from the strategy, see `deviations`
    out uint8           gets the segment; it must have room for two bytes of each in plane and one of each correction

    Returns its length; -1 if a correction is wrong.
    """
    size, n, w, r, end = plane.shape[0], 0, 0, 0, corrections.shape[0]
    left: Any = -1  # headers until the next deviation; -1 if there is none
    while n < size:
        if left < 0 and r < end:
            left, shift = 0, 0
            while r < end and corrections[r] >= 128 and shift < 49:
                left |= np.int64(corrections[r] & 127) << shift
                shift += 7
                r += 1
            if end - r < 2 or corrections[r] >= 128:
                return -1
            left |= np.int64(corrections[r]) << shift
            r += 1
        header: Any = 0
        if left == 0:
            header = np.int64(corrections[r])
            r += 1
        else:
            header = np.int64(_header(plane, n, width, strategy))
        left = max(left - 1, -1)
        out[w] = header
        w += 1
        if header < NOTHING:
            if header >= size - n:
                return -1
            for i in range(header + 1):
                out[w + i] = plane[n + i]
            n += header + 1
            w += header + 1
        elif header > NOTHING:
            if 257 - header > _alike(plane, n, min(size, n + 128)):
                return -1
            out[w] = plane[n]
            w += 1
            n += 257 - header
    return w if r == end and left < 0 else -1
