"""Uncompressed samples in any order that is not one plane of words: colours, words of 32 bits, bits above the picture.

The kept side is a map (`planes.Map`), a byte of flags and the number of missing bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, varint
from .planes import Map
from .protocol import Kept, KeptAtLast, Piece, Planes

_PLANAR, _BIG_ENDIAN, _PAIRS = 1, 2, 4  # flags
_BLOCK_BYTES = 1 << 24  # that are read at once, or one frame
MOST_MISSING = 1 << 20


@dataclass(frozen=True)
class Order:
    """How samples lie in a file."""

    map: Map
    planar: bool = False  # all samples of a component of a frame, then those of the next
    big_endian: bool = False
    pairs: bool = False  # bytes are swapped in pairs: 8-bit samples in big-endian words
    missing: int = 0  # bytes that the last frame has too few

    def encoded(self) -> bytes:
        """Return the bytes of this order, for `decoded`."""
        flags = _PLANAR * self.planar | _BIG_ENDIAN * self.big_endian | _PAIRS * self.pairs
        return self.map.encoded() + bytes([flags]) + varint(self.missing)

    @classmethod
    def decoded(cls, side: bytes) -> Order:
        """Read an order. Raises DamagedError."""
        cursor = Cursor(side, "the kept order of samples")
        found, flags = Map.decoded(cursor), cursor.take(1)[0]
        if flags & ~(_PLANAR | _BIG_ENDIAN | _PAIRS):
            raise cursor.damaged()
        order = cls(
            found, bool(flags & _PLANAR), bool(flags & _BIG_ENDIAN), bool(flags & _PAIRS), cursor.varint(MOST_MISSING)
        )
        cursor.end()
        return order

    def to_planes(self, data: bytes | bytearray, rows: int, columns: int) -> Planes:
        """Return the planes of whole frames."""
        if self.pairs:
            data = _swapped(data)
        words: NDArray[Any] = np.frombuffer(data, self._stored())
        c = self.map.components
        if self.planar:
            samples = words.reshape(-1, c, rows, columns).swapaxes(0, 1)
        else:
            samples = np.moveaxis(words.reshape(-1, rows, columns, c), -1, 0)
        return self.map.forward(np.ascontiguousarray(samples, self.map.type))

    def to_bytes(self, planes: Planes) -> bytes:
        """Return the bytes of frames, not swapped in pairs, which may span frames. Raises DamagedError."""
        samples = self.map.inverse(planes)
        moved = samples.swapaxes(0, 1) if self.planar else np.moveaxis(samples, 0, -1)
        return moved.astype(self._stored(), order="C").tobytes()

    def _stored(self) -> np.dtype[Any]:
        return self.map.type.newbyteorder(">") if self.big_endian else self.map.type


def _swapped(data: bytes | bytearray) -> bytes:
    """Swap the bytes of each pair; their number is even."""
    return np.frombuffer(data, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()


class Samples:
    """Body 2."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        order = Order.decoded(kept.side)
        yield kept.before
        held = b""  # the last bytes, of which some are missing, and the first byte of a pair
        for block in planes:
            data = held + order.to_bytes(block)
            keep = max(len(data) - order.missing, 0)
            if order.pairs:
                keep -= keep % 2
            yield _swapped(data[:keep]) if order.pairs else data[:keep]
            held = data[keep:]
        if len(held) > order.missing:
            raise DamagedError("bytes cannot be swapped in pairs: their number is odd")
        yield kept.after


class SamplesReading(KeptAtLast):
    """How an encoder reads uncompressed samples."""

    number = 2

    def __init__(self, order: Order, *, start: int, rows: int, columns: int, frames: int) -> None:
        self._order, self._start, self._shape = order, start, (rows, columns)
        self._frame_bytes = rows * columns * order.map.components * order.map.type.itemsize
        self._frames = frames
        self.planes, self.bits = order.map.planes, 8 * order.map.word.itemsize

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`. Missing bytes of the last frame are zeros."""
        file.seek(0)
        before = file.read(self._start)
        count = max(1, _BLOCK_BYTES // self._frame_bytes)
        if self._order.pairs and self._frame_bytes % 2:
            count = self._frames  # pairs may span frames
        left = self._frames
        while left:
            count = min(count, left)
            data = file.read(count * self._frame_bytes - (self._order.missing if count == left else 0))
            if count == left:
                data += bytes(self._order.missing)
            if len(data) != count * self._frame_bytes:
                raise NotReproducible("it is shorter than its header says")
            yield self._order.to_planes(data, *self._shape)
            left -= count
        self._kept = Kept(before, self._order.encoded(), file.read())
