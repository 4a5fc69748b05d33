"""Reversible maps between samples and planes of 8 or 16 bits, which neighbouring voxels predict better.

Samples are [components, z, Y, X], planes a list of arrays [z, Y, X].
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..wire.cursor import Cursor
from .protocol import Planes

TYPES = tuple(np.dtype(name) for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4"))  # of samples; numbers in files
_MOST_COMPONENTS = 4
MOST_PLANES = 2 * _MOST_COMPONENTS


class Kind(IntEnum):
    """The maps; the numbers are part of the format."""

    SAME = 0  # a plane for each component
    COLOUR = 1  # red, green, blue: green, then the differences of the others to it, modulo the type, around its middle
    HALVES = 2  # words of 32 bits: the high half, then the low half
    STORED = 3  # the low `bits` of each word, then those above, which are no part of the picture
    SIGNED = 4  # words of `bits` bits in two's complement, extended to 8 or 16
    WIDE = 5  # words of 8 bits, as words of 16


class Map(NamedTuple):
    """One map, with all that its inverse needs."""

    kind: Kind
    type: np.dtype[Any]  # of the samples
    components: int
    bits: int = 0  # of STORED and SIGNED

    @property
    def planes(self) -> int:
        """Return the number of planes."""
        return self.components * (2 if self.kind in (Kind.HALVES, Kind.STORED) else 1)

    @property
    def word(self) -> np.dtype[Any]:
        """Return the type of the words of a plane: unsigned, 8 or 16 bits."""
        return np.dtype("u1" if self.type.itemsize == 1 and self.kind != Kind.WIDE else "<u2")

    def encoded(self) -> bytes:
        """Return the bytes of this map, for `decoded`."""
        return bytes([self.kind, TYPES.index(self.type), self.components, self.bits])

    @classmethod
    def decoded(cls, cursor: Cursor) -> Map:
        """Read a map. Raises DamagedError."""
        kind, number, components, bits = cursor.take(4)
        if kind >= len(Kind) or number >= len(TYPES) or not 1 <= components <= _MOST_COMPONENTS:
            raise cursor.damaged()
        found = cls(Kind(kind), TYPES[number], components, bits)
        wide = found.type.itemsize == 4
        most = 8 * found.type.itemsize - 1
        needs_bits = found.kind in (Kind.STORED, Kind.SIGNED)
        if (
            wide != (found.kind == Kind.HALVES)
            or (found.kind == Kind.WIDE and found.type.itemsize != 1)
            or not (1 <= bits <= most if needs_bits else bits == 0)
            or (found.kind == Kind.COLOUR and components != 3)
        ):
            raise cursor.damaged()
        return found

    def forward(self, samples: NDArray[Any]) -> Planes:
        """Return the planes of samples [components, z, Y, X] of this map's type."""
        words = samples.view(np.dtype(samples.dtype.str.replace("i", "u")))
        if self.kind == Kind.COLOUR:
            red, green, blue = words
            middle = words.dtype.type(1 << (8 * words.itemsize - 1))
            return [green, red - green + middle, blue - green + middle]
        if self.kind == Kind.HALVES:
            return [half for word in words for half in ((word >> 16).astype("<u2"), (word & 0xFFFF).astype("<u2"))]
        if self.kind == Kind.STORED:
            low, shift = words.dtype.type((1 << self.bits) - 1), words.dtype.type(self.bits)
            return [part for word in words for part in (word & low, word >> shift)]
        if self.kind == Kind.SIGNED:
            sign = words.dtype.type(1 << (self.bits - 1))
            return [(word ^ sign) - sign for word in words]
        return [word.astype(self.word) for word in words] if self.kind == Kind.WIDE else list(words)

    def inverse(self, planes: Planes) -> NDArray[Any]:
        """Return the samples [components, z, Y, X] of planes; DamagedError where there are too few or wide ones."""
        if len(planes) != self.planes or any(plane.dtype.itemsize != self.word.itemsize for plane in planes):
            raise DamagedError("its planes are not what its kept bytes say")
        words = [plane.view(self.word) for plane in planes]
        if self.kind == Kind.COLOUR:
            middle = self.word.type(1 << (8 * self.word.itemsize - 1))
            green = words[0]
            words = [words[1] - middle + green, green, words[2] - middle + green]
        elif self.kind == Kind.HALVES:
            words = [high.astype("<u4") << 16 | low for high, low in zip(words[::2], words[1::2], strict=True)]
        elif self.kind == Kind.STORED:
            shift = self.word.type(self.bits)
            words = [low | high << shift for low, high in zip(words[::2], words[1::2], strict=True)]
        elif self.kind == Kind.SIGNED:
            words = [word & self.word.type((1 << self.bits) - 1) for word in words]
        elif self.kind == Kind.WIDE:
            words = [word.astype("u1") for word in words]
        return np.stack(words).view(self.type)
