"""MGH files of FreeSurfer: 284 bytes of header, big-endian numbers, and bytes of any kind after them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .facts import TO_LPS, UNKNOWN, Facts, place_of
from .protocol import Format, Image, NotCoded
from .uncompressed import Stated, image_of

_START = 284
_FIELDS = struct.Struct(">6i")  # version, columns, rows, slices, time points, type
# At byte 28: whether what follows is stated; sizes of voxels in mm; directions of x, y and z, and the middle, in RAS.
_PLACE = struct.Struct(">h15f")
_CORONAL = (1, 1, 1, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0)  # where it is not
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

    def facts(self, header: bytes) -> Facts | None:
        """Return what a header states. Where it has no place, FreeSurfer takes the volume for a coronal one of 1 mm.

        The middle is that of half the number of voxels along each axis, which is a voxel's centre where that is even.
        """
        if len(header) < _START:
            return None
        *_, kind = fields = _FIELDS.unpack_from(header)
        if kind not in _TYPES or min(fields[1:5]) < 1:
            return None
        stated, *numbers = _PLACE.unpack_from(header, 28)
        numbers = numbers if stated else list(_CORONAL)
        with np.errstate(all="ignore"):
            directions = np.reshape(numbers[3:12], (3, 3)).T * numbers[:3]
            origin = np.array(numbers[12:]) - directions @ np.array(fields[1:4]) / 2
            to_lps = TO_LPS[:3, :3]
            place = place_of(to_lps @ directions, to_lps @ origin) if stated else place_of(
                to_lps @ directions, to_lps @ origin, UNKNOWN
            )  # fmt: skip
        return Facts(np.dtype(_TYPES[kind]), fields[1:5], place=place)


MGH = Mgh()
