"""The header of a payload: what the image is, and how it was quantised.

    byte      version (low 4 bits), FILTERED, LIMITED
    byte      type of the pixels (TYPES)
    varints   height, width
    varints   LIMITED only: the least pixel less the type's least, the greatest less the least
    2 bytes   code of the step, little-endian
    2 bytes   shifts less LOWEST_SHIFT, 4 bits each, little-endian; the highest 4 bits are 0

Pixels are restored within their limits, which are those of the type if none are stated. The middle of the limits is
subtracted before the transform.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import DamagedError, NewerError
from ..wire.cursor import Cursor, varint
from .quantisation import LAST_STEP, LOWEST_SHIFT, Steps

VERSION = 1
FILTERED, LIMITED = 16, 32
TYPES = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.uint16), np.dtype(np.int16))
MOST_PIXELS = 1 << 28
LONGEST = 1 << 20  # a side


class Header(NamedTuple):
    """The header.

    dtype      of the pixels
    shape      height, width
    least      of the pixels; greatest: of the pixels
    steps      of the quantisation
    filtered   whether the image was filtered after it was restored
    """

    dtype: np.dtype
    shape: tuple[int, int]
    least: int
    greatest: int
    steps: Steps
    filtered: bool

    @property
    def middle(self) -> int:
        """The level that is subtracted before the transform."""
        return (self.least + self.greatest + 1) >> 1

    def limited(self) -> bool:
        """Return whether the limits are not those of the type."""
        info = np.iinfo(self.dtype)
        return (self.least, self.greatest) != (info.min, info.max)

    def to_bytes(self) -> bytes:
        """Return the header as bytes."""
        flags = VERSION | FILTERED * self.filtered | LIMITED * self.limited()
        out = bytes([flags, TYPES.index(self.dtype)]) + varint(self.shape[0]) + varint(self.shape[1])
        if self.limited():
            out += varint(self.least - int(np.iinfo(self.dtype).min)) + varint(self.greatest - self.least)
        shifts = sum((shift - LOWEST_SHIFT) << (4 * i) for i, shift in enumerate(self.steps.shifts))
        return out + self.steps.code.to_bytes(2, "little") + shifts.to_bytes(2, "little")


def read(cursor: Cursor) -> Header:
    """Read the header at the start of a payload.

    Raises:
        UnsupportedError: a version that is not known.
        DamagedError: contents that no writer makes, or an image of more than MOST_PIXELS.
    """
    flags, kind = cursor.take(2)
    if flags & 15 != VERSION:
        raise NewerError(f"the lossy layer has version {flags & 15}, this one reads {VERSION}; upgrade volcomp")
    if flags & ~(15 | FILTERED | LIMITED) or kind >= len(TYPES):
        raise cursor.damaged()
    height, width = cursor.varint(LONGEST), cursor.varint(LONGEST)
    if not 0 < height * width <= MOST_PIXELS:
        raise DamagedError(f"the lossy layer states an image of {height}×{width} pixels; it has 1 to {MOST_PIXELS}")
    info = np.iinfo(TYPES[kind])
    least, greatest = int(info.min), int(info.max)
    if flags & LIMITED:
        least += cursor.varint(greatest - least)
        greatest = least + cursor.varint(greatest - least)
        if (least, greatest) == (info.min, info.max):
            raise cursor.damaged()
    code = int.from_bytes(cursor.take(2), "little")
    packed = int.from_bytes(cursor.take(2), "little")
    if code > LAST_STEP or packed >> 12:
        raise cursor.damaged()
    first, second, third = ((packed >> (4 * i) & 15) + LOWEST_SHIFT for i in range(3))
    steps = Steps(code, (first, second, third))
    return Header(TYPES[kind], (height, width), least, greatest, steps, bool(flags & FILTERED))
