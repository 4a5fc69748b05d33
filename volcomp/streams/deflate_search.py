"""Which settings of zlib made a stream: those whose symbols differ least from the stream's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .deflate_match import MARGIN, differences, search
from .deflate_read import COUNT, FINISH, KIND
from .deflate_tables import (
    DEFAULT,
    DYNAMIC,
    FILTERED,
    FIRST_LAZY,
    FIXED_CODES,
    HUFFMAN,
    RUNS,
    STORED,
    Settings,
)  # fmt: skip

FIRST_LOOK = 1 << 16  # bytes on which all settings are compared; each further look has eight times as many
KEPT = 3  # settings that stay for the next look
UNEVEN, FEW = 4, 64  # the first bytes may have this many times their share of the differences, and some more
USUAL = (6, 9, 1, 5, 4, 7, 8, 3, 2)  # levels, the most frequent first


class Symbols(NamedTuple):
    """The symbols of a stream, by the positions of the bytes where they begin.

    raw uint8 [n]
    lengths, distances uint16 [n]   as of `deflate_read.read`
    blocks int64 [m, 6]             likewise
    """

    raw: np.ndarray
    lengths: np.ndarray
    distances: np.ndarray
    blocks: np.ndarray


class Difference(NamedTuple):
    """How the symbols of a stream differ from those of some settings.

    at int64     positions of symbols to overrule
    many         whether there are more than were asked for
    ends int64   where the settings' blocks are full
    """

    at: np.ndarray
    many: bool
    ends: np.ndarray


def compare(stream: Symbols, settings: Settings, most: int, end: int) -> Difference:
    """Compare the symbols of bytes 0 … end - 1 with those of settings; stop after `most` differences."""
    stored = stream.blocks[stream.blocks[:, KIND] == STORED, FINISH]
    stops = np.append(stored, stream.raw.size)
    found = np.zeros(most, np.int64)
    ends = np.zeros(end // settings.block + 1, np.int64)
    # What it changes are symbols in stored blocks, where the stream states none.
    count, full = differences(
        stream.raw, search(settings), stream.lengths, stream.distances, stops, end, found, settings.block, ends
    )
    return Difference(found[: min(count, most)], count > most, ends[:full])


def _memories(blocks: np.ndarray) -> tuple[int, ...]:
    """Return the values of memLevel that the sizes of blocks allow."""
    for block in blocks[:-1]:
        size = int(block[COUNT]) + 1
        if block[KIND] != STORED and 128 <= size <= 32768 and size & (size - 1) == 0:
            return (size.bit_length() - 7,)
    least = max(1, int(blocks[:, COUNT].max()).bit_length() - 6)
    return tuple(memory for memory in (8, 9, *range(7, 0, -1)) if memory >= least)


def _candidates(stream: Symbols) -> Iterator[Settings]:
    """Generate the settings that may have made a stream, the most frequent first."""
    kinds = stream.blocks[:, KIND]
    known = stream.lengths
    fixed = DEFAULT if (kinds == DYNAMIC).any() else FIXED_CODES
    memories = _memories(stream.blocks)
    if (kinds == STORED).all():
        yield Settings(0, 8, 15, DEFAULT)
        return
    matches = known > 1
    if not matches.any():
        yield from (Settings(6, memory, 15, HUFFMAN) for memory in memories)
        farthest, short = 1, False
    else:
        farthest = int(stream.distances.max(where=matches, initial=0)) + 1
        short = bool((matches & (known <= 5)).any())
    if farthest == 1:
        yield from (Settings(6, memory, 15, RUNS) for memory in memories)
    least = next((bits for bits in range(9, 15) if farthest <= (1 << bits) - MARGIN), 15)
    windows = [15]
    if stream.raw.size > (1 << least) - MARGIN and least < 15:
        windows.append(least)
    for window in windows:
        for memory in memories:
            yield from (Settings(level, memory, window, fixed) for level in USUAL)
            if not short:  # filtered data have no short matches
                yield from (Settings(level, memory, window, FILTERED) for level in USUAL if level >= FIRST_LAZY)


def choose(stream: Symbols, most: int) -> tuple[Settings, Difference] | None:
    """Find the settings that differ least from a stream, and how; None where all differ in more than `most` symbols."""
    left = list(_candidates(stream))
    size = stream.raw.size
    for candidate in left:
        if size <= FIRST_LOOK or not compare(stream, candidate, 0, FIRST_LOOK).many:
            difference = compare(stream, candidate, 0, size)
            if not difference.many:
                return candidate, difference
    end = FIRST_LOOK
    while len(left) > 1 and end < size:
        least = UNEVEN * most * end // size + FEW
        counted = []
        for candidate in left:
            difference = compare(stream, candidate, least, end)
            if not difference.many:
                least = min(least, difference.at.size + difference.at.size // 8 + 1)
                counted.append((difference.at.size, candidate))
        # Settings may differ late only, so that those which are almost as good stay.
        left = [candidate for _, candidate in sorted(counted, key=lambda pair: pair[0])[:KEPT]]
        end *= 8
    best = None
    for candidate in left:
        difference = compare(stream, candidate, most, size)
        if not difference.many and (best is None or difference.at.size < best[1].at.size):
            best, most = (candidate, difference), difference.at.size
            if most == 0:
                break
    return best
