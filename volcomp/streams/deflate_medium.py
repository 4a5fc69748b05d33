"""The matches that zlib-ng finds with its levels 1 to 6, which are not those of zlib.

Not every position is indexed, and a position may be indexed before its turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import part
from ..runtime.words import word16, word32, word64
from .deflate_match import equal, key
from .deflate_model import DISTANCE, END, FAST, LENGTH, LONG, MARGIN, MEDIUM, ORIGIN, POSITION, QUICK, Search

LEAST = 4  # bytes of a match
FIRST_PATIENT = 32  # levels that try fewer positions stop at the first match that is not longer than the one before


@part
def _insert(raw: np.ndarray, search: Search, at: Any) -> Any:
    """Index a position; return the last one with its hash, which may be itself."""
    k = np.uint64(key(raw, search, at))
    before = np.int64(search.head[k])
    if before != at:
        search.chain[np.uint64(at & (search.chain.shape[0] - 1))] = before
        search.head[k] = at
    return before


@part
def _insert_all(raw: np.ndarray, search: Search, begin: Any, end: Any) -> None:
    for at in range(begin, end):
        _insert(raw, search, at)


@part
def _longest(raw: np.ndarray, search: Search, at: Any, c: Any) -> tuple[Any, Any]:
    """Find the longest match from candidate c on. Returns 1 and 0 where there is none of LEAST bytes."""
    rest = search.state[END] - at
    none = at * 0 + 1, at * 0
    if rest < LEAST or c == 0 or c >= at or at - c > search.farthest:
        return none
    limit = at - search.farthest
    if limit < 0:
        limit *= 0
    best, found = at * 0 + 2, at * 0
    most = 258 if rest > 258 else rest
    tries = search.tries + 0
    mask = search.chain.shape[0] - 1
    while best < most:
        if best < 4:
            same = word16(raw, c + best - 1) == word16(raw, at + best - 1) and word16(raw, c) == word16(raw, at)
        elif best < 8:
            same = word32(raw, c + best - 3) == word32(raw, at + best - 3) and word32(raw, c) == word32(raw, at)
        else:
            same = word64(raw, c + best - 7) == word64(raw, at + best - 7) and word64(raw, c) == word64(raw, at)
        if same:
            n = equal(raw, c, at, at * 0 + 2, most)
            if n > best:
                best, found = n, at - c
                if n >= search.nice:
                    break
            elif search.tries < FIRST_PATIENT:
                break
        tries -= 1
        if tries <= 0:
            break
        c = np.int64(search.chain[np.uint64(c & mask)])
        if c <= limit or c >= at:
            break
    return (best, found) if best >= LEAST else none


@part
def _quick(raw: np.ndarray, search: Search, at: Any) -> tuple[Any, Any]:
    """Find a match with the one candidate."""
    rest = search.state[END] - at
    if search.way == LONG and search.state[LENGTH] == 258:
        before = search.state[DISTANCE]
        search.state[LENGTH] = -1
        n = equal(raw, at - before, at, at * 0, 258 if rest > 258 else rest)
        if n >= LEAST:
            search.state[LENGTH], search.state[DISTANCE] = n, before
            return n, before
    if rest >= LEAST:
        c = _insert(raw, search, at)
        if 0 < at - c <= search.farthest:
            n = equal(raw, c, at, at * 0, 258 if rest > 258 else rest)
            if n >= LEAST:
                if search.way == LONG:
                    search.state[LENGTH], search.state[DISTANCE] = n, at - c
                return n, at - c
    return at * 0 + 1, at * 0


@part
def _take(raw: np.ndarray, search: Search, at: Any, length: Any, origin: Any) -> None:
    """Index the positions of a match at `at`, which was found at `origin` and moved to the left from there."""
    rest = search.state[END] - at
    if rest <= length + LEAST or length < LEAST:
        return
    if length <= 16 * search.lazy:
        begin = at + 1
        _insert_all(raw, search, begin if begin >= origin else origin, at + length)
    else:
        _insert(raw, search, at + length - 1)


@part
def _medium(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
    """Find a match, and the one after it. The second takes over the first, if it reaches so far to the left."""
    state = search.state
    at = state[POSITION]
    while True:
        length, distance, origin = state[LENGTH], state[DISTANCE], state[ORIGIN]
        state[LENGTH] = -1
        if length < 0:
            origin = at
            length, distance = at * 0 + 1, at * 0
            if state[END] - at >= LEAST:
                length, distance = _longest(raw, search, at, _insert(raw, search, at))
        _take(raw, search, at, length, origin)
        if search.tries < FIRST_PATIENT or state[END] - at <= MARGIN:
            return length, distance
        then = at + length
        following, other = _longest(raw, search, then, _insert(raw, search, then))
        moved = _moved(raw, search, length, then, following, other)
        state[LENGTH], state[DISTANCE] = following + moved, other
        state[ORIGIN] = then + (moved > 0)
        if length > moved:
            return length - moved, (distance if moved == 0 else at * 0)


@part
def _moved(raw: np.ndarray, search: Search, length: Any, then: Any, following: Any, distance: Any) -> Any:
    """Return by how many bytes the match at `then` is moved to the left, if this leaves a literal or nothing."""
    moved = length * 0
    start = then - distance
    if following < LEAST or length <= 1 or length > 1 + start:
        return moved
    if raw[np.uint64(start - length + 1)] != raw[np.uint64(then - length + 1)]:
        return moved
    limit = then - search.farthest if then > search.farthest else then * 0
    while (
        raw[np.uint64(start - moved - 1)] == raw[np.uint64(then - moved - 1)] and length > moved
        and then - moved > limit and following + moved < 256 and start - moved > 1
    ):  # fmt: skip
        moved += 1
    return moved if length - moved <= 1 else moved * 0


@part
def predict_medium(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
    """Return the next symbol; see `predict_zlib`."""
    at = search.state[POSITION]
    if search.way in (QUICK, LONG):
        return _quick(raw, search, at)
    if search.way == MEDIUM:
        return _medium(raw, search)
    if search.state[END] - at < LEAST:
        return at * 0 + 1, at * 0
    return _longest(raw, search, at, _insert(raw, search, at))


@part
def advance_medium(raw: np.ndarray, search: Search, length: Any) -> None:
    """Step over a symbol."""
    state = search.state
    at = state[POSITION]
    state[POSITION] += length
    if search.way in (QUICK, LONG):
        stop = length if length < search.lazy else search.lazy + 0
        if state[END] - at - length >= LEAST:
            _insert_all(raw, search, at + 1, at + stop)
    elif search.way == FAST and length > 1:
        if length <= search.lazy and state[END] - at - length >= LEAST:
            _insert_all(raw, search, at + 1, at + length)
        else:
            _insert(raw, search, at + length - 1)
