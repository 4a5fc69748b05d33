"""How an encoder of deflate finds symbols: the numbers that a search follows, for zlib and for others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .deflate_tables import FILTERED, FIRST_LAZY, HUFFMAN, LEVELS, RUNS, Settings

# Ways to search. The numbers are part of the format; `docs/streams.md` says what each does.
GREEDY, LAZY, LITERALS, REPEATS, QUICK, LONG, FAST, MEDIUM, PAIRS, FIRST, NEXT, SECOND = range(12)
SHIFTED, FOUR, CHECKED = range(3)  # hashes: of three bytes, of four by a product, of four by a CRC
MARGIN = 262  # zlib's window is this much larger than its longest distance
FAR = 4096  # matches of three bytes are not worth a longer distance
NEVER = -1 << 20  # a position that is too far away from all others

# The state of a search. LENGTH is -1 where what comes at POSITION is not known yet.
POSITION, INDEXED, LENGTH, DISTANCE, END, ORIGIN, LITERAL, LEAST, BEGIN, AGAIN, SEGMENT = range(11)
STATE = 11


class Model(NamedTuple):
    """The numbers of a search."""

    way: int
    hash: int = SHIFTED
    bits: int = 15  # of a hash
    window: int = 15  # bits of a position in the chains
    farthest: int = (1 << 15) - MARGIN  # distance of a match
    good: int = 0  # a match of this length shortens the search for a better one
    lazy: int = 0  # as `deflate_tables.Level`
    nice: int = 0  # a match of this length ends the search
    tries: int = 1  # positions that are tried
    far: int = FAR  # matches of three bytes are not worth a longer distance
    short: int = 2  # matches that are not longer are worth nothing
    block: int = (1 << 14) - 1  # symbols that fill a block


class Search(NamedTuple):
    """The index and the numbers of a search.

    head int32 [hashes]    the last position with each hash
    third int32 [hashes]   the last position with each hash of three bytes, or the one before in `head`; for some ways
    chain int32 [window]   the position before it with the same hash
    counts int64 [256]     the literals of a block, for some ways
    segments int64         where segments end, beyond which no match goes; the last one is the number of bytes
    state int64 [STATE]    see above
    """

    head: np.ndarray
    third: np.ndarray
    chain: np.ndarray
    counts: np.ndarray
    segments: np.ndarray
    state: np.ndarray
    way: int
    hash: int
    bits: int
    farthest: int
    good: int
    lazy: int
    nice: int
    tries: int
    far: int
    short: int
    anew: bool  # whether the window is indexed anew where a segment begins


def of_zlib(settings: Settings) -> Model:
    """Return the model of settings of zlib."""
    level = LEVELS[settings.level]
    way = GREEDY if settings.level < FIRST_LAZY else LAZY
    if settings.level == 0 or settings.strategy == HUFFMAN:
        way = LITERALS
    elif settings.strategy == RUNS:
        way = REPEATS
    farthest = (1 << settings.window) - MARGIN
    short = 5 if settings.strategy == FILTERED else 2
    return Model(way, SHIFTED, settings.memory + 7, settings.window, farthest, *level, FAR, short, settings.block)


def search(model: Model, size: int, segments: np.ndarray | None = None, *, anew: bool = False) -> Search:
    """Begin a search at position 0 of `size` bytes; `segments` int64: where they end, `size` at last."""
    indexed = model.way not in (LITERALS, REPEATS)
    none = 0 if model.way < PAIRS else NEVER  # zlib never finds position 0
    head = np.full(1 << model.bits if indexed else 1, none, np.int32)
    third = np.full(1 << max(15, model.bits) if model.way >= PAIRS else 1, none, np.int32)
    chain = np.full(1 << model.window if indexed else 1, none, np.int32)
    ends = np.array([size], np.int64) if segments is None else segments
    state = np.zeros(STATE, np.int64)
    state[LENGTH], state[END] = -1, ends[0]
    _, hashes, bits, _, farthest, good, lazy, nice, tries, far, short, _ = model
    return Search(
        head, third, chain, np.zeros(256, np.int64), ends, state, model.way, hashes, bits, farthest, good, lazy, nice,
        tries, far, short, anew,
    )  # fmt: skip
