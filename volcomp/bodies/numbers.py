"""Uncompressed numbers of any type and any number of components: 32 and 64 bits, floating-point, complex.

The kept side is

    type         number of `keys.TYPES`
    components   varint: numbers of a voxel, side by side
    flags        1: big-endian; 2: components are slices, not planes; 4: lower bits are planes; 8: there are gaps
    code         string, a `number_codes.Code`
    gaps         with flag 8: varint, how many; of each how many bytes of numbers precede it since the last one (varint)
                 and a string, its bytes
    streams      a string for each byte of the lower bits of each component that is a plane, `byte_streams.Packer`

The planes of a component are the levels of its numbers and, with flag 4, their lower bits, 16 at a time from the lowest
on. Without it the streams have these, a byte of each number after the other, of those numbers alone whose level does
not tell all. Components that are slices lie between one slice of the file and the next.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, string, varint
from . import number_codes
from .byte_streams import Packer, Unpacker
from .keys import TYPES, from_keys, key_type, to_keys
from .number_codes import Code
from .planes import MOST_PLANES
from .protocol import Kept, Piece, Planes

_BIG_ENDIAN, _SLICES, _LOW_PLANES, _GAPS = 1, 2, 4, 8  # flags
_BLOCK_BYTES = 1 << 24  # that are read at once, or one frame
MOST_COMPONENTS = 1 << 12


@dataclass(frozen=True)
class Place:
    """Where the numbers of an image are in a file."""

    start: int  # bytes
    rows: int
    columns: int
    frames: int
    gaps: tuple[tuple[int, int], ...] = ()  # of each how many bytes of numbers precede it in all, and its length

    def read(self, file: BinaryIO, at: int, count: int) -> bytes:
        """Return bytes of numbers, at most `count` from their byte `at` on, without the gaps."""
        number = bisect_right(self.gaps, at, key=lambda gap: gap[0])
        shift = self.start + sum(length for _, length in self.gaps[:number])
        pieces: list[bytes] = []
        end = at + count
        while at < end:
            stop = min(end, self.gaps[number][0]) if number < len(self.gaps) else end
            file.seek(shift + at)
            pieces.append(file.read(stop - at))
            at = stop
            if number < len(self.gaps):
                shift += self.gaps[number][1]
                number += 1
        return b"".join(pieces)


@dataclass(frozen=True)
class Words:
    """How numbers lie in a file, and which of them are planes."""

    type: np.dtype[Any]  # one of `keys.TYPES`
    components: int = 1
    big_endian: bool = False
    slices: bool = False  # components are slices between those of the file

    @property
    def stored(self) -> np.dtype[Any]:
        """Return the type of the numbers in the file."""
        return self.type.newbyteorder(">") if self.big_endian else self.type

    def to_keys(self, data: bytes | bytearray, rows: int, columns: int) -> NDArray[Any]:
        """Return the keys [c, z, Y, X] of whole frames."""
        words = np.frombuffer(data, self.stored).reshape(-1, rows, columns, self.components)
        samples = np.moveaxis(words, -1, 0)
        if self.slices:
            samples = samples.swapaxes(0, 1).reshape(1, -1, rows, columns)
        return to_keys(np.ascontiguousarray(samples, self.type))

    def to_bytes(self, keys: NDArray[Any]) -> bytes:
        """Return the bytes of whole frames."""
        _, _, rows, columns = keys.shape
        samples = from_keys(keys, self.type)
        if self.slices:
            moved = np.moveaxis(samples.reshape(-1, self.components, rows, columns), 1, -1)
        else:
            moved = np.moveaxis(samples, 0, -1)
        return moved.astype(self.stored, order="C").tobytes()


class Side(NamedTuple):
    """What is kept at the side but the streams."""

    words: Words
    code: Code
    low_planes: bool
    gaps: tuple[tuple[int, bytes], ...] = ()  # of each how many bytes of numbers precede it since the last one; its own

    @property
    def own(self) -> int:
        """Return the number of components that are planes."""
        return 1 if self.words.slices else self.words.components

    @property
    def planes(self) -> int:
        """Return the number of planes."""
        return self.own * (1 + (-(-self.code.shift // 16) if self.low_planes else 0))

    @property
    def streams(self) -> int:
        """Return the number of streams of a component."""
        return 0 if self.low_planes else -(-self.code.shift // 8)

    @property
    def word(self) -> np.dtype[Any]:
        """Return the type of the words of a plane."""
        return np.dtype("u1" if self.code.levels <= 256 and self.planes == self.own else "<u2")

    def numbers(self, planes: Planes, first: int, streams: Sequence[Sequence[Unpacker]] = ()) -> NDArray[Any]:
        """Return numbers [c, z, Y, X] of planes that begin with slice `first`; so do their streams, if it has some.

        Raises DamagedError.
        """
        assert bool(self.streams) == bool(streams)
        return from_keys(_keys(self, planes, first, streams), self.words.type)

    @property
    def has_told(self) -> bool:
        """Return whether there are numbers without lower bits, of which levels tell all."""
        return isinstance(self.code, number_codes.Split) and bool(self.code.specials)

    def apart(self, planes: Planes) -> list[int]:
        """Return how many numbers of each component have lower bits in its streams."""
        each = self.planes // self.own
        words = [np.ascontiguousarray(plane).view(self.word) for plane in planes[::each]]
        told = [self.code.told(plane) for plane in words]
        return [plane.size - (0 if one is None else int(one.sum())) for plane, one in zip(words, told, strict=True)]

    def encoded(self) -> bytes:
        """Return the bytes before those of the streams."""
        flags = _BIG_ENDIAN * self.words.big_endian | _SLICES * self.words.slices | _LOW_PLANES * self.low_planes
        head = bytes([TYPES.index(self.words.type)]) + varint(self.words.components)
        head += bytes([flags | _GAPS * bool(self.gaps)]) + string(self.code.encoded())
        if self.gaps:
            head += varint(len(self.gaps)) + b"".join(varint(count) + string(gap) for count, gap in self.gaps)
        return head

    @classmethod
    def decoded(cls, cursor: Cursor) -> Side:
        """Read it. Raises DamagedError."""
        number, components, flags = cursor.take(1)[0], cursor.varint(MOST_COMPONENTS), cursor.take(1)[0]
        if number >= len(TYPES) or not components or flags & ~(_BIG_ENDIAN | _SLICES | _LOW_PLANES | _GAPS):
            raise cursor.damaged()
        words = Words(TYPES[number], components, bool(flags & _BIG_ENDIAN), bool(flags & _SLICES))
        inner = Cursor(cursor.string(), cursor.what)
        code = number_codes.decoded(inner, words.type)
        inner.end()
        count = cursor.varint(len(cursor.data)) if flags & _GAPS else 0
        gaps = tuple((cursor.varint(), cursor.string()) for _ in range(count))
        found = cls(words, code, bool(flags & _LOW_PLANES), gaps)
        if found.planes > MOST_PLANES:
            raise cursor.damaged()
        return found


class Numbers:
    """Body 5."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        cursor = Cursor(kept.side, "what is kept of an image of numbers")
        side = Side.decoded(cursor)
        streams = [[Unpacker(cursor.string()) for _ in range(side.streams)] for _ in range(side.own)]
        cursor.end()
        yield kept.before
        yield from _with_gaps(_numbers(side, planes, streams), side.gaps)
        for own in streams:
            for stream in own:
                stream.finish()
        yield kept.after


def _numbers(side: Side, planes: Iterator[Planes], streams: list[list[Unpacker]]) -> Iterator[bytes]:
    """Yield the bytes of all numbers, without gaps."""
    held: list[NDArray[Any]] = []  # slices of components whose last ones are still to come
    first = 0
    for block in planes:
        keys = _keys(side, block, first, streams)
        first += keys.shape[1]
        if not side.words.slices:
            yield side.words.to_bytes(keys)
            continue
        held.append(keys)
        count = sum(keys.shape[1] for keys in held)
        whole = count - count % side.words.components
        if whole:
            keys = np.concatenate(held, axis=1)
            held = [keys[:, whole:]]
            yield side.words.to_bytes(keys[:, :whole])
    if sum(keys.shape[1] for keys in held):
        raise DamagedError("it has fewer slices than components")


def _with_gaps(pieces: Iterator[bytes], gaps: tuple[tuple[int, bytes], ...]) -> Iterator[Piece]:
    """Yield the bytes of numbers with those of the gaps in between."""
    left = iter(gaps)
    count, gap = next(left, (None, b""))
    for piece in pieces:
        at = 0
        while count is not None and count <= len(piece) - at:
            yield piece[at : at + count]
            yield gap
            at += count
            count, gap = next(left, (None, b""))
        if count is not None:
            count -= len(piece) - at
        yield piece[at:] if at else piece
    if count is not None:
        raise DamagedError("there are too many bytes between its numbers")


def _keys(side: Side, block: Planes, first: int, streams: Sequence[Sequence[Unpacker]]) -> NDArray[Any]:
    """Return the keys [c, z, Y, X] of all planes, of slices from `first` on."""
    if len(block) != side.planes or any(plane.dtype.itemsize != side.word.itemsize for plane in block):
        raise DamagedError("its planes are not what its kept bytes say")
    code, kind = side.code, key_type(side.words.type)
    words = [np.ascontiguousarray(plane).view(side.word) for plane in block]
    each = side.planes // side.own
    keys: list[NDArray[Any]] = []
    for component in range(side.own):
        levels, *lower = words[component * each : (component + 1) * each]
        low: NDArray[Any] | None = None
        if code.shift:
            low = np.zeros(levels.shape, kind)
            for number, plane in enumerate(lower):
                low |= plane.astype(kind) << kind.type(16 * number)
            if not side.low_planes:
                told = code.told(levels)
                mask = slice(None) if told is None else ~told.reshape(-1)
                flat = low.reshape(-1)
                count = flat[mask].size
                for number, stream in enumerate(streams[component]):
                    taken = np.frombuffer(stream.take(count), np.uint8).astype(kind)
                    flat[mask] |= taken << kind.type(8 * number)
            if (low >> kind.type(code.shift)).any():
                raise DamagedError("what is kept beside its planes are more bits than there are")
        keys.append(code.inverse(levels, low, first))
    return np.stack(keys)


class NumbersReading:
    """How an encoder reads uncompressed numbers."""

    number = 5

    def __init__(
        self, words: Words, code: Code, place: Place, *, low_planes: bool = False, stored: tuple[bool, ...] = ()
    ) -> None:
        """`low_planes`: lower bits are planes; else `stored`: which bytes of them, from the lowest on, are noise."""
        side = Side(words, code, low_planes)
        # All files of an archive are looked at before the first is read: a table is held as a small part of its size.
        self._side, self._place = zlib.compress(side.encoded(), 1), place
        self._frame_bytes = place.rows * place.columns * words.components * words.type.itemsize
        self._stored = stored
        self.planes, self.bits = side.planes, 8 * side.word.itemsize
        self._kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """Return the kept bytes, once after each reading: they may be many, and this object lives long."""
        kept, self._kept = self._kept, None
        assert kept is not None
        return kept

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        side = Side.decoded(Cursor(zlib.decompress(self._side), "a code"))
        code, place = side.code, self._place
        file.seek(0)
        before = file.read(place.start)
        packers = [[Packer(stored=one) for one in self._stored] for _ in range(side.own)]
        at, end, first = 0, place.frames * self._frame_bytes, 0
        while at < end:
            size = min(end - at, max(1, _BLOCK_BYTES // self._frame_bytes) * self._frame_bytes)
            data = place.read(file, at, size)
            if len(data) != size:
                raise NotReproducible("it is shorter than its header says")
            keys = side.words.to_keys(data, place.rows, place.columns)
            del data
            parts = [code.forward(component, first) for component in keys]
            first += keys.shape[1]
            planes: Planes = []
            for part in parts:
                planes.append(part.levels.astype(side.word))
                if side.low_planes and part.low is not None:
                    planes += [(part.low >> part.low.dtype.type(at)).astype("<u2") for at in range(0, code.shift, 16)]
            yield planes
            for part, own in zip(parts, packers, strict=True):
                if part.low is None or not own:
                    continue
                low = part.low.reshape(-1) if part.told is None else part.low[~part.told]
                for number, packer in enumerate(own):
                    packer.add((low >> low.dtype.type(8 * number)).astype(np.uint8).tobytes())
            at += size
        streams = b"".join(string(packer.finish()) for own in packers for packer in own)
        gaps, after = self._gaps(file)
        self._kept = Kept(before, side._replace(gaps=gaps).encoded() + streams, after)

    def _gaps(self, file: BinaryIO) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
        """Return the gaps with their bytes, and the bytes after the numbers."""
        found: list[tuple[int, bytes]] = []
        last, shift = 0, self._place.start
        for at, length in self._place.gaps:
            file.seek(shift + at)
            found.append((at - last, file.read(length)))
            last, shift = at, shift + length
        file.seek(shift + self._place.frames * self._frame_bytes)
        return tuple(found), file.read()
