"""Write the files that are kept whole: one stream of bytes, in BLOB sections, each after the list of its files."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from ..container.sections import BLOB, SectionId, Writer
from ..errors import UnsupportedError
from .bytes_codec import CHUNK_BYTES, pack_blob
from .entry import Entry, Stored, Voxels
from .ledger import Ledger, entry_of
from .listing import MAX_ROWS
from .tree import Item, source_errors

_PENDING_BYTES = 8 << 20  # of names and notes that are not listed yet
_PIECE_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20  # larger files are read for a digest only where another one has their size


def add_whole(writer: Writer, ledger: Ledger, items: list[tuple[Item, str]], *, skip_errors: bool) -> list[str]:
    """Store files, each with why it is kept whole.

    Returns:
        A sentence for each file that could not be read, with `skip_errors`.

    Raises:
        UnsupportedError: for a file that cannot be read, without `skip_errors`.
    """
    stream = _Stream(writer, ledger)
    skipped = []
    for item, reason in items:
        try:
            with source_errors(item.path):
                stream.add(item, reason)
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

    def add(self, item: Item, reason: str) -> None:
        """Store one file. After an error the stream holds some of its bytes, which belong to no file."""
        with item.path.open("rb") as file:
            size = file.seek(0, 2)
            place: Voxels | Stored | None = None
            if size <= _SMALL_BYTES or size in self._sizes:  # a copy is found before it is written
                file.seek(0)
                whole = hashlib.file_digest(file, "sha256").digest()
                size = file.tell()
                place = self._ledger.places.get(whole)
            if place is None:
                file.seek(0)
                whole, place = self._store(file)
                self._ledger.places[whole] = place
                size = place.size
                self._sizes.add(size)
        self._entries.append(entry_of(item, size, whole, place, reason))
        self._name_bytes += len(item.name) + len(reason)
        if len(self._entries) == MAX_ROWS or self._name_bytes > _PENDING_BYTES:
            self._list()

    def _store(self, file: BinaryIO) -> tuple[bytes, Stored]:
        """Append a file; return its SHA-256 and its place."""
        sha, size = hashlib.sha256(), 0
        start = self._number * CHUNK_BYTES + len(self._chunk)
        while piece := file.read(min(_PIECE_BYTES, CHUNK_BYTES - len(self._chunk) or CHUNK_BYTES)):
            if len(self._chunk) == CHUNK_BYTES:  # not before more comes, so that a file that ends in it is listed first
                self._write()
            sha.update(piece)
            size += len(piece)
            self._chunk += piece
        return sha.digest(), Stored(start, size)

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
