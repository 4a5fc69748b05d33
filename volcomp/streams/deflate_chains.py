"""The matches that libdeflate finds with its levels 1 to 9.

Four bytes have chains of positions, three bytes the last position alone. How long a match must be is decided for each
block, from how many bytes of all values are literals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import part
from ..runtime.words import word32
from .deflate_match import equal
from .deflate_model import (
    AGAIN,
    BEGIN,
    DISTANCE,
    FIRST,
    INDEXED,
    LEAST,
    LENGTH,
    LITERAL,
    PAIRS,
    POSITION,
    SECOND,
    Search,
)  # fmt: skip

PRODUCT = 0x1E35A7BD  # of the hashes
NEEDED = 5  # bytes from a position on, for it to be searched or indexed
SAMPLE, SMALL, OFTEN = 4096, 512, 10000  # bytes of a block
# With at least so many literals of different values, matches have a length of 9, 8, … 3 at least.
STEPS = np.array([0, 6, 8, 10, 16, 45, 80], np.int64)


@part
def _hash(word: Any, bits: Any) -> Any:
    return (word * PRODUCT & 0xFFFFFFFF) >> (32 - bits)


@part
def _index(raw: np.ndarray, search: Search, end: Any) -> None:
    """Index all positions before `end` that are not yet."""
    state = search.state
    at = state[INDEXED]
    last = raw.shape[0] - NEEDED + 1 if raw.shape[0] - NEEDED + 1 < end else end
    mask = search.chain.shape[0] - 1
    while at < last:
        word = word32(raw, at)
        k = np.uint64(_hash(word, search.bits))
        if search.way == PAIRS:
            search.third[k] = search.head[k]
        else:
            search.chain[np.uint64(at & mask)] = search.head[k]
            search.third[np.uint64(_hash(word & 0xFFFFFF, 15))] = at
        search.head[k] = at
        at += 1
    state[INDEXED] = end


@part
def _longest(
    raw: np.ndarray, search: Search, at: Any, best: Any, nice: Any, tries: Any
) -> tuple[Any, Any]:  # fmt: skip
    """Find a match at a position that is longer than `best`. Returns its length, or best, and its distance."""
    rest = raw.shape[0] - at
    found = at * 0
    _index(raw, search, at)
    if rest < NEEDED:
        return best, found
    most = 258 if rest > 258 else rest
    limit = at - search.farthest - 1
    word = word32(raw, at)
    c = np.int64(search.head[np.uint64(_hash(word, search.bits))])
    mask = search.chain.shape[0] - 1
    while c >= at:  # where a prediction was overruled, later positions may be indexed
        c = np.int64(search.chain[np.uint64(c & mask)])
    if best < 4:
        short = np.int64(search.third[np.uint64(_hash(word & 0xFFFFFF, 15))])
        if short <= limit:
            return best, found
        if best < 3 and short < at and word32(raw, short) & 0xFFFFFF == word & 0xFFFFFF:
            best, found = at * 0 + 3, at - short
    if c <= limit or best >= nice:
        return best, found
    while True:
        if word32(raw, c) == word and (best < 4 or word32(raw, c + best - 3) == word32(raw, at + best - 3)):
            n = equal(raw, c, at, at * 0 + 4, most)
            if n > best:
                best, found = n, at - c
                if n >= nice:
                    break
        c = np.int64(search.chain[np.uint64(c & mask)])
        tries -= 1
        if c <= limit or tries <= 0:
            break
    return best, found


@part
def _pair(raw: np.ndarray, search: Search, at: Any) -> tuple[Any, Any]:
    """Find a match with the last two positions."""
    rest = raw.shape[0] - at
    best, found = at * 0 + 1, at * 0
    _index(raw, search, at)
    if rest < NEEDED:
        return best, found
    most = 258 if rest > 258 else rest
    nice = search.nice if search.nice < most else most
    word = word32(raw, at)
    k = np.uint64(_hash(word, search.bits))
    c, other = np.int64(search.head[k]), np.int64(search.third[k])
    limit = at - search.farthest - 1
    if c <= limit:
        return best, found
    if word32(raw, c) == word:
        best, found = equal(raw, c, at, at * 0 + 4, most), at - c
    if other > limit and best < nice and word32(raw, other) == word:
        n = equal(raw, other, at, at * 0 + 4, most)
        if n > best:
            best, found = n, at - other
    return best, found


@part
def _least(values: Any, tries: Any) -> Any:
    """Return the shortest length of a match from the number of literals of different values."""
    length = values * 0 + 9
    for n in range(1, STEPS.shape[0]):
        length -= values >= STEPS[n]
    most = 4 if tries < 5 else 5 if tries < 10 else 7 if tries < 16 else 9
    return length if length < most else most


@part
def begin_block(raw: np.ndarray, search: Search) -> None:
    """Begin a block: count the values of its first bytes."""
    state, counts = search.state, search.counts
    at = state[POSITION]
    rest = raw.shape[0] - at
    counts[:] = 0
    for n in range(SAMPLE if rest > SAMPLE else rest):
        counts[np.uint64(raw[np.uint64(at + n)])] = 1
    values = at * 0
    for n in range(256):
        values += counts[n]
        counts[n] = 0
    state[LEAST] = _least(values, search.tries) if rest >= SMALL else 3
    state[BEGIN] = at
    state[AGAIN] = at + (OFTEN if rest > OFTEN else rest)


@part
def _look_again(raw: np.ndarray, search: Search, at: Any) -> None:
    """Decide anew how long matches must be, from the literals of the block so far but the rarest."""
    state, counts = search.state, search.counts
    total, values = at * 0, at * 0
    for n in range(256):
        total += counts[n]
    for n in range(256):
        values += counts[n] > total >> 10
    state[LEAST] = _least(values, search.tries)
    rest = raw.shape[0] - state[AGAIN]
    state[AGAIN] += at - state[BEGIN] if at - state[BEGIN] < rest else rest


@part
def _log(n: Any) -> Any:
    """Return the logarithm of a distance, rounded down."""
    bits = n * 0
    while n > 1:
        n >>= 1
        bits += 1
    return bits


@part
def predict_chains(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
    """Return the next symbol; see `predict_zlib`."""
    state = search.state
    at = state[POSITION]
    literal = at * 0 + 1, at * 0
    if search.way == PAIRS:
        return _pair(raw, search, at)
    if state[LITERAL] > 0:
        state[LITERAL] -= 1
        return literal
    rest = raw.shape[0] - at
    nice = search.nice if search.nice < rest else rest
    length, distance = state[LENGTH], state[DISTANCE]
    if length < 0:
        if search.way != FIRST and at >= state[AGAIN]:
            _look_again(raw, search, at)
        least = state[LEAST]
        length, distance = _longest(raw, search, at, least - 1, nice, search.tries + 0)
        if length < least or (length == 3 and distance > search.far):
            return literal
    state[LENGTH] = -1
    if search.way == FIRST or length >= nice:
        return length, distance
    for step in range(1, 3 if search.way == SECOND else 2):
        rest -= 1
        nice = search.nice if search.nice < rest else rest
        longer, other = _longest(raw, search, at + step, length - 1, nice, search.tries >> step)
        if longer >= length and 4 * (longer - length) + _log(distance) - _log(other) > 4 * step - 2:
            state[LENGTH], state[DISTANCE] = longer, other
            state[LITERAL] = step - 1
            return literal
    return length, distance


@part
def advance_chains(raw: np.ndarray, search: Search, length: Any) -> None:
    """Step over a symbol."""
    state = search.state
    if length == 1:
        search.counts[np.uint64(raw[np.uint64(state[POSITION])])] += 1
    state[POSITION] += length
