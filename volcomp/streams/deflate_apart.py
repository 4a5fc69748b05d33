"""Take deflate streams apart: the symbols of a stream are read, and what the settings of an encoder do not give of them
is kept. All is done piece by piece, so that memory holds the stream, its bytes, and little more."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import DamagedError
from . import deflate_side
from .deflate_blocks import BlockWriter
from .deflate_corrections import AT as CODED
from .deflate_corrections import writer
from .deflate_huffman import codes
from .deflate_model import PAIRS, QUICK, search
from .deflate_predict import differences, finish, gather
from .deflate_read import BEGIN, DONE, FINISH, FULL, SIZE, TABLE, read
from .deflate_search import Candidate, Symbols, ranked
from .deflate_side import NONE_FORCED, Exceptional, Plan
from .deflate_tables import DYNAMIC, Settings
from .deflate_write import CHOOSE, GIVEN
from .protocol import NotReproducible

SHARE, GRACE = 50, 256  # what is kept may take a share of 1 / SHARE of the bytes, and GRACE
SAMPLE, PIECE = 1 << 19, 1 << 22  # bytes whose symbols are in memory at a time, unless a block has more
LISTED = 64  # differences from zlib are listed up to so many; an arithmetic code has more in less
UNLIKE = "its deflate stream was made by an encoder too unlike those that are known"
_DIFFERENT = "its deflate stream does not come back identical"


def pieces_of(data: np.ndarray, raw: np.ndarray, room: int) -> Iterator[Symbols]:
    """Yield the symbols of some whole blocks at a time. Raises NotReproducible.

    `room`: bytes for which there is memory at first.
    """
    state = np.zeros(4, np.int64)
    scratch, table = codes(), np.zeros((2, TABLE), np.int32)
    many = 0
    while not state[DONE]:
        base, state[FULL] = int(state[SIZE]), 0
        size = min(room, raw.size - base)
        lengths, distances = np.zeros(size, np.uint16), np.zeros(size, np.uint16)
        parts = []
        while not state[DONE] and not state[FULL]:
            blocks = np.zeros((1024, 6), np.int64)
            count = read(data, state, base, raw.size, lengths, distances, blocks, scratch, table)
            if count < 0:
                raise NotReproducible("its deflate stream is damaged")
            parts.append(blocks[:count])
            many += count
            if many > raw.size + deflate_side.EMPTY_BLOCKS:
                raise NotReproducible("its deflate stream has too many empty blocks")
        blocks = np.concatenate(parts)
        if len(blocks):
            yield Symbols(raw, base, lengths, distances, blocks)
        else:
            room *= 4
    if state[SIZE] != raw.size:
        raise NotReproducible("its deflate stream has blocks of an unknown kind")


def side_of(data: bytes, raw: bytes) -> bytes:
    """Return what is kept of a stream beside its bytes, which nothing follows. Raises NotReproducible, DamagedError."""
    stream, of_raw = np.frombuffer(data, np.uint8), np.frombuffer(raw, np.uint8)
    sample = next(pieces_of(stream, of_raw, SAMPLE))
    candidates = ranked(sample)
    del sample
    best: bytes | None = None
    most = len(raw) // SHARE + GRACE
    for candidate in candidates:
        side = _Trial(data, of_raw, candidate, most).side()
        if side is not None and (best is None or len(side) < len(best)):
            best, most = side, len(side)
        if best is not None and len(best) < len(data) // 1000 + GRACE:
            break
    if best is None:
        raise NotReproducible(UNLIKE)
    return best


def _header_bits(data: bytes, begin: int, end: int) -> bytes:
    """Return the bits begin … end - 1 of a stream as bytes, with zeros at the end."""
    value = int.from_bytes(data[begin // 8 : (end + 7) // 8], "little") >> begin % 8
    return (value & ((1 << (end - begin)) - 1)).to_bytes((end - begin + 7) // 8, "little")


class _Trial:
    """A stream is made again as one encoder would, and compared."""

    def __init__(self, data: bytes, raw: np.ndarray, candidate: Candidate, most: int) -> None:
        """`most`: bytes that may be kept."""
        self._data, self._raw, self._candidate, self._most = data, raw, candidate, most

    def side(self) -> bytes | None:
        """Return what is kept; None where it is too much."""
        if isinstance(self._candidate.settings, Settings):
            side = self._side(coded=False)
            if side is not None:
                return side
        return self._side(coded=True)

    def _side(self, *, coded: bool) -> bytes | None:
        raw, candidate = self._raw, self._candidate
        model = candidate.model
        segments = candidate.segments(raw.size)
        of_raw = search(model, raw.size, segments, anew=segments is not None)
        code = writer(self._most if coded else 0)
        found = np.zeros((3, 0 if coded else min(LISTED, self._most // 4)), np.int64)
        counted = np.zeros(2, np.int64)
        settings = model if coded else candidate.settings
        in_segments = None if segments is None else np.diff(segments, prepend=0)
        plan = Plan(
            settings, None, NONE_FORCED, {}, 0, b"", segments=in_segments, anew=segments is not None,
            fixed=candidate.fixed, ordered=model.way >= PAIRS,
        )  # fmt: skip
        self._writer = BlockWriter(raw, plan)
        self._at = self._extra = 0
        forced: list[np.ndarray] = []
        sizes: list[np.ndarray] = []
        usual: list[np.ndarray] = []
        exceptions: dict[int, Exceptional] = {}
        number = 0
        for stream in pieces_of(np.frombuffer(self._data, np.uint8), raw, PIECE):
            blocks = stream.blocks
            ends = np.zeros((stream.end - stream.base) // model.block + 2, np.int64)
            counted[1] = 0
            count = differences(
                raw, of_raw, stream.base, stream.lengths, stream.distances, stream.stops, blocks[:, BEGIN].copy(),
                stream.end, found, model.block, ends, counted, code,
            )  # fmt: skip
            if count > found.shape[1] and (not coded or code.state[CODED] > code.data.size):
                return None
            if not coded:
                forced.append(found[:, :count].copy())
            usual.append(ends[: counted[1]])
            sizes.append(blocks[:, FINISH] - blocks[:, BEGIN])
            if not self._compared(stream, number, exceptions):
                return None
            number += len(blocks)
        last = b""
        fill = 0
        if self._writer.used:
            fill = self._data[-1] >> self._writer.used
            last = bytes([(self._writer.bits | fill << self._writer.used) & 255])
        if self._data[self._at :] != last:
            raise NotReproducible(_DIFFERENT)
        of_blocks = np.concatenate(sizes)
        as_usual = np.array_equal(np.cumsum(of_blocks), np.append(np.concatenate(usual), raw.size))
        if coded:
            size = finish(code)
            corrections = code.data[:size].tobytes().rstrip(b"\0") if size <= code.data.size else None
            if corrections is None:
                return None
            plan = plan._replace(corrections=corrections)
        else:
            plan = plan._replace(forced=np.concatenate([*forced, NONE_FORCED], axis=1))
        if model.way >= QUICK or not as_usual:
            plan = plan._replace(blocks=of_blocks)
        side = deflate_side.write(plan._replace(exceptions=exceptions, fill=fill))
        return side if len(side) <= self._most else None

    def _compared(self, stream: Symbols, number: int, exceptions: dict[int, Exceptional]) -> bool:
        """Write blocks, the first of which has a number, and note which are exceptional; False if too much."""
        data, made = self._data, self._writer
        largest = int((stream.blocks[:, FINISH] - stream.blocks[:, BEGIN]).max())
        lengths, others = np.empty(largest, np.uint16), np.empty(largest, np.uint16)
        for kind, header, body, begin, end, _ in stream.blocks.tolist():
            size = gather(self._raw, stream.base, stream.lengths, stream.distances, begin, end, lengths, others)
            last = bool(data[(header - 3) // 8] >> (header - 3) % 8 & 1)
            ways = [Exceptional(CHOOSE), Exceptional(kind)]
            if kind == DYNAMIC:
                ways.append(Exceptional(GIVEN, body - header, _header_bits(data, header, body)))
            before = made.bits, made.used
            for way in ways:
                made.bits, made.used = before
                try:
                    piece = made.write(way, begin, end, last, lengths, others, size)
                except DamagedError:
                    continue
                stop = self._at + len(piece)
                rest = data[stop] & ((1 << made.used) - 1) if made.used and stop < len(data) else 0
                if data[self._at : stop] == piece and rest == made.bits:
                    break
            else:
                raise NotReproducible(_DIFFERENT)
            if way.kind != CHOOSE:
                exceptions[number] = way
                self._extra += 3 + len(way.header)
            self._at = stop
            number += 1
            if self._extra > self._most:
                return False
        return True
