"""TIFF 6.0 and BigTIFF: uncompressed pages of one shape and type, in order, with or without gaps between strips.

Of ImageJ's files with more pages than a directory is written for, the description of the only page says how many.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from .protocol import Format, Image, NotCoded
from .uncompressed import Stated, image_of

_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1 << 18
_MOST_VALUES = 1 << 22  # of all tags together, and tags: directories may share theirs, so a small file can state many
_COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_OFFSETS, _SAMPLES, _LENGTHS, _PLANAR, _PREDICTOR, _TILE, _FORMAT = 273, 277, 279, 284, 317, 322, 339
_WANTED = {
    _COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _OFFSETS, _SAMPLES, _LENGTHS, _PLANAR,
    _PREDICTOR, _TILE, _FORMAT,
}  # fmt: skip
_WIDTHS = {1: "B", 2: "s", 3: "H", 4: "I", 16: "Q"}  # of types of fields that are wanted
_NONE, _RGB, _SEPARATE = 1, 2, 2  # compression, photometric, planar configuration
_KINDS = {1: "u", 2: "i", 3: "f", 5: "c", 6: "c"}  # sample formats; 5, of complex integers, is refused by its width
_IMAGES = re.compile(rb"^images=([0-9]{1,9})$", re.MULTILINE)


class _Page(NamedTuple):
    """The pixels of a page."""

    strips: tuple[tuple[int, int], ...]  # offset and bytes
    length: int
    rows: int
    columns: int
    bits: int
    format: int
    samples: int
    colour: bool
    separate: bool
    images: int  # pages that the description states


class _Reader:
    """The directories of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, 2)
        file.seek(0)
        head = file.read(8)
        self.endian = "<" if head[:2] == b"II" else ">"
        self._big = head[2:4] in (b"+\0", b"\0+")
        self._word = "Q" if self._big else "I"
        if self._big and head[4:] not in (b"\x08\0\0\0", b"\0\x08\0\0"):
            raise NotCoded("its header makes no sense")
        self._left = _MOST_VALUES
        self._next = self._numbers(8 if self._big else 4, self._word, 1)[0]

    def _numbers(self, at: int, kind: str, count: int) -> tuple[int, ...]:
        size = struct.calcsize("=" + kind) * count
        if at < 0 or at + size > self._size:
            raise NotCoded("its directories lie outside of it")
        self._file.seek(at)
        return struct.unpack(f"{self.endian}{count}{kind}", self._file.read(size))

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise NotCoded("its directories have too many values")

    def pages(self) -> list[_Page]:
        """Return all pages. Raises NotCoded."""
        pages: list[_Page] = []
        seen: set[int] = set()
        while self._next:
            if self._next in seen or len(seen) == _MOST_PAGES:
                raise NotCoded("its directories have no end")
            seen.add(self._next)
            pages.append(self._page(self._directory(self._next)))
        return pages

    def _directory(self, at: int) -> dict[int, list[int] | bytes]:
        """Return the fields that are wanted, and note where the next directory is."""
        count_kind, entry, room = ("Q", 20, 8) if self._big else ("H", 12, 4)
        (count,) = self._numbers(at, count_kind, 1)
        at += struct.calcsize("=" + count_kind)
        if at + count * entry > self._size:
            raise NotCoded("its directories lie outside of it")
        self._take(count)
        self._file.seek(at)
        entries = self._file.read(count * entry)
        found: dict[int, list[int] | bytes] = {}
        for place in range(0, len(entries), entry):
            tag, kind = struct.unpack_from(self.endian + "HH", entries, place)
            if tag not in _WANTED or kind not in _WIDTHS:
                continue
            (values,) = struct.unpack_from(self.endian + self._word, entries, place + 4)
            self._take(values)
            width = _WIDTHS[kind]
            inside = at + place + entry - room
            where = inside
            if struct.calcsize("=" + width) * values > room:
                (where,) = struct.unpack_from(self.endian + self._word, entries, place + entry - room)
            if kind == 2:
                self._file.seek(where)
                found[tag] = self._file.read(values)
            else:
                found[tag] = list(self._numbers(where, width, values))
        self._next = self._numbers(at + count * entry, self._word, 1)[0]
        return found

    def _page(self, fields: dict[int, list[int] | bytes]) -> _Page:
        def numbers(tag: int, missing: int) -> list[int]:
            found = fields.get(tag, [missing])
            return found if isinstance(found, list) and found else [missing]

        if _TILE in fields:
            raise NotCoded("its pixels are in tiles")
        if numbers(_COMPRESSION, _NONE) != [_NONE] or numbers(_PREDICTOR, 1) != [1]:
            raise NotCoded("its pixels are compressed")
        bits, formats, samples = numbers(_BITS, 1), numbers(_FORMAT, 1), numbers(_SAMPLES, 1)[0]
        if len({*bits}) != 1 or len({*formats}) != 1 or samples not in (1, len(bits)):
            raise NotCoded("its samples have several types")
        offsets, lengths = numbers(_OFFSETS, 0), numbers(_LENGTHS, 0)
        rows, columns = numbers(_ROWS, 0)[0], numbers(_COLUMNS, 0)[0]
        length = rows * columns * samples * bits[0] // 8
        if len(offsets) == 1:
            lengths = [length]
        if len(offsets) != len(lengths) or sum(lengths) != length:
            raise NotCoded("its header contradicts itself about its strips")
        text = fields.get(_DESCRIPTION, b"")
        images = _IMAGES.search(text) if isinstance(text, bytes) else None
        return _Page(
            tuple(zip(offsets, lengths, strict=True)), length, rows, columns, bits[0], formats[0], samples,
            numbers(_PHOTOMETRIC, 1)[0] == _RGB, numbers(_PLANAR, 1)[0] == _SEPARATE,
            int(images[1]) if images and isinstance(text, bytes) and text.startswith(b"ImageJ=") else 1,
        )  # fmt: skip


class Tiff(Format):
    """A TIFF file."""

    def sniff(self, head: bytes) -> bool:
        """Accept the order of bytes and the version."""
        return head[:4] in _BEGINNINGS

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file."""
        reader = _Reader(file)
        pages = reader.pages()
        if not pages or not pages[0].length:
            raise NotCoded("it has no pixels")
        first, count = pages[0], len(pages)
        if count == 1 and first.images > 1:
            count = first.images
        if first.bits not in (8, 16, 32, 64, 128) or first.format not in _KINDS:
            raise NotCoded(f"it has samples of {first.bits} bits of format {first.format}")
        try:
            kind = np.dtype(f"{reader.endian}{_KINDS[first.format]}{first.bits // 8}")
        except TypeError:
            raise NotCoded(f"it has samples of {first.bits} bits of format {first.format}") from None
        if any(page[1:-1] != first[1:-1] for page in pages):
            raise NotCoded("its pages differ in shape or type")
        components = 1 if first.separate else first.samples
        frames = count * first.samples // components
        start = first.strips[0][0]
        stated = Stated(
            start, kind, (first.columns, first.rows, frames), components, colour=first.colour, gaps=_gaps(pages, start)
        )
        return image_of(self, path, name, file, stated)


def _gaps(pages: list[_Page], start: int) -> tuple[tuple[int, int], ...]:
    """Return where bytes lie between strips. Raises NotCoded where they are not in the order of their pixels."""
    gaps: list[tuple[int, int]] = []
    count, end = 0, start
    for page in pages:
        for offset, length in page.strips:
            if offset < end:
                raise NotCoded("its strips do not follow each other")
            if offset > end:
                gaps.append((count, offset - end))
            count, end = count + length, offset + length
    return tuple(gaps)


TIFF = Tiff()
