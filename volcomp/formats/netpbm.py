"""Netpbm's binary grey and colour maps (PGM and PPM, P5 and P6), of one or several images in a file.

Those after the first have the same shape and type as it, or else the rest of the file is kept as it is. Maps in
decimal digits (P2, P3) and bit maps stay whole.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .protocol import Format, Image, NotCoded
from .uncompressed import Stated, image_of

# Between the numbers is white space, and comments from # to the end of a line; one white space ends the header.
_GAP = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(
    rb"P([56])" + _GAP + rb"([0-9]{1,9})" + _GAP + rb"([0-9]{1,9})" + _GAP + rb"([0-9]{1,5})"
    rb"(?:#[^\n\r]*[\n\r]|[ \t\n\v\f\r])"
)
_MOST_HEADER = 1 << 14  # bytes
_MOST_IMAGES = 1 << 16


class Netpbm(Format):
    """A PGM or PPM file."""

    def sniff(self, head: bytes) -> bool:
        """Accept the magic numbers of P5 and P6."""
        return head[:2] in (b"P5", b"P6") and head[2:3] in (b" ", b"\t", b"\n", b"\v", b"\f", b"\r", b"#")

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the images in a file."""
        size = file.seek(0, 2)
        file.seek(0)
        found = _HEADER.match(file.read(_MOST_HEADER))
        if not found:
            return None
        kind, columns, rows, most = (int(number) for number in found.groups())
        if not 0 < most < 1 << 16 or not rows * columns:
            raise NotCoded("its header makes no sense")
        components = 1 if kind == 5 else 3
        start, width = found.end(), 1 if most < 256 else 2
        gaps: list[tuple[int, int]] = []
        image, end = rows * columns * components * width, start + rows * columns * components * width
        while end < size and len(gaps) < _MOST_IMAGES:
            file.seek(end)
            again = _HEADER.match(file.read(_MOST_HEADER))
            if not again or [int(n) for n in again.groups()] != [kind, columns, rows, most]:
                break
            if end + again.end() + image > size:
                break
            gaps.append((image * (len(gaps) + 1), again.end()))
            end += again.end() + image
        stated = Stated(
            start, np.dtype("u1" if width == 1 else ">u2"), (columns, rows, len(gaps) + 1), components,
            colour=kind == 6, gaps=tuple(gaps),
        )  # fmt: skip
        return image_of(self, path, name, file, stated)


NETPBM = Netpbm()
