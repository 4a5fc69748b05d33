"""Which encoder made a stream: the one whose symbols differ least from the stream's, on its first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .deflate_corrections import writer
from .deflate_model import (
    CHECKED,
    FAST,
    FIRST,
    FOUR,
    GREEDY,
    LAZY,
    LONG,
    MARGIN,
    MEDIUM,
    NEXT,
    PAIRS,
    QUICK,
    SECOND,
    SHIFTED,
    Model,
    of_zlib,
    search,
)
from .deflate_predict import differences
from .deflate_read import BEGIN, COUNT, FINISH, KIND
from .deflate_tables import (
    DEFAULT,
    DYNAMIC,
    FILTERED,
    FIRST_LAZY,
    FIXED_CODES,
    HUFFMAN,
    LEVELS,
    RUNS,
    STORED,
    Settings,
)  # fmt: skip

FIRST_LOOK = 1 << 16  # bytes on which all candidates are compared; the second look has eight times as many
NUMBERS = 4  # differences that take as many bytes as the numbers of a model
KEPT = 3  # candidates that stay after a look
FEW = 16  # differences are not worth to look for another encoder
MOST_SHARE = 6  # of the bytes looked at, one of so many may be where a symbol differs
SHORTEST_SEGMENT = 1 << 10  # bytes
USUAL = (6, 9, 1, 5, 4, 7, 8, 3, 2)  # levels of zlib, the most frequent first
_ANY = 1 << 15  # a distance that none exceeds
_CHAINS = Model(FIRST, FOUR, 16, 15, (1 << 15) - 1)

# Levels of GNU gzip, and of builds of zlib that hash four bytes by the processor's CRC
_GZIP = tuple(
    Model(GREEDY if level < FIRST_LAZY else LAZY, SHIFTED, 15, 15, (1 << 15) - MARGIN, *LEVELS[level], block=32767)
    for level in USUAL
)
_BY_CRC = tuple(model._replace(hash=CHECKED, block=(1 << 14) - 1) for model in _GZIP)
# Other encoders, each with its most frequent settings first
OTHERS = (
    *_GZIP,
    # zlib-ng, levels 6, 9, 1 to 5, 7 and 8
    Model(MEDIUM, FOUR, 16, good=8, lazy=16, nice=128, tries=128),
    Model(LAZY, SHIFTED, 15, good=32, lazy=258, nice=258, tries=4096, far=_ANY),
    Model(QUICK, FOUR, 16),
    Model(FAST, FOUR, 16, good=4, lazy=4, nice=8, tries=4),
    Model(MEDIUM, FOUR, 16, good=4, lazy=6, nice=16, tries=6),
    Model(MEDIUM, FOUR, 16, good=4, lazy=12, nice=32, tries=24),
    Model(MEDIUM, FOUR, 16, good=8, lazy=16, nice=32, tries=32),
    Model(LAZY, FOUR, 16, good=8, lazy=32, nice=128, tries=256, far=_ANY),
    Model(LAZY, FOUR, 16, good=32, lazy=128, nice=258, tries=1024, far=_ANY),
    # libdeflate, levels 6, 9, 1 to 5, 7 and 8
    _CHAINS._replace(way=NEXT, nice=65, tries=35, far=8192),
    _CHAINS._replace(way=SECOND, nice=258, tries=600, far=8192),
    _CHAINS._replace(way=PAIRS, bits=15, nice=32),
    _CHAINS._replace(nice=10, tries=6),
    _CHAINS._replace(nice=14, tries=12),
    _CHAINS._replace(nice=30, tries=16),
    _CHAINS._replace(way=NEXT, nice=30, tries=16, far=8192),
    _CHAINS._replace(way=NEXT, nice=130, tries=100, far=8192),
    _CHAINS._replace(way=SECOND, nice=258, tries=300, far=8192),
    *_BY_CRC,
    # ISA-L, levels 0 and 1, and 2
    Model(LONG, CHECKED, 13, farthest=_ANY, lazy=4),
    Model(LONG, CHECKED, 15, farthest=_ANY, lazy=4),
)  # fmt: skip


class Symbols(NamedTuple):
    """Symbols of a stream, by the positions of the bytes where they begin.

    raw uint8 [n]                   all bytes of the stream
    base                            the position of the first symbol
    lengths, distances uint16 [m]   as of `deflate_read.read`
    blocks int64 [k, 6]             likewise
    """

    raw: np.ndarray
    base: int
    lengths: np.ndarray
    distances: np.ndarray
    blocks: np.ndarray

    @property
    def end(self) -> int:
        """Return the position after the last symbol."""
        return int(self.blocks[-1, FINISH])

    @property
    def stops(self) -> np.ndarray:
        """Return where stored blocks end, and the end."""
        return np.append(self.blocks[self.blocks[:, KIND] == STORED, FINISH], self.end)


class Candidate(NamedTuple):
    """An encoder that may have made a stream."""

    settings: Settings | Model
    segment: int = 0  # bytes of each segment; 0 for a stream of one
    fixed: bool = False  # whether there are fixed codes alone

    @property
    def model(self) -> Model:
        """Return the numbers of the search."""
        return of_zlib(self.settings) if isinstance(self.settings, Settings) else self.settings

    def segments(self, size: int) -> np.ndarray | None:
        """Return where segments of `size` bytes end."""
        if not 0 < self.segment < size:
            return None
        return np.minimum(np.arange(self.segment, size + self.segment, self.segment), size)


def _count(stream: Symbols, candidate: Candidate, most: int, end: int) -> int:
    """Count symbols of the first `end` bytes that differ; most + 1 where there are more."""
    model = candidate.model
    found, ends = np.zeros((3, most), np.int64), np.zeros(end // model.block + 1, np.int64)
    lengths, distances = stream.lengths.copy(), stream.distances.copy()  # what it changes are stored blocks
    of_raw = search(model, stream.raw.size, candidate.segments(stream.raw.size), anew=candidate.segment > 0)
    return differences(
        stream.raw, of_raw, stream.base, lengths, distances, stream.stops, stream.blocks[:, BEGIN].copy(), end, found,
        model.block, ends, np.zeros(2, np.int64), writer(0),
    )  # fmt: skip


def _memories(blocks: np.ndarray) -> tuple[int, ...]:
    """Return the values of memLevel that the sizes of blocks allow."""
    for block in blocks[:-1]:
        size = int(block[COUNT]) + 1
        if block[KIND] != STORED and 128 <= size <= 32768 and size & (size - 1) == 0:
            return (size.bit_length() - 7,)
    least = max(1, int(blocks[:, COUNT].max()).bit_length() - 6)
    return tuple(memory for memory in (8, 9, *range(7, 0, -1)) if memory >= least) or (8,)


def _segment(blocks: np.ndarray) -> int:
    """Return the length of the segments that end with empty blocks, if all have one; such a block may be missing."""
    ends = np.unique(blocks[:-1, FINISH])
    empty = np.unique(blocks[:-1][blocks[:-1, BEGIN] == blocks[:-1, FINISH], FINISH])
    length = int(np.gcd.reduce(empty)) if empty.any() else 0
    for part in (length // 4, length // 2, length):
        if part >= SHORTEST_SEGMENT and np.isin(np.arange(part, int(ends[-1]) + 1, part), ends).all():
            return part
    return 0


def _of_zlib(stream: Symbols, segment: int) -> Iterator[Candidate]:
    """Generate the settings of zlib that may have made a stream, the most frequent first."""
    kinds = stream.blocks[:, KIND]
    known = stream.lengths
    fixed = DEFAULT if (kinds == DYNAMIC).any() else FIXED_CODES
    memories = _memories(stream.blocks)
    if (kinds == STORED).all():
        yield Candidate(Settings(0, 8, 15, DEFAULT))
        return
    matches = known > 1
    if not matches.any():
        yield from (Candidate(Settings(6, memory, 15, HUFFMAN)) for memory in memories)
        farthest, short = 1, False
    else:
        farthest = int(stream.distances.max(where=matches, initial=0)) + 1
        short = bool((matches & (known <= 5)).any())
    if farthest == 1:
        yield from (Candidate(Settings(6, memory, 15, RUNS)) for memory in memories)
    least = next((bits for bits in range(9, 15) if farthest <= (1 << bits) - MARGIN), 15)
    windows = [15]
    if stream.end > (1 << least) - MARGIN and least < 15:
        windows.append(least)
    for window in windows:
        for memory in memories:
            for level in USUAL:
                settings = Settings(level, memory, window, fixed)
                if segment:
                    yield Candidate(of_zlib(settings), segment, fixed=fixed == FIXED_CODES)
                yield Candidate(settings, fixed=fixed == FIXED_CODES)
            if not short:  # filtered data have no short matches
                levels = (level for level in USUAL if level >= FIRST_LAZY)
                yield from (Candidate(Settings(level, memory, window, FILTERED)) for level in levels)


def ranked(stream: Symbols) -> list[Candidate]:
    """Return the encoders that may have made a stream whose first symbols are given, the most likely first."""
    end = min(stream.end, FIRST_LOOK)
    segment = _segment(stream.blocks)
    counted: list[tuple[int, Candidate]] = []
    most = end // MOST_SHARE + FEW
    for candidates in (_of_zlib(stream, segment), (Candidate(model) for model in OTHERS)):
        for candidate in candidates:
            count = _count(stream, candidate, most, end)
            if count == 0 and _count(stream, candidate, 0, stream.end) == 0:
                return [candidate]
            if count <= most:
                counted.append((count, candidate))
                most = min(most, 2 * count + FEW)
        if counted and min(count for count, _ in counted) == 0:
            break
    best = [candidate for _, candidate in sorted(counted, key=_price)[:KEPT]]
    if stream.end == end or len(best) < 2:
        return best
    most = stream.end // MOST_SHARE + FEW
    again = [(_count(stream, candidate, most, stream.end), candidate) for candidate in best]
    return [candidate for _, candidate in sorted(again, key=_price)]


def _price(counted: tuple[int, Candidate]) -> int:
    """Return by what candidates are compared: the numbers of a model take as many bytes as some differences."""
    return counted[0] + NUMBERS * isinstance(counted[1].settings, Model)
