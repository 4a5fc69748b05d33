"""The matches that zlib finds, for all its settings: bytes to symbols, which are literals and matches.

The index of earlier positions is a hash table of their first three bytes, with chains of the positions of each hash.
A symbol may be overruled, where an encoder differs from zlib in few symbols; the search goes on from there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import entry, part
from .deflate_tables import FILTERED, FIRST_LAZY, HUFFMAN, LEVELS, RUNS, Settings

GREEDY, LAZY, LITERALS, REPEATS = range(4)  # ways to search
MARGIN = 262  # the window is this much larger than the longest distance
FAR = 4096  # matches of three bytes are not worth a longer distance
POSITION, INDEXED, LENGTH, DISTANCE = range(4)  # the state; LENGTH is -1 where the match at POSITION is not known yet


class Search(NamedTuple):
    """The index and the settings of a search.

    head int32 [hashes]   the last position with each hash; 0 means none, so that position 0 is never found
    chain int32 [window]  the position before it with the same hash
    state int64 [4]       see above
    """

    head: np.ndarray
    chain: np.ndarray
    state: np.ndarray
    way: int
    shift: int
    good: int
    lazy: int
    nice: int
    tries: int
    filtered: bool


def search(settings: Settings) -> Search:
    """Begin a search at position 0."""
    bits = settings.memory + 7
    level = LEVELS[settings.level]
    way = GREEDY if settings.level < FIRST_LAZY else LAZY
    if settings.level == 0 or settings.strategy == HUFFMAN:
        way = LITERALS
    elif settings.strategy == RUNS:
        way = REPEATS
    indexed = way in (GREEDY, LAZY)
    return Search(
        np.zeros(1 << bits if indexed else 1, np.int32), np.zeros(1 << settings.window if indexed else 1, np.int32),
        np.array([0, 0, -1, 0], np.int64), way, (bits + 2) // 3, *level, settings.strategy == FILTERED,
    )  # fmt: skip


@part
def _index(raw: np.ndarray, search: Search, end: Any) -> None:
    """Index all positions before `end` that are not yet."""
    mask, size = search.head.shape[0] - 1, search.chain.shape[0] - 1
    at = search.state[INDEXED]
    shift = search.shift
    last = raw.shape[0] - 2
    while at < end and at < last:
        first, second = np.int64(raw[np.uint64(at)]), np.int64(raw[np.uint64(at + 1)])
        key = np.uint64((first << (2 * shift) ^ second << shift ^ np.int64(raw[np.uint64(at + 2)])) & mask)
        search.chain[np.uint64(at & size)] = search.head[key]
        search.head[key] = at
        at += 1
    search.state[INDEXED] = end


@part
def _longest(raw: np.ndarray, search: Search, at: Any, best: Any) -> tuple[Any, Any]:
    """Find a match at an indexed position that is longer than `best`. Returns its length, or best, and its distance."""
    rest = raw.shape[0] - at
    size = search.chain.shape[0]
    found = at * 0
    if rest < 3 or best >= rest:
        return best, found
    c = np.int64(search.chain[np.uint64(at & (size - 1))])
    limit = at - (size - MARGIN)
    if limit < 0:
        limit *= 0
    if c == 0 or c < limit:
        return best, found
    tries = search.tries >> 2 if best >= search.good else search.tries
    most = 258 if rest > 258 else rest
    nice = search.nice if search.nice < rest else rest
    last, before = raw[np.uint64(at + best)], raw[np.uint64(at + best - 1)]
    while True:
        if raw[np.uint64(c + best)] == last and raw[np.uint64(c + best - 1)] == before:
            n = at * 0
            while n < most and raw[np.uint64(c + n)] == raw[np.uint64(at + n)]:
                n += 1
            if n > best:
                best, found = n, at - c
                if n >= nice:
                    break
                last, before = raw[np.uint64(at + best)], raw[np.uint64(at + best - 1)]
        tries -= 1
        if tries == 0:
            break
        c = np.int64(search.chain[np.uint64(c & (size - 1))])
        if c <= limit:
            break
    return best, found


@part
def _worth(search: Search, length: Any, distance: Any) -> Any:
    """Return whether zlib's lazy matching keeps a match that it found."""
    return not (length <= 5 and (search.filtered or (length == 3 and distance > FAR)))


@part
def _repeats(raw: np.ndarray, at: Any) -> Any:
    """Count how often the byte before a position is repeated from there on; 0 for fewer than three."""
    n = at * 0
    if at > 0:
        while n < 258 and at + n < raw.shape[0] and raw[at + n] == raw[at - 1]:
            n += 1
    return n if n >= 3 else n * 0


@part
def predict(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
    """Return the next symbol, 1 and 0 for a literal, otherwise the length and the distance of a match."""
    state = search.state
    at = state[POSITION]
    if search.way == LITERALS:
        return at * 0 + 1, at * 0
    if search.way == REPEATS:
        n = _repeats(raw, at)
        return (n, at * 0 + 1) if n else (n + 1, at * 0)
    length, distance = state[LENGTH], state[DISTANCE]
    if length < 0:
        _index(raw, search, at + 1)
        length, distance = _longest(raw, search, at, at * 0 + 2)
        if search.way == LAZY and not _worth(search, length, distance):
            length = at * 0 + 2
    state[LENGTH] = -1
    if length < 3:
        return at * 0 + 1, at * 0
    if search.way == LAZY and length < search.lazy:
        _index(raw, search, at + 2)
        longer, other = _longest(raw, search, at + 1, length)
        if longer > length and _worth(search, longer, other):
            state[LENGTH], state[DISTANCE] = longer, other
            return at * 0 + 1, at * 0
    return length, distance


@part
def advance(raw: np.ndarray, search: Search, length: Any) -> None:
    """Step over a symbol."""
    state = search.state
    state[POSITION] += length
    if search.way == LAZY:
        if length > 1:
            _index(raw, search, state[POSITION])
    elif search.way == GREEDY and length > 1:
        if length <= search.lazy and raw.shape[0] - state[POSITION] >= 3:
            _index(raw, search, state[POSITION])
        state[INDEXED] = state[POSITION]


@entry
def differences(
    raw: np.ndarray, search: Search, lengths: np.ndarray, distances: np.ndarray, stops: np.ndarray, end: int,
    found: np.ndarray, block: int, ends: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Compare the symbols of a stream with those predicted, up to position `end`; follow the stream where they differ.

    lengths, distances uint16 [n]   of the symbol at each position, the distance less 1; a length of 0 is not known, as
                                    in stored blocks, and then the prediction holds
    stops int64                     where stored blocks end, ascending; the last one is n
    found int64 [most]              the positions that differ. Where there are more, counting stops
    block                           symbols that fill a block
    ends int64 [m]                  where blocks are full

    Returns how many differ and how many blocks are full.
    """
    state = search.state
    count = full = stop = symbols = 0
    while state[POSITION] < end:
        at = state[POSITION]
        length, distance = predict(raw, search)
        actual, other = np.int64(lengths[at]), np.int64(distances[at]) + 1
        if actual == 0:
            while stops[stop] <= at:
                stop += 1
            actual, other = (length, distance) if at + length <= stops[stop] else (length * 0 + 1, distance * 0)
        if actual != length or (length > 1 and other != distance):
            if count == found.shape[0]:
                return count + 1, full
            found[count] = at
            count += 1
            lengths[at], distances[at] = actual, other - 1 if actual > 1 else actual * 0
            state[LENGTH] = -1
        advance(raw, search, actual)
        symbols += 1
        # The last literal of a stream does not fill a block, with lazy matching.
        if symbols == block and not (search.way == LAZY and actual == 1 and state[POSITION] == raw.shape[0]):
            symbols = 0
            ends[full] = state[POSITION]
            full += 1
    return count, full


@entry
def symbols(
    raw: np.ndarray, search: Search, forced: np.ndarray, next_forced: int, end: int, lengths: np.ndarray,
    distances: np.ndarray,
) -> tuple[int, int, bool]:  # fmt: skip
    """Find the symbols of a block.

    forced int64 [3, m]      where symbols are overruled, ascending, the length, and the distance; from `next_forced` on
    end                      where the block ends at the latest
    lengths uint16 [most]    the lengths: 1 for a literal. The block ends with the last one
    distances uint16 [most]  the distances; the byte for a literal

    Returns the number of symbols, the new `next_forced`, and whether the block is full; it is -1, where a symbol makes
    no sense or goes beyond the end.
    """
    state = search.state
    count = 0
    full = False
    while state[POSITION] < end and not full:
        at = state[POSITION]
        length, distance = predict(raw, search)
        if next_forced < forced.shape[1] and forced[0, next_forced] == at:
            length, distance = forced[1, next_forced], forced[2, next_forced]
            state[LENGTH] = -1
            next_forced += 1
            if length > 1:
                if distance > at or at + length > raw.shape[0]:
                    return -1, next_forced, full
                for n in range(at, at + length):
                    if raw[n] != raw[n - distance]:
                        return -1, next_forced, full
        if at + length > end:
            return -1, next_forced, full
        advance(raw, search, length)
        lengths[count], distances[count] = length, distance if length > 1 else np.int64(raw[at])
        count += 1
        full = count == lengths.shape[0] and not (
            search.way == LAZY and length == 1 and state[POSITION] == raw.shape[0]
        )
    return count, next_forced, full
