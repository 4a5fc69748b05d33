"""PNG files (ISO/IEC 15948) of grey or colour, 8 or 16 bits a sample, without interlacing.

Palettes and samples of fewer bits are drawings, which stay whole.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..bodies.planes import Kind, Map
from ..bodies.png import IDAT, LIMIT, PngReading
from .protocol import Format, Image, NotCoded

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4sIIBBBBB")  # length, type; width, height, bits, colour type, three methods
_COMPONENTS = {0: 1, 2: 3, 4: 2, 6: 4}  # of colour types
_PALETTE = 3  # a colour type
_MOST_CHUNKS = 1 << 12  # before the image data
_OUTSIDE = "its chunks lie outside of it"


class PngFormat(Format):
    """A PNG file."""

    def sniff(self, head: bytes) -> bool:
        """Accept the signature."""
        return head.startswith(_SIGNATURE)

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file."""
        size = file.seek(0, 2)
        file.seek(len(_SIGNATURE))
        head = file.read(_HEADER.size)
        if len(head) != _HEADER.size:
            raise NotCoded(_OUTSIDE)
        length, kind, columns, rows, bits, colour, compression, filters, interlace = _HEADER.unpack(head)
        if (length, kind, compression, filters) != (13, b"IHDR", 0, 0) or interlace > 1:
            raise NotCoded("its header makes no sense")
        if interlace:
            raise NotCoded("its rows are interlaced")
        if colour not in _COMPONENTS or bits not in (8, 16):
            raise NotCoded(_unlike(colour, bits))
        components, width = _COMPONENTS[colour], bits // 8
        if not 0 < rows * (columns * components * width + 1) <= LIMIT or not columns:
            raise NotCoded("it is too large, or has no pixels")
        start = _image_data(file, len(_SIGNATURE), size)
        samples = Map(Kind.COLOUR if components == 3 else Kind.SAME, np.dtype(f"<u{width}"), components)
        return Image(
            format=self, path=path, name=name, size=size, start=start, rows=rows, columns=columns, frames=1, bits=bits,
            signed=False, big_endian=False, series=name,
            reading=PngReading(samples, rows=rows, columns=columns, start=start),
        )  # fmt: skip


def _unlike(colour: int, bits: int) -> str:
    """Return why samples are not coded."""
    if colour == _PALETTE:
        return "its colours are in a palette"
    if colour in _COMPONENTS and bits in (1, 2, 4):
        return f"its samples have {bits} bit{'s' * (bits > 1)}, not 8 or 16"
    return "its header makes no sense"


def _image_data(file: BinaryIO, at: int, size: int) -> int:
    """Return where the first IDAT chunk begins. Raises NotCoded."""
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) != 8:
            raise NotCoded(_OUTSIDE)
        if head[4:] == IDAT:
            return at
        at += 12 + int.from_bytes(head[:4], "big")
        if at > size:
            raise NotCoded(_OUTSIDE)
    raise NotCoded("it has too many chunks before its image data")


PNG = PngFormat()
