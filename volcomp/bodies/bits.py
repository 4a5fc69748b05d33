"""Uncompressed samples of fewer than 16 bits, packed end to end without regard to bytes (DICOM PS3.5, 8.1.1 and D).

The kept side is

    bits         1 … 15, of a sample
    components   1 … 4: samples of a pixel, side by side
    flags        1: all samples of a component of a frame, then those of the next; 2: the most significant bit comes
                 first, else the least; 4: every frame begins at a byte, after bits of zero
    fill         the bits of the last byte that belong to no sample, as a number

The planes are the components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor
from .protocol import Kept, KeptAtLast, Piece, Planes

_PLANAR, _HIGH_FIRST, _BY_FRAME = 1, 2, 4  # flags
_MOST_BITS, _MOST_COMPONENTS = 15, 4
_BLOCK = 1 << 24  # samples that are read at once, or one frame
_STEP = 1 << 20  # samples whose bits are held at once, a byte each


@dataclass(frozen=True)
class Packing:
    """How samples lie in a file."""

    bits: int
    components: int = 1
    planar: bool = False
    high_first: bool = False
    by_frame: bool = False

    @property
    def word(self) -> np.dtype[Any]:
        """Return the type of the words of a plane."""
        return np.dtype("u1" if self.bits <= 8 else "<u2")

    def encoded(self) -> bytes:
        """Return the bytes of this packing, for `decoded`."""
        flags = _PLANAR * self.planar | _HIGH_FIRST * self.high_first | _BY_FRAME * self.by_frame
        return bytes([self.bits, self.components, flags])

    @classmethod
    def decoded(cls, cursor: Cursor) -> Packing:
        """Read a packing. Raises DamagedError."""
        bits, components, flags = cursor.take(3)
        if not (1 <= bits <= _MOST_BITS and 1 <= components <= _MOST_COMPONENTS) or flags >= 2 * _BY_FRAME:
            raise cursor.damaged()
        return cls(bits, components, bool(flags & _PLANAR), bool(flags & _HIGH_FIRST), bool(flags & _BY_FRAME))

    @property
    def _order(self) -> Literal["big", "little"]:
        return "big" if self.high_first else "little"

    def to_bits(self, words: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bits of samples [n], as bytes of 0 or 1."""
        if self.bits == 1:
            return np.ascontiguousarray(words, np.uint8)
        raw = np.ascontiguousarray(words, self.word).view(np.uint8)
        bits = np.unpackbits(raw, bitorder="little").reshape(len(words), -1)[:, : self.bits]
        return np.ascontiguousarray(bits[:, ::-1] if self.high_first else bits).reshape(-1)

    def to_words(self, bits: NDArray[np.uint8]) -> NDArray[Any]:
        """Invert `to_bits`."""
        if self.bits == 1:
            return bits
        rows = bits.reshape(-1, self.bits)
        wide = np.zeros((len(rows), 8 * self.word.itemsize), np.uint8)
        wide[:, : self.bits] = rows[:, ::-1] if self.high_first else rows
        return np.packbits(wide, axis=1, bitorder="little").view(self.word).reshape(-1)

    def pack(self, bits: NDArray[np.uint8]) -> bytes:
        """Pack bits into bytes; what is missing of the last are zeros."""
        return np.packbits(bits, bitorder=self._order).tobytes()

    def unpack(self, data: bytes) -> NDArray[np.uint8]:
        """Invert `pack`."""
        return np.unpackbits(np.frombuffer(data, np.uint8), bitorder=self._order)

    def frames(self, planes: Planes) -> NDArray[Any]:
        """Return samples [frames, n] in the order of the file. Raises DamagedError for planes that are not its own."""
        if len(planes) != self.components or any(plane.dtype.itemsize != self.word.itemsize for plane in planes):
            raise DamagedError("its planes are not what its kept bytes say")
        words = np.stack(planes, 1 if self.planar else -1).view(self.word)
        if (words >> self.bits).any():
            raise DamagedError("its voxels have more bits than its samples")
        return words.reshape(len(words), -1)

    def planes(self, samples: NDArray[Any], rows: int, columns: int) -> Planes:
        """Invert `frames`."""
        if self.planar:
            return list(samples.reshape(-1, self.components, rows, columns).swapaxes(0, 1))
        return list(np.moveaxis(samples.reshape(-1, rows, columns, self.components), -1, 0))


class Bits:
    """Body 6."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        cursor = Cursor(kept.side, "the kept packing of samples")
        packing, fill = Packing.decoded(cursor), cursor.take(1)[0]
        cursor.end()
        yield kept.before
        held = np.empty(0, np.uint8)  # bits that are no whole byte
        for block in planes:
            for frame in packing.frames(block):
                for at in range(0, frame.size, _STEP):
                    held = np.concatenate([held, packing.to_bits(frame[at : at + _STEP])])
                    whole = held.size - held.size % 8
                    yield packing.pack(held[:whole])
                    held = held[whole:]
                if packing.by_frame and held.size:
                    yield packing.pack(held)
                    held = held[:0]
        if fill >> -held.size % 8:
            raise DamagedError("its last byte has more bits than eight")
        if held.size:
            last = packing.pack(held)[0]
            yield bytes([last | (fill if packing.high_first else fill << held.size)])
        yield kept.after


class BitsReading(KeptAtLast):
    """How an encoder reads packed samples."""

    number = 6

    def __init__(self, packing: Packing, *, start: int, rows: int, columns: int, frames: int) -> None:
        self._packing, self._start, self._shape, self._frames = packing, start, (rows, columns), frames
        self._frame = rows * columns * packing.components  # samples
        self.planes, self.bits = packing.components, 8 * packing.word.itemsize

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        packing = self._packing
        file.seek(0)
        before = file.read(self._start)
        held = np.empty(0, np.uint8)
        left = self._frames
        while left:
            count = min(left, max(1, _BLOCK // self._frame))
            samples = np.empty((count, self._frame), packing.word)
            for frame in samples:
                for at in range(0, frame.size, _STEP):
                    step = frame[at : at + _STEP]
                    wanted = step.size * packing.bits
                    size = max(0, -(-(wanted - held.size) // 8))
                    data = file.read(size)
                    if len(data) != size:
                        raise NotReproducible("it is shorter than its header says")
                    held = np.concatenate([held, packing.unpack(data)])
                    step[:] = packing.to_words(held[:wanted])
                    held = held[wanted:]
                if packing.by_frame:
                    held = held[:0]  # zeros; the trial finds others
            yield packing.planes(samples, *self._shape)
            left -= count
        ordered = held if packing.high_first else held[::-1]
        fill = int("0" + "".join(map(str, ordered.tolist())), 2)
        self._kept = Kept(before, packing.encoded() + bytes([fill]), file.read())
