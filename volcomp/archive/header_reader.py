"""Decode kept bytes and whole files: the mirror of `header_writer` and `whole`. Needs no pydicom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..bodies.protocol import Kept
from ..container.sections import BLOB, KEPT, Reader, SectionId
from ..errors import DamagedError
from .bytes_codec import CHUNK_BYTES, unpack
from .entry import Voxels
from .table import MAX_RECORDS, decode_table

_HELD_BYTES = 2 * CHUNK_BYTES  # of sections: two of the largest, since a short file may lie across two of them
Contents = TypeVar("Contents")


class _Recent(Generic[Contents]):
    """Sections by number, read when they are asked for. The last ones are held: copies lie in sections far apart.

    A damaged section is not read again for each of its files.
    """

    def __init__(self, read: Callable[[int], tuple[Contents, int]]) -> None:
        """`read`: returns the contents of a section and their bytes."""
        self._read = read
        self._held: dict[int, tuple[Contents, int]] = {}  # the last used at the end
        self._broken: dict[int, DamagedError] = {}

    def get(self, number: int) -> Contents:
        """Return the contents of a section. Raises DamagedError."""
        if number in self._broken:
            raise self._broken[number]
        if number not in self._held:
            while self._held and sum(size for _, size in self._held.values()) > _HELD_BYTES - CHUNK_BYTES:
                del self._held[next(iter(self._held))]  # before the next one takes its memory
            try:
                self._held[number] = self._read(number)
            except DamagedError as error:
                self._broken[number] = error
                raise
        else:
            self._held[number] = self._held.pop(number)
        return self._held[number][0]

    @property
    def held(self) -> int:
        """The bytes that are held."""
        return sum(size for _, size in self._held.values())


class Records:
    """What is kept of images beside their voxels."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tables = _Recent(self._read_table)

    def get(self, place: Voxels) -> Kept:
        """Return the bytes that are kept of one image. Raises DamagedError."""
        records = self._tables.get(place.table)
        record = records[place.row] if place.row < len(records) else b""
        side, after = place.before, place.before + place.side
        if after > len(record):
            raise DamagedError("fewer bytes were kept of it than the manifest says")
        return Kept(record[:side], record[side:after], record[after:])

    @property
    def held(self) -> int:
        """The bytes of tables that are held."""
        return self._tables.held

    def _read_table(self, number: int) -> tuple[list[bytes], int]:
        """Return the records of a KEEP section, each as one string of bytes, and the bytes of all."""
        section = SectionId(KEPT, number)
        raw = unpack(self._reader.read(section), str(section))
        columns = decode_table(raw, str(section), max_rows=MAX_RECORDS, max_bytes=CHUNK_BYTES)
        records = [b"".join(cells) for cells in zip(*columns, strict=True)]
        return records, sum(map(len, records))


class Blobs:
    """The BLOB sections as one stream of bytes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._chunks = _Recent(self._read_chunk)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from start to end - 1 in pieces."""
        while start < end:
            number, offset = divmod(start, CHUNK_BYTES)
            piece = self._chunks.get(number)[offset : offset + end - start]
            if not piece:
                raise DamagedError(f"{SectionId(BLOB, number)} is damaged: it holds fewer bytes than its files")
            yield piece
            start += len(piece)

    @property
    def held(self) -> int:
        """The bytes of sections that are held."""
        return self._chunks.held

    def _read_chunk(self, number: int) -> tuple[bytes, int]:
        section = SectionId(BLOB, number)
        raw = unpack(self._reader.read(section), str(section))
        return raw, len(raw)
