"""Decode kept bytes and whole files: the mirror of `header_writer` and of the blobs in `pack`. Needs no pydicom."""

from __future__ import annotations

from collections.abc import Iterator

from ..bodies.protocol import Kept
from ..container.sections import BLOB, KEPT, Reader, SectionId
from ..errors import DamagedError
from .bytes_codec import CHUNK_BYTES, unpack
from .entry import Voxels
from .table import MAX_RECORDS, decode_table


class Records:
    """What is kept of images beside their voxels; holds one table at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._current = -1
        self._records: list[bytes] = []
        self._broken: dict[int, DamagedError] = {}

    def get(self, place: Voxels) -> Kept:
        """Return the bytes that are kept of one image. Raises DamagedError."""
        table = place.table
        if table in self._broken:
            raise self._broken[table]
        if table != self._current:
            self._current = -1
            try:
                self._records = _read_table(self._reader, table)
            except DamagedError as error:
                self._broken[table] = error
                raise
            self._current = table
        record = self._records[place.row] if place.row < len(self._records) else b""
        side, after = place.before, place.before + place.side
        if after > len(record):
            raise DamagedError("fewer bytes were kept of it than the manifest says")
        return Kept(record[:side], record[side:after], record[after:])


def _read_table(reader: Reader, number: int) -> list[bytes]:
    """Return the records of a KEEP section, each as one string of bytes."""
    section = SectionId(KEPT, number)
    raw = unpack(reader.read(section), str(section))
    columns = decode_table(raw, str(section), max_rows=MAX_RECORDS, max_bytes=CHUNK_BYTES)
    return [b"".join(cells) for cells in zip(*columns, strict=True)]


class Blobs:
    """The BLOB sections as one stream of bytes; holds one section at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._current = -1
        self._bytes = b""
        self._broken: dict[int, DamagedError] = {}

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from start to end - 1 in pieces."""
        while start < end:
            number, offset = divmod(start, CHUNK_BYTES)
            self._load(number)
            piece = self._bytes[offset : offset + end - start]
            if not piece:
                raise DamagedError(f"{SectionId(BLOB, number)} is damaged: it holds fewer bytes than its files")
            yield piece
            start += len(piece)

    def _load(self, number: int) -> None:
        """Make a BLOB section the current one; a damaged section is not read again for each of its files."""
        if number in self._broken:
            raise self._broken[number]
        if number == self._current:
            return
        section = SectionId(BLOB, number)
        self._current = -1
        try:
            self._bytes = unpack(self._reader.read(section), str(section))
        except DamagedError as error:
            self._broken[number] = error
            raise
        self._current = number
