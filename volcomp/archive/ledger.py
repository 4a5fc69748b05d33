"""What has been written of an archive so far: entries, places of files and pictures, digests. It verifies the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..bodies.protocol import Kept
from ..container.sections import LISTING, ROOT, Reader, SectionId, Writer
from ..errors import DamagedError
from ..models import RELEASED, Model
from ..wire.cursor import string
from .entry import Entry, Kind, Stored, Voxels
from .header_reader import Records
from .listing import cut, encode, encode_itself
from .manifest import Manifest
from .opening import manifest_of
from .restore import check_volumes, stored
from .tree import Item
from .writing import emit


@dataclass(frozen=True)
class Begin:
    """Where the numbers of sections begin: behind those of an archive that is appended to."""

    entries: tuple[Entry, ...] = ()  # that the archive has already
    volumes: int = 0
    tables: int = 0  # KEEP sections
    blobs: int = 0
    lists: int = 0
    itself: Entry | None = None  # the archived folder

    @property
    def sizes(self) -> set[int]:
        """Return the sizes of the files that the archive has already."""
        return {entry.size for entry in self.entries if entry.kind == Kind.FILE}


class Mark(NamedTuple):
    """A state of the ledger."""

    written: tuple[int, int]  # see `Writer.mark`
    lists: int
    without_data: list[Entry]
    raw_bytes: int
    counts: tuple[int, ...]  # of entries, kept bytes, places, pictures


class Ledger:
    """The entries of an archive that is being written."""

    def __init__(
        self,
        writer: Writer,
        root: str,
        items: Iterable[Item],
        begin: Begin | None = None,
        *,
        itself: Item | None = None,
    ) -> None:
        """Begin an archive, or go on with one.

        Parameters:
            writer: of the archive, to which nothing has been written but for `begin`.
            root: the name of the folder that is archived; empty where several inputs are.
            items: folders and links, which the first list has.
            begin: what the archive has already.
            itself: the folder that is archived, where its time and permissions are to be kept.
        """
        self._writer, self._root, self.begin = writer, root, begin or Begin()
        self._lists = self.begin.lists
        self._entries: list[Entry] = []
        self._without_data = [
            Entry(item.name, item.kind, mtime=item.mtime, mode=item.mode, note=item.target) for item in items
        ]
        self._itself = self.begin.itself
        if itself:
            self._itself = Entry("", Kind.FOLDER, mtime=itself.mtime, mode=itself.mode)
            writer.add(SectionId(ROOT), encode_itself(self._itself))
        self._kept: dict[tuple[int, int], bytes] = {}  # SHA-256 of what is kept of images, by table and row
        # Of files, by their SHA-256.
        self.places: dict[bytes, Voxels | Stored] = {e.sha256: e.place for e in reversed(self.begin.entries) if e.place}
        self.pictures: dict[bytes, Voxels] = {}  # where voxels are, by `stack.Coded.picture`
        self.raw_bytes = 0  # of all files

    @property
    def files(self) -> int:
        """Return the number of files."""
        return sum(entry.kind == Kind.FILE for entry in self._entries)

    def mark(self) -> Mark:
        """Return what `rewind` needs to come back here."""
        counts = tuple(map(len, (self._entries, self._kept, self.places, self.pictures)))
        return Mark(self._writer.mark(), self._lists, self._without_data, self.raw_bytes, counts)

    def rewind(self, mark: Mark) -> None:
        """Forget what was added since a mark, and take it back from the file."""
        self._writer.rewind(mark.written)
        self._lists, self._without_data, self.raw_bytes = mark.lists, mark.without_data, mark.raw_bytes
        del self._entries[mark.counts[0] :]
        known: tuple[dict[Any, Any], ...] = (self._kept, self.places, self.pictures)
        for table, count in zip(known, mark.counts[1:], strict=True):
            while len(table) > count:
                table.popitem()  # the last one; none is ever replaced

    def note_kept(self, place: Voxels, kept: Kept) -> None:
        """Remember what was kept of an image."""
        self._kept[place.table, place.row] = _digest(kept)

    def list_entries(self, entries: list[Entry]) -> None:
        """Write a LIST section. The data of its files must follow, so that a cut archive keeps their names."""
        entries, self._without_data = self._without_data + entries, []
        for piece in cut(entries):
            self._writer.add(SectionId(LISTING, self._lists), encode(self._root, piece))
            self._lists += 1
        self._entries += entries
        self.raw_bytes += sum(entry.size for entry in entries)

    def finish(self) -> None:
        """Write a list of what has no data, unless there was one: each archive of files has a list."""
        if self._without_data:
            self.list_entries([])
        elif not self._lists:
            self._writer.add(SectionId(LISTING, 0), encode(self._root, []))

    def verify(self, reader: Reader, model: Model) -> None:
        """Raise DamagedError unless the finished archive holds what was written.

        Voxels were decoded while they were written; here all else is.
        """
        reader.compare(self._writer.digests)
        manifest = manifest_of(reader)
        if (manifest.itself, manifest.entries) != (self._itself, [*self.begin.entries, *self._entries]):
            raise DamagedError("the lists of files say something else than was written")
        check_volumes(reader, manifest, {**RELEASED, model.number: model})
        records = Records(reader)
        for entry in self._entries:
            place = entry.place
            if not isinstance(place, Voxels):
                continue
            digest = self._kept.get((place.table, place.row))
            if digest and _digest(records.get(place)) != digest:
                raise DamagedError(f"what was kept of {entry.name} is not what was read")
        for entry, pieces in stored(reader, Manifest("", self._entries)):
            emit(entry, pieces, None)


def _digest(kept: Kept) -> bytes:
    """Return a digest of what was kept, and of how it is divided."""
    return hashlib.sha256(string(kept.before) + string(kept.side) + kept.after).digest()


def entry_of(item: Item, size: int, sha256: bytes, place: Voxels | Stored, note: str = "") -> Entry:
    """Return the entry of a file."""
    return Entry(item.name, Kind.FILE, size, sha256, place, item.mtime, item.mode, note)
