"""Image files that are compressed with gzip as a whole (`.nii.gz`), and zlib or gzip data behind a plain header.

What a file inflates to is looked at by the other formats, which see an ordinary file: `Inflated`. It is inflated piece
by piece, and again where a format goes back, so that little memory is needed whatever it inflates to.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from ..bodies.gzipped import DEFLATING, GZIP, LARGEST, GzippedReading, NativeReading, member_start
from .protocol import HEAD_BYTES, Format, Image, NotCoded

_PIECE = 1 << 18  # bytes that are read and inflated at once
_HEAD = 1 << 17  # bytes that the header of a member has at most
_BUFFER = 1 << 16
_NO_MEMBER = "it has no gzip member or zlib stream where its header says"


class _Raw(io.RawIOBase):
    """A file as if its members were not compressed."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        super().__init__()
        self._file, self._start = file, start
        self._size: int | None = None
        self._rewind()

    def _rewind(self) -> None:
        self._pieces, self._held, self._at = _pieces(self._file, self._start), memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._held))
        target[:count] = self._held[:count]
        self._held = self._held[count:]
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += self._end()
        elif whence == io.SEEK_CUR:
            offset += self._at
        if offset < self._at:
            self._rewind()
        while self._at < offset:
            if not self._held:
                piece = next(self._pieces, None)
                if piece is None:
                    self._at = offset  # as a file, which has nothing behind its end
                    break
                self._held = memoryview(piece)
            count = min(offset - self._at, len(self._held))
            self._held = self._held[count:]
            self._at += count
        return self._at

    def _end(self) -> int:
        """Return the size, for which all is inflated once."""
        if self._size is None:
            self._size = sum(map(len, _pieces(self._file, self._start)))
            self._rewind()  # the file was moved
        return self._size


def _pieces(file: BinaryIO, start: int) -> Iterator[bytes]:
    """Yield the first `start` bytes of a file and what its members inflate to. Raises NotCoded."""
    file.seek(0)
    yield file.read(start)
    left = file.read(_HEAD)
    found, total = member_start(left), 0
    if not found:
        raise NotCoded(_NO_MEMBER)
    while found:
        machine = zlib.decompressobj(-15)
        left = left[found[0] :]
        while not machine.eof:
            left = left or file.read(_PIECE)
            try:
                piece = machine.decompress(left, _PIECE)
            except zlib.error:
                raise NotCoded("its deflate stream is damaged") from None
            total += len(piece)
            if total > LARGEST:
                raise NotCoded("it inflates to more than 2 GiB")
            if piece:
                yield piece
            elif not left:
                raise NotCoded("its deflate stream is cut short")
            left = machine.unconsumed_tail
        left = machine.unused_data
        if found[1] != GZIP:
            return
        left += file.read(_HEAD) if len(left) < _HEAD else b""
        left = left[8:]  # CRC-32 and size
        found = member_start(left) if left[:1] == b"\x1f" else None


def inflated(file: BinaryIO, start: int = 0) -> BinaryIO:
    """Return a file as if it were not compressed: its first `start` bytes, then what its members inflate to.

    Reading and seeking raise NotCoded where what follows `start` is no gzip member or zlib stream, is damaged, or
    inflates to more than 2 GiB; seeking to the end inflates all of it.
    """
    return cast(BinaryIO, io.BufferedReader(_Raw(file, start), _BUFFER))


def wrapped(image: Image, size: int, start: int = 0) -> Image:
    """Return the image of a compressed file from that of the inflated one. Raises NotCoded.

    Parameters:
        image: as a format finds it in `inflated(file, start)`: native, or with a reading.
        size: of the compressed file, bytes.
        start: of the first member in the file, bytes: 0 for a `.gz`, the size of the header where its data alone are
            compressed.
    """
    inner = image.reading or NativeReading(
        start=image.start, rows=image.rows, columns=image.columns, frames=image.frames, bits=image.bits,
        big_endian=image.big_endian,
    )  # fmt: skip
    if inner.number in DEFLATING:
        raise NotCoded("its data are compressed twice")
    return replace(image, size=size, stored=0, big_endian=False, reading=GzippedReading(inner, start))


class Gzipped(Format):
    """Files of other formats that are compressed with gzip as a whole."""

    def __init__(self, inner: Sequence[Format]) -> None:
        self._inner = tuple(inner)

    def sniff(self, head: bytes) -> bool:
        """Accept the magic number of gzip with the one method there is."""
        return head[:3] == b"\x1f\x8b\x08"

    def read(self, path: Path, name: str, file: BinaryIO) -> Image:
        """Return the image that another format finds in what the file inflates to."""
        size = file.seek(0, 2)
        plain = inflated(file)
        head = plain.read(HEAD_BYTES)
        refused = NotCoded("what it inflates to is no image of a known format")
        bare = str(PurePosixPath(name).with_suffix("")) if name.lower().endswith(".gz") else name
        for file_format in self._inner:
            if file_format.sniff(head):
                plain.seek(0)
                try:
                    found = file_format.read(path, bare, plain)
                    if found is None:
                        continue
                    image = wrapped(found, size)
                    series = name if image.series == bare else image.series
                    return replace(image, path=path, name=name, series=series)
                except NotCoded as error:
                    refused = error
        raise refused
