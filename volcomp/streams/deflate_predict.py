"""The symbols that a search predicts, whatever its way; compared with those of a stream, or made to be written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from . import deflate_corrections
from .deflate_chains import advance_chains, begin_block, predict_chains
from .deflate_corrections import Code, correct
from .deflate_match import advance_zlib, index_all, predict_zlib
from .deflate_medium import advance_medium, predict_medium
from .deflate_model import END, GREEDY, LAZY, LENGTH, LITERAL, PAIRS, POSITION, QUICK, SEGMENT, Search


@part
def predict(raw: np.ndarray, search: Search) -> tuple[Any, Any]:
    """Return the next symbol, 1 and 0 for a literal, otherwise the length and the distance of a match."""
    if search.way < QUICK:
        return predict_zlib(raw, search)
    if search.way < PAIRS:
        return predict_medium(raw, search)
    return predict_chains(raw, search)


@part
def overrule(search: Search) -> None:
    """Forget what was found for later positions: another symbol comes than was predicted."""
    search.state[LENGTH], search.state[LITERAL] = -1, 0


@part
def advance(raw: np.ndarray, search: Search, length: Any) -> None:
    """Step over a symbol."""
    if search.way < QUICK:
        advance_zlib(raw, search, length)
    elif search.way < PAIRS:
        advance_medium(raw, search, length)
    else:
        advance_chains(raw, search, length)


@part
def begin(raw: np.ndarray, search: Search) -> None:
    """Begin a block at the position of the search."""
    if search.way > PAIRS:
        begin_block(raw, search)


@part
def _next_segment(raw: np.ndarray, search: Search) -> None:
    """Begin the segment at the position of the search: no match goes beyond the end of one."""
    state = search.state
    while state[END] == state[POSITION] and state[SEGMENT] + 1 < search.segments.shape[0]:
        state[SEGMENT] += 1
        state[END] = search.segments[state[SEGMENT]]
        if search.way == GREEDY and search.anew:
            index_all(raw, search)


@entry
def differences(
    raw: np.ndarray, search: Search, base: int, lengths: np.ndarray, distances: np.ndarray, stops: np.ndarray,
    begins: np.ndarray, end: int, found: np.ndarray, block: int, ends: np.ndarray, counted: np.ndarray, code: Code,
) -> int:  # fmt: skip
    """Compare the symbols of a stream with those predicted, up to position `end`; follow the stream where they differ.

    lengths, distances uint16 [n]   of the symbol that begins at each position from `base` on, the distance less 1;
                                    where the length is 0, as in stored blocks, the prediction holds and is written
    stops int64                     where stored blocks end, ascending; the last one is not before `end`
    begins int64                    where blocks begin, ascending, from the position of the search on
    found int64 [3, most]           becomes positions that differ, and the lengths and distances there. Where there are
                                    more, counting stops
    block                           symbols that fill a block
    ends int64 [m]                  becomes where blocks are full
    counted int64 [2]               symbols since a block was full, and how many were; goes on from there
    code                            becomes the corrections; nothing is coded if it has no room

    Returns how many symbols differ, or one more than `found` has room for.
    """
    state = search.state
    count = stop = start = 0
    symbols, full = counted[0], counted[1]
    coded = code.data.shape[0] > 0
    while state[POSITION] < end:
        at = state[POSITION]
        if at == state[END]:
            _next_segment(raw, search)
        while start < begins.shape[0] and begins[start] == at:
            begin(raw, search)
            start += 1
        length, distance = predict(raw, search)
        actual, other = np.int64(lengths[at - base]), np.int64(distances[at - base]) + 1
        if actual == 0:
            while stops[stop] <= at:
                stop += 1
            actual, other = (length, distance) if at + length <= stops[stop] else (length * 0 + 1, distance * 0)
            lengths[at - base], distances[at - base] = actual, other - 1 if actual > 1 else actual * 0
        if actual == 1:
            other = actual * 0
        if coded:
            correct(code, True, length, distance, actual, other)
            if code.state[deflate_corrections.AT] > code.data.shape[0]:
                return found.shape[1] + 1
        if actual != length or (length > 1 and other != distance):
            if not coded:
                if count == found.shape[1]:
                    return count + 1
                found[0, count], found[1, count], found[2, count] = at, actual, other
            count += 1
            overrule(search)
        advance(raw, search, actual)
        symbols += 1
        # The last literal of a stream does not fill a block, with lazy matching.
        if symbols == block and not (search.way == LAZY and actual == 1 and state[POSITION] == raw.shape[0]):
            symbols = 0
            ends[full] = state[POSITION]
            full += 1
    counted[0], counted[1] = symbols, full
    return count


@entry
def finish(code: Code) -> int:
    """Write what is left of a code; returns its size."""
    for _ in range(5):
        deflate_corrections.shift(code)
    return code.state[deflate_corrections.AT]


@entry
def gather(
    raw: np.ndarray, base: int, lengths: np.ndarray, distances: np.ndarray, begin: int, end: int,
    of_block: np.ndarray, others: np.ndarray,
) -> int:  # fmt: skip
    """Collect the symbols of bytes begin … end - 1 as `symbols` has them; returns their number."""
    count = 0
    at = begin
    while at < end:
        length: Any = np.int64(lengths[np.uint64(at - base)])
        of_block[count] = length
        others[count] = np.int64(distances[np.uint64(at - base)]) + 1 if length > 1 else np.int64(raw[np.uint64(at)])
        count += 1
        at += length if length > 0 else 1
    return count


@part
def _makes_sense(raw: np.ndarray, at: Any, length: Any, distance: Any) -> bool:
    """Return whether the bytes have a match."""
    if length < 3 or distance < 1 or distance > at or at + length > raw.shape[0]:
        return False
    for n in range(at, at + length):  # noqa: SIM110 (a loop is compiled)
        if raw[np.uint64(n)] != raw[np.uint64(n - distance)]:
            return False
    return True


@entry
def symbols(
    raw: np.ndarray, search: Search, forced: np.ndarray, next_forced: int, code: Code, end: int, lengths: np.ndarray,
    distances: np.ndarray,
) -> tuple[int, int, bool]:  # fmt: skip
    """Find the symbols of a block.

    forced int64 [3, m]      where symbols are overruled, ascending, the length, and the distance; from `next_forced` on
    code                     the corrections; there are none if it is empty
    end                      where the block ends at the latest
    lengths uint16 [most]    the lengths: 1 for a literal. The block ends with the last one
    distances uint16 [most]  the distances; the byte for a literal

    Returns the number of symbols, the new `next_forced`, and whether the block is full; it is -1, where a symbol makes
    no sense or goes beyond the end.
    """
    state = search.state
    count = 0
    full = False
    coded = code.data.shape[0] > 0
    begin(raw, search)
    while state[POSITION] < end and not full:
        at = state[POSITION]
        if at == state[END]:
            _next_segment(raw, search)
        length, distance = predict(raw, search)
        if coded:
            actual, other = correct(code, False, length, distance, length, distance)
            if actual != length or other != distance:
                length, distance = actual, other
                overrule(search)
                if length > 1 and not _makes_sense(raw, at, length, distance):
                    return -1, next_forced, full
        elif next_forced < forced.shape[1] and forced[0, next_forced] == at:
            length, distance = forced[1, next_forced], forced[2, next_forced]
            overrule(search)
            next_forced += 1
            if length > 1 and not _makes_sense(raw, at, length, distance):
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
