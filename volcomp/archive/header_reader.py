"""Decode kept bytes and whole files: the mirror of `header_writer` and of the blobs in `pack`. Needs no pydicom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from ..container.sections import BLOB, KEPT, Reader, SectionId
from ..errors import DamagedError
from .bytes_codec import CHUNK_BYTES, unpack
from .table import MAX_RECORDS, decode_table


class Records:
    """The bytes around voxels by number of the image, counted through all volumes; holds one table at a time."""

    def __init__(self, reader: Reader, tables: list[int]) -> None:
        self._reader, self._tables = reader, tables
        self._ends = list(accumulate(tables))
        self._current = -1
        self._records: list[bytes] = []
        self._broken: dict[int, DamagedError] = {}

    def get(self, record: int) -> bytes:
        """Return the bytes before and after the voxels of one image, joined."""
        table = bisect_right(self._ends, record)
        if table in self._broken:
            raise self._broken[table]
        if table != self._current:
            self._current = -1
            try:
                self._records = _read_table(self._reader, table, self._tables[table])
            except DamagedError as error:
                self._broken[table] = error
                raise
            self._current = table
        return self._records[record - (self._ends[table] - self._tables[table])]


def _read_table(reader: Reader, number: int, records: int) -> list[bytes]:
    """Return the records of KEEP section `number`: before and after of each file, joined. There must be `records`."""
    section = SectionId(KEPT, number)
    raw = unpack(reader.read(section), str(section))
    columns = decode_table(raw, str(section), max_rows=MAX_RECORDS, max_bytes=CHUNK_BYTES)
    if any(len(column) != records for column in columns):
        raise DamagedError(f"{section} is damaged: it holds another number of records than the manifest says")
    return [b"".join(cells) for cells in zip(*columns, strict=True)] if columns else [b""] * records


class Blobs:
    """The BLOB sections as one stream of `size` bytes; holds one section at a time."""

    def __init__(self, reader: Reader, size: int) -> None:
        self._reader, self._size = reader, size
        self._current = -1
        self._bytes = b""
        self._broken: dict[int, DamagedError] = {}

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from start to end - 1 in pieces."""
        while start < end:
            number, offset = divmod(start, CHUNK_BYTES)
            self._load(number)
            piece = self._bytes[offset : offset + end - start]
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
            if len(self._bytes) != min(CHUNK_BYTES, self._size - number * CHUNK_BYTES):
                raise DamagedError(f"{section} is damaged: it holds another number of bytes than its files")
        except DamagedError as error:
            self._broken[number] = error
            raise
        self._current = number
