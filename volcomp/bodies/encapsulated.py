"""DICOM's encapsulated pixel data (PS3.5, A.4): items that hold one compressed stream for each frame.

The bytes from the first item on are made from

    map         `planes.Map`, 4 bytes
    stream      number of the stream codec; 0 for frames that are not compressed
    table       0: the first item, of frame offsets, is empty; 1: it has every frame's; 2: a string, its value
    frames      varint: how many
    of each     varint: how many fragments; varint: bytes of each but the last; string: side of its stream

An item is FFFE,E000, four bytes of length, and its value. Samples of the map are what the stream codec gives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..streams.protocol import FrameInfo, NotReproducible, Parts
from ..wire.cursor import Cursor, string, varint
from .planes import Kind, Map
from .protocol import Kept, KeptAtLast, Piece, Planes

_ITEM = struct.Struct("<HHI")
_GROUP, _ITEM_ELEMENT = 0xFFFE, 0xE000
_EMPTY, _OFFSETS, _LITERAL = 0, 1, 2
_NATIVE = 0  # stream number: samples as they are, little-endian, a colour after the other for every pixel
_MOST_FRAMES = 1 << 20  # or fragments; an item may be empty, and takes twenty times its bytes of memory
_HELD_BYTES = 1 << 26  # of streams: where there are more, their table is kept, so that none need be held for it


@dataclass
class _Frame:
    """One frame: the bytes of each fragment but the last, and the side of its stream."""

    lengths: list[int]
    side: bytes


class Encapsulated:
    """Bodies 3 and, with samples of 32 bits, 7."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        samples_map, number, table, frames = _parse(kept.side)
        yield kept.before
        # An offset table stands before the frames that it counts: these are held until all are known.
        held: list[bytes] = []
        if table != _OFFSETS:
            yield _item(table if isinstance(table, bytes) else b"")
        count = 0
        for samples in _frames_of(samples_map, planes):
            if count == len(frames):
                raise DamagedError("more frames are coded than were kept of it")
            items = _items(frames[count], _make(number, samples, frames[count].side))
            count += 1
            if table == _OFFSETS:
                held.append(items)
            else:
                yield items
        if count != len(frames):
            raise DamagedError("fewer frames are coded than were kept of it")
        if table == _OFFSETS:
            yield _item(_offsets([len(items) for items in held]))
            yield from held
        yield kept.after


def stream_of(side: bytes, planes: Planes, number: int) -> bytes:
    """Return the stream of one frame, its fragments joined.

    Parameters:
        side: what is kept of the image; see `Kept.side`.
        planes: of this frame, [1, Y, X].
        number: of the frame, from 0.

    Raises:
        DamagedError: where the side makes no sense, or has no such frame.
    """
    samples_map, stream, _, frames = _parse(side)
    if number >= len(frames):
        raise DamagedError("more frames are coded than were kept of it")
    return _make(stream, np.ascontiguousarray(samples_map.inverse(planes)[:, 0]), frames[number].side)


@dataclass(frozen=True)
class Pixels:
    """What the header of a file states about its compressed frames."""

    stream: int  # number of the stream codec
    rows: int
    columns: int
    frames: int
    components: int
    bits: int  # allocated
    stored: int  # bits that samples have
    signed: bool
    colour: bool  # components are red, green, blue


class EncapsulatedReading(KeptAtLast):
    """How an encoder reads compressed frames."""

    def __init__(self, pixels: Pixels, start: int) -> None:
        """`start`: of the first item in the file, bytes."""
        self.number = 7 if pixels.bits == 32 else 3
        self._pixels, self._start = pixels, start
        self.planes, self.bits = pixels.components * (1 + (pixels.bits == 32)), min(pixels.bits, 16)

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        file.seek(0)
        before = file.read(self._start)
        places, end = read_items(file, self._start)
        if not places:
            raise NotReproducible("it has no items")
        table = _value(file, places[0])
        of_frames = _group(places[1:], table, self._pixels.frames)
        frames: list[_Frame] = []
        made: Map | None = None
        sizes: list[int] = []
        for fragments in of_frames:
            pieces = [_value(file, place) for place in fragments]
            samples, side = _take_apart(self._pixels, b"".join(pieces))
            found = self._map(samples)
            made = made or found
            if made != found:
                raise NotReproducible("its frames have samples of several types")
            frames.append(_Frame([len(piece) for piece in pieces[:-1]], side))
            sizes.append(sum(_ITEM.size + len(piece) for piece in pieces))
            yield made.forward(np.ascontiguousarray(samples)[:, None])
        assert made is not None
        head = bytes([_LITERAL]) + string(table)
        if not table:
            head = bytes([_EMPTY])
        elif sum(sizes) <= _HELD_BYTES and table == _offsets(sizes):
            head = bytes([_OFFSETS])
        side = made.encoded() + bytes([self._pixels.stream]) + head + varint(len(frames))
        for frame in frames:
            side += varint(len(frame.lengths) + 1) + b"".join(varint(n) for n in frame.lengths) + string(frame.side)
        file.seek(end)
        self._kept = Kept(before, side, file.read())

    def _map(self, samples: NDArray[Any]) -> Map:
        pixels = self._pixels
        if 8 * samples.itemsize > pixels.bits or len(samples) != pixels.components:
            raise NotReproducible("its stream has samples of another type than its header says")
        if samples.itemsize == 4:
            return Map(Kind.HALVES, samples.dtype, pixels.components)
        if pixels.bits == 32:
            raise NotReproducible("its stream has samples of fewer bits than its header says")
        if 8 * samples.itemsize < pixels.bits:
            return Map(Kind.WIDE, samples.dtype, pixels.components)
        kind, bits = Kind.SAME, 0
        if pixels.colour:
            kind = Kind.COLOUR
        elif pixels.signed and samples.dtype.kind == "u" and pixels.stored < pixels.bits:
            kind, bits = Kind.SIGNED, pixels.stored
        return Map(kind, samples.dtype, pixels.components, bits)


def is_truncated(side: bytes) -> bool:
    """Return whether frames are JPEG 2000 of which other decoders may make other samples; `side` is of `kept`."""
    _, number, _, frames = _parse(side)
    if number == _NATIVE:
        return False
    from ..streams.jpeg2000.stream import Jpeg2000
    from ..streams.registry import BY_NUMBER

    stream = BY_NUMBER[number]
    return isinstance(stream, Jpeg2000) and any(stream.is_truncated(frame.side) for frame in frames)


def read_items(file: BinaryIO, start: int) -> tuple[list[tuple[int, int]], int]:
    """Return the place (offset, bytes) of every item's value, and where they end; values are not read."""
    size = file.seek(0, 2)
    places: list[tuple[int, int]] = []
    at = start
    while at + _ITEM.size <= size:
        file.seek(at)
        group, element, length = _ITEM.unpack(file.read(_ITEM.size))
        if (group, element) != (_GROUP, _ITEM_ELEMENT) or at + _ITEM.size + length > size:
            break
        places.append((at + _ITEM.size, length))
        at += _ITEM.size + length
        if len(places) > _MOST_FRAMES:
            raise NotReproducible("it has too many fragments")
    return places, at


def _group(places: list[tuple[int, int]], table: bytes, frames: int) -> list[list[tuple[int, int]]]:
    """Return the fragments of every frame."""
    if not places:
        raise NotReproducible("it has no frames")
    if len(places) == frames:
        return [[place] for place in places]
    if frames == 1:
        return [places]
    if len(table) != 4 * frames:
        raise NotReproducible("nothing says which of its fragments make a frame")
    begins = [int(n) + places[0][0] for n in np.frombuffer(table, "<u4")]
    groups: list[list[tuple[int, int]]] = []
    for place in places:
        if len(groups) < frames and place[0] == begins[len(groups)]:
            groups.append([])
        if not groups:
            raise NotReproducible("its offset table does not fit its fragments")
        groups[-1].append(place)
    if len(groups) != frames:
        raise NotReproducible("its offset table does not fit its fragments")
    return groups


def _value(file: BinaryIO, place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1])


def _take_apart(pixels: Pixels, data: bytes) -> Parts:
    """Return the samples [components, Y, X] and the side of one frame. Raises NotReproducible."""
    if pixels.stream == _NATIVE:
        c, kind = pixels.components, np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.bits // 8}").newbyteorder("<")
        count = pixels.rows * pixels.columns * c
        if len(data) < count * kind.itemsize:
            raise NotReproducible("a frame is shorter than its header says")
        words = np.frombuffer(data, kind, count).reshape(pixels.rows, pixels.columns, c)
        return Parts(np.moveaxis(words, -1, 0), data[count * kind.itemsize :])
    from ..streams.registry import BY_NUMBER  # numba is imported when there is a stream to decode

    frame = FrameInfo(pixels.rows, pixels.columns, pixels.components, pixels.bits)
    return BY_NUMBER[pixels.stream].take_apart(data, frame)


def _make(number: int, samples: NDArray[Any], side: bytes) -> bytes:
    """Return the stream of one frame. Raises DamagedError."""
    if number == _NATIVE:
        return np.moveaxis(samples, 0, -1).tobytes() + side
    from ..streams.registry import BY_NUMBER

    return BY_NUMBER[number].make(samples, side)


def _frames_of(samples_map: Map, planes: Iterator[Planes]) -> Iterator[NDArray[Any]]:
    """Yield the samples [components, Y, X] of each frame."""
    for block in planes:
        samples = samples_map.inverse(block)
        for z in range(samples.shape[1]):
            yield np.ascontiguousarray(samples[:, z])


def _items(frame: _Frame, stream: bytes) -> bytes:
    """Return the items of one frame."""
    pieces: list[bytes] = []
    at = 0
    for length in frame.lengths:
        pieces.append(_item(stream[at : at + length]))
        at += length
    if at > len(stream):
        raise DamagedError("its fragments are longer than its stream")
    return b"".join([*pieces, _item(stream[at:])])


def _item(value: bytes) -> bytes:
    return _ITEM.pack(_GROUP, _ITEM_ELEMENT, len(value)) + value


def _offsets(sizes: list[int]) -> bytes:
    """Return the offset table of frames whose items have these bytes; b"" where offsets exceed 32 bits."""
    begins = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    return begins.astype("<u4").tobytes() if begins[-1] < 1 << 32 else b""


def _parse(side: bytes) -> tuple[Map, int, bytes | int, list[_Frame]]:
    """Return the map, the stream's number, the table (its value, or _OFFSETS, or _EMPTY), the frames."""
    cursor = Cursor(side, "the kept frame of a compressed image")
    samples_map, number, table = Map.decoded(cursor), cursor.take(1)[0], cursor.take(1)[0]
    if table > _LITERAL:
        raise cursor.damaged()
    value: bytes | int = cursor.string() if table == _LITERAL else table
    frames: list[_Frame] = []
    for _ in range(cursor.varint(limit=len(side))):
        fragments = cursor.varint(limit=len(side))
        if fragments < 1:
            raise cursor.damaged()
        frames.append(_Frame(cursor.varints(fragments - 1), cursor.string()))
    cursor.end()
    if number != _NATIVE:
        from ..streams.registry import BY_NUMBER

        if number not in BY_NUMBER:
            raise cursor.damaged()
    return samples_map, number, value, frames
