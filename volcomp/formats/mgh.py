"""MGH files of FreeSurfer: 284 bytes of header, big-endian numbers, and bytes of any kind after them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .protocol import Description, Format, Image, NotCoded
from .uncompressed import Stated, image_of

_START = 284
_FIELDS = struct.Struct(">6i")  # version, columns, rows, slices, time points, type
_SPACING = struct.Struct(">h3f")  # at byte 28: whether what follows is stated; x, y, z in mm
_TYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 8: ">f8", 10: ">u2"}


class Mgh(Format):
    """An MGH file."""

    def sniff(self, head: bytes) -> bool:
        """Accept version 1 with a number of columns of at most 2^24."""
        return head.startswith(b"\0\0\0\1\0") and len(head) >= _START

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file; None where it states no type."""
        *_, kind = fields = _FIELDS.unpack(file.read(_FIELDS.size))
        if kind not in _TYPES:
            if min(fields[1:5]) < 1:
                return None
            raise NotCoded(f"its header states the data type {kind}")
        return image_of(self, path, name, file, Stated(_START, np.dtype(_TYPES[kind]), fields[1:5]))

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its header."""
        if len(headers[0]) < _START:
            return Description()
        stated, *spacing = _SPACING.unpack_from(headers[0], 28)
        if not stated:
            return Description()
        x, y, z = (round(abs(n), 6) if math.isfinite(n) and n else None for n in spacing)
        return Description(spacing_mm=(z, y, x))


MGH = Mgh()
