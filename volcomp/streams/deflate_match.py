"""The matches that zlib finds, for all its settings: literals and matches, one after the other.

The index of earlier positions is a hash table of their first bytes, with chains of the positions of each hash. What
`predict` finds may be overruled, where an encoder differs in few symbols; the search goes on from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import part
from ..runtime.words import first_byte, word16, word32, word64
from .deflate_model import (
    DISTANCE,
    END,
    FOUR,
    GREEDY,
    INDEXED,
    LAZY,
    LENGTH,
    LITERALS,
    POSITION,
    REPEATS,
    SHIFTED,
    Search,
)  # fmt: skip


def _table() -> np.ndarray:
    """Return the CRC-32C of every byte (the polynomial of Castagnoli, bits reversed)."""
    values = np.arange(256, dtype=np.int64)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ 0x82F63B78, values >> 1)
    return values


_CRC = _table()


@part
def equal(raw: np.ndarray, a: Any, b: Any, n: Any, most: Any) -> Any:
    """Count the bytes that are equal at a and b > a, `most` at most; n of them are known to be."""
    size = raw.shape[0]
    while n < most and b + n + 8 <= size:
        other = word64(raw, a + n) ^ word64(raw, b + n)
        if other != 0:
            n += first_byte(other)
            return n if n < most else most
        n += 8
    while n < most and raw[np.uint64(a + n)] == raw[np.uint64(b + n)]:
        n += 1
    return n if n < most else most


@part
def first_four(raw: np.ndarray, at: Any) -> Any:
    """Return four bytes as a number, the first one lowest; zeros follow the end."""
    if at + 4 <= raw.shape[0]:
        return word32(raw, at)
    value = np.int64(0)
    for n in range(raw.shape[0] - at):
        value |= np.int64(raw[np.uint64(at + n)]) << (8 * n)
    return value


@part
def key(raw: np.ndarray, search: Search, at: Any) -> Any:
    """Compute the hash of a position."""
    word = first_four(raw, at)
    if search.hash == SHIFTED:
        shift = (search.bits + 2) // 3
        word = (word & 255) << (2 * shift) ^ (word >> 8 & 255) << shift ^ (word >> 16 & 255)
        return word & ((1 << search.bits) - 1)
    if search.hash == FOUR:
        return (word * 2654435761 & 0xFFFFFFFF) >> (32 - search.bits)
    crc = np.int64(0)
    for _ in range(4):
        crc = crc >> 8 ^ _CRC[np.uint64((crc ^ word) & 255)]
        word >>= 8
    return crc & ((1 << search.bits) - 1)


@part
def _index(raw: np.ndarray, search: Search, end: Any) -> None:
    """Index all positions before `end` that are not yet."""
    size = search.chain.shape[0] - 1
    at = search.state[INDEXED]
    last = raw.shape[0] - 2 if raw.shape[0] - 2 < end else end
    while at < last:
        k = np.uint64(key(raw, search, at))
        search.chain[np.uint64(at & size)] = search.head[k]
        search.head[k] = at
        at += 1
    search.state[INDEXED] = end


@part
def _longest(raw: np.ndarray, search: Search, at: Any, best: Any) -> tuple[Any, Any]:
    """Find a match at an indexed position that is longer than `best`. Returns its length, or best, and its distance."""
    rest = search.state[END] - at
    mask = search.chain.shape[0] - 1
    found = at * 0
    if rest < 3 or best >= rest:
        return best, found
    c = np.int64(search.chain[np.uint64(at & mask)])
    limit = at - search.farthest
    if limit < 0:
        limit *= 0
    if c == 0 or c < limit:
        return best, found
    tries = search.tries >> 2 if best >= search.good else search.tries + 0
    most = 258 if rest > 258 else rest
    nice = search.nice if search.nice < rest else rest
    chain = search.chain
    if best < 3:  # any match will do, and the next ones must be longer
        last = word16(raw, at + 1)
        while last != word16(raw, c + 1) or raw[np.uint64(c)] != raw[np.uint64(at)]:
            c = np.int64(chain[np.uint64(c & mask)])
            tries -= 1
            if c <= limit or tries <= 0:
                return best, found
        best, found = equal(raw, c, at, at * 0 + 3, most), at - c
        if best >= nice:
            return best, found
        c = np.int64(chain[np.uint64(c & mask)])
        tries -= 1
        if c <= limit or tries <= 0:
            return best, found
    while True:
        # The last four bytes of a longer match are compared first.
        back = best - 3
        last = word32(raw, at + back)
        while last != word32(raw, c + back):
            c = np.int64(chain[np.uint64(c & mask)])
            tries -= 1
            if c <= limit or tries <= 0:
                return best, found
        n = equal(raw, c, at, at * 0, most)
        if n > best:
            best, found = n, at - c
            if n >= nice:
                return best, found
        c = np.int64(chain[np.uint64(c & mask)])
        tries -= 1
        if c <= limit or tries <= 0:
            return best, found


@part
def _worth(search: Search, length: Any, distance: Any) -> Any:
    """Return whether zlib's lazy matching keeps a match that it found."""
    return length > search.short and not (length == 3 and distance > search.far)


@part
def _repeats(raw: np.ndarray, at: Any) -> Any:
    """Count how often the byte before a position is repeated from there on; 0 for fewer than three."""
    n = at * 0
    if at > 0:
        while n < 258 and at + n < raw.shape[0] and raw[at + n] == raw[at - 1]:
            n += 1
    return n if n >= 3 else n * 0


@part
def predict_zlib(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
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
def advance_zlib(raw: np.ndarray, search: Search, length: Any) -> None:
    """Step over a symbol."""
    state = search.state
    state[POSITION] += length
    if search.way == LAZY:
        if length > 1:
            _index(raw, search, state[POSITION])
    elif search.way == GREEDY and length > 1:
        if length <= search.lazy and state[END] - state[POSITION] >= 3:
            _index(raw, search, state[POSITION])
        state[INDEXED] = state[POSITION]


@part
def index_all(raw: np.ndarray, search: Search) -> None:
    """Index every position of the window anew, as zlib does with a preset dictionary."""
    state = search.state
    search.head[:] = 0
    begin = state[POSITION] - search.chain.shape[0]
    state[INDEXED] = begin if begin > 0 else 0
    _index(raw, search, state[POSITION])
