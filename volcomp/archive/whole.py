"""Write the files that are kept whole: one stream of bytes, in BLOB sections, each after the list of its files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO, NamedTuple

import zstandard

from ..container.sections import BLOB, SectionId, Writer
from ..errors import DamagedError, UnsupportedError
from ..formats.protocol import Extent
from ..streams.protocol import NotReproducible
from . import gzip_packing, jpeg_packing
from .bytes_codec import CHUNK_BYTES, pack_blob
from .entry import INFLATED, JPEG_XL, Entry, Stored, Voxels
from .ledger import Ledger, entry_of
from .listing import MAX_ROWS
from .tree import Item, changed, source_errors

_PENDING_BYTES = 8 << 20  # of names and notes that are not listed yet
_PIECE_BYTES = 1 << 20
_WORTHWHILE = 0.9  # of its size under a general codec, at most, that packing must leave of a file
# Levels of zstd, which tells how small a file becomes that is inflated: LZMA makes most of them smaller still.
_LEVEL, _BEST_LEVEL, _SOON_TRIED = 9, 19, 1 << 23  # the latter up to so many bytes
_SMALLER = 0.95  # of a gzipped file, at most, that must be left of it
_SMALL_BYTES = 1 << 20  # larger files are read for a digest only where another one has their size


class Whole(NamedTuple):
    """A file to keep whole."""

    item: Item
    reason: str
    jpeg: list[Extent]  # its JPEG frames


def add_whole(writer: Writer, ledger: Ledger, files: list[Whole], *, skip_errors: bool) -> list[str]:
    """Store files.

    Returns:
        A sentence for each file that could not be read, with `skip_errors`.

    Raises:
        UnsupportedError: for a file that cannot be read, without `skip_errors`.
    """
    stream = _Stream(writer, ledger)
    skipped = []
    for whole in files:
        try:
            with source_errors(whole.item.path):
                stream.add(whole)
        except UnsupportedError as error:
            if not skip_errors:
                raise
            skipped.append(str(error))
    stream.flush()
    return skipped


class _Stream:
    """The stream of BLOB sections, each of CHUNK_BYTES but the last."""

    def __init__(self, writer: Writer, ledger: Ledger) -> None:
        self._writer, self._ledger = writer, ledger
        self._number = ledger.begin.blobs  # of the BLOB section that is filled
        self._chunk = bytearray()
        self._entries: list[Entry] = []  # of files that end in it
        self._name_bytes = 0
        self._sizes = ledger.begin.sizes  # of files stored

    def add(self, kept: Whole) -> None:
        """Store one file. After an error the stream holds some of its bytes, which belong to no file."""
        with kept.item.path.open("rb") as file:
            size = file.seek(0, 2)
            place: Voxels | Stored | None = None
            file.seek(0)
            packable = bool(kept.jpeg) or file.read(len(gzip_packing.MAGIC)) == gzip_packing.MAGIC
            if size <= _SMALL_BYTES or size in self._sizes or packable:  # a copy is found before it is written
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").digest()
                place = self._ledger.places.get(sha256)
            if place is None:
                packed = (self._packed(kept, file) if kept.jpeg else self._inflated(file)) if packable else None
                sha256, stored, place = packed or self._store(file)
                if stored != size:
                    raise changed(kept.item.path)
                self._ledger.places[sha256] = place
                self._sizes.add(size)
        self._entries.append(entry_of(kept.item, size, sha256, place, kept.reason))
        self._name_bytes += len(kept.item.name) + len(kept.reason)
        if len(self._entries) == MAX_ROWS or self._name_bytes > _PENDING_BYTES:
            self._list()

    def _packed(self, kept: Whole, file: BinaryIO) -> tuple[bytes, int, Stored] | None:
        """Append a file whose JPEG frames are packed; None where that cannot be done."""
        if file.seek(0, 2) > jpeg_packing.MOST_BYTES:
            return None
        file.seek(0)
        data = file.read()
        try:
            packed = jpeg_packing.pack(data, kept.jpeg)
        except NotReproducible:
            return None
        if len(zstandard.compress(packed)) > _WORTHWHILE * len(zstandard.compress(data)):
            return None  # as many small files with long headers, which are smaller next to each other
        _, _, place = self._store(BytesIO(packed))
        return hashlib.sha256(data).digest(), len(data), replace(place, packing=JPEG_XL)

    def _inflated(self, file: BinaryIO) -> tuple[bytes, int, Stored] | None:
        """Append a gzipped file as what it inflates to; None where that cannot be done, or is not smaller."""
        if file.seek(0, 2) > gzip_packing.MOST_BYTES:
            return None
        file.seek(0)
        data = file.read()
        try:
            packed = gzip_packing.pack(data)
            if b"".join(gzip_packing.unpack(packed)) != data:
                return None
        except (NotReproducible, DamagedError):
            return None
        level = _BEST_LEVEL if len(packed) <= _SOON_TRIED else _LEVEL
        if len(zstandard.compress(packed, level)) > _SMALLER * len(data):
            return None
        _, _, place = self._store(BytesIO(packed))
        return hashlib.sha256(data).digest(), len(data), replace(place, packing=INFLATED)

    def _store(self, file: BinaryIO) -> tuple[bytes, int, Stored]:
        """Append a file; return its SHA-256, its size and its place."""
        file.seek(0)
        sha, size = hashlib.sha256(), 0
        start = self._number * CHUNK_BYTES + len(self._chunk)
        while piece := file.read(min(_PIECE_BYTES, CHUNK_BYTES - len(self._chunk) or CHUNK_BYTES)):
            if len(self._chunk) == CHUNK_BYTES:  # not before more comes, so that a file that ends in it is listed first
                self._write()
            sha.update(piece)
            size += len(piece)
            self._chunk += piece
        return sha.digest(), size, Stored(start, size)

    def flush(self) -> None:
        """Write what is left."""
        self._write()

    def _write(self) -> None:
        self._list()
        if self._chunk:
            self._writer.add(SectionId(BLOB, self._number), pack_blob(bytes(self._chunk)))
            self._chunk, self._number = bytearray(), self._number + 1

    def _list(self) -> None:
        if self._entries:
            self._ledger.list_entries(self._entries)
            self._entries, self._name_bytes = [], 0
