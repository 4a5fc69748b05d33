"""Uncompressed numbers of any type and any number of components: 32 and 64 bits, floating-point, complex.

The kept side is

    type         number of `keys.TYPES`
    components   varint: numbers of a voxel, side by side
    flags        1: big-endian; 2: components are slices, not planes; 4: lower bits are planes
    code         string, a `number_codes.Code`
    streams      a string for each byte of the lower bits of each component that is a plane, `byte_streams.Packer`

The planes of a component are the levels of its numbers and, with flag 4, their lower bits, 16 at a time from the lowest
on. Without it the streams have these, a byte of each number after the other, of those numbers alone whose level does
not tell all. Components that are slices lie between one slice of the file and the next.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_BIG_ENDIAN, _SLICES, _LOW_PLANES = 1, 2, 4  # flags
_BLOCK_BYTES = 1 << 24  # that are read at once, or one frame
MOST_COMPONENTS = 1 << 12


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


class _Side(NamedTuple):
    """What is kept at the side but the streams."""

    words: Words
    code: Code
    low_planes: bool

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

    def encoded(self) -> bytes:
        """Return the bytes before those of the streams."""
        flags = _BIG_ENDIAN * self.words.big_endian | _SLICES * self.words.slices | _LOW_PLANES * self.low_planes
        head = bytes([TYPES.index(self.words.type)]) + varint(self.words.components) + bytes([flags])
        return head + string(self.code.encoded())

    @classmethod
    def decoded(cls, cursor: Cursor) -> _Side:
        """Read it. Raises DamagedError."""
        number, components, flags = cursor.take(1)[0], cursor.varint(MOST_COMPONENTS), cursor.take(1)[0]
        if number >= len(TYPES) or not components or flags & ~(_BIG_ENDIAN | _SLICES | _LOW_PLANES):
            raise cursor.damaged()
        words = Words(TYPES[number], components, bool(flags & _BIG_ENDIAN), bool(flags & _SLICES))
        inner = Cursor(cursor.string(), cursor.what)
        found = cls(words, number_codes.decoded(inner, words.type), bool(flags & _LOW_PLANES))
        inner.end()
        if found.planes > MOST_PLANES:
            raise cursor.damaged()
        return found


class Numbers:
    """Body 5."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        cursor = Cursor(kept.side, "what is kept of an image of numbers")
        side = _Side.decoded(cursor)
        streams = [[Unpacker(cursor.string()) for _ in range(side.streams)] for _ in range(side.own)]
        cursor.end()
        yield kept.before
        held: list[NDArray[Any]] = []  # slices of components whose last ones are still to come
        for block in planes:
            keys = _keys(side, block, streams)
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
        for own in streams:
            for stream in own:
                stream.finish()
        yield kept.after


def _keys(side: _Side, block: Planes, streams: list[list[Unpacker]]) -> NDArray[Any]:
    """Return the keys [c, z, Y, X] of some frames of all planes."""
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
        keys.append(code.inverse(levels, low))
    return np.stack(keys)


class NumbersReading:
    """How an encoder reads uncompressed numbers."""

    number = 5

    def __init__(
        self, words: Words, code: Code, *, start: int, rows: int, columns: int, frames: int,
        low_planes: bool = False, stored: tuple[bool, ...] = (),
    ) -> None:  # fmt: skip
        """`low_planes`: lower bits are planes; else `stored`: which bytes of them, from the lowest on, are noise."""
        self._side = _Side(words, code, low_planes)
        self._start, self._shape, self._frames = start, (rows, columns), frames
        self._frame_bytes = rows * columns * words.components * words.type.itemsize
        self._stored = stored
        self.planes, self.bits = self._side.planes, 8 * self._side.word.itemsize
        self._kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """Return the kept bytes; see `Reading.kept`."""
        assert self._kept is not None
        return self._kept

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        side, code = self._side, self._side.code
        file.seek(0)
        before = file.read(self._start)
        packers = [[Packer(stored=one) for one in self._stored] for _ in range(side.own)]
        left = self._frames
        while left:
            count = min(left, max(1, _BLOCK_BYTES // self._frame_bytes))
            data = file.read(count * self._frame_bytes)
            if len(data) != count * self._frame_bytes:
                raise NotReproducible("it is shorter than its header says")
            keys = side.words.to_keys(data, *self._shape)
            del data
            parts = [code.forward(component) for component in keys]
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
            left -= count
        streams = b"".join(string(packer.finish()) for own in packers for packer in own)
        self._kept = Kept(before, side.encoded() + streams, file.read())
