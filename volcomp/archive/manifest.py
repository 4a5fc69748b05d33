"""The manifest of an archive: what its LIST sections say together, or the one section of older archives."""

from __future__ import annotations

from dataclasses import dataclass

from ..container.sections import FORMAT_VERSION, LISTING, MANIFEST, ROOT, Reader, SectionId
from ..errors import DamagedError
from . import listing
from .entry import Entry, Kind, Stored, Voxels
from .legacy import read_legacy

_PRIVATE = 0o700  # permissions of a folder whose own are lost


@dataclass(frozen=True)
class Manifest:
    """The contents of an archive."""

    root: str  # name of the folder that was archived; empty where several inputs were
    entries: list[Entry]
    lost: tuple[str, ...] = ()  # the LIST sections that a salvage could not read
    itself: Entry | None = None  # the folder that was archived, without a name: its time and permissions, if kept

    @property
    def files(self) -> list[Entry]:
        """Return the files, images first, in stored order."""
        return [entry for entry in self.entries if entry.kind == Kind.FILE]

    @property
    def images(self) -> dict[int, list[Entry]]:
        """Return the images by the number of their first volume, in the order of their slices."""
        found: dict[int, list[Entry]] = {}
        for entry in self.entries:
            if isinstance(entry.place, Voxels):
                found.setdefault(entry.place.volume, []).append(entry)
        for number in sorted(found):
            found[number] = sorted(found.pop(number), key=_first)
        return found

    @property
    def whole(self) -> list[Entry]:
        """Return the files that are kept whole, in the order of their bytes."""
        found = [entry for entry in self.entries if isinstance(entry.place, Stored)]
        return sorted(found, key=lambda entry: entry.place.start if isinstance(entry.place, Stored) else 0)

    @property
    def folders(self) -> list[Entry]:
        """Return the folders that are listed: all, of older archives the empty ones."""
        return [entry for entry in self.entries if entry.kind == Kind.FOLDER]

    @property
    def links(self) -> list[Entry]:
        """Return the symbolic links."""
        return [entry for entry in self.entries if entry.kind == Kind.LINK]


def _first(entry: Entry) -> int:
    assert isinstance(entry.place, Voxels)
    return entry.place.first


def has_manifest(reader: Reader) -> bool:
    """Return whether an archive holds files."""
    return any(section.tag == _tag(reader) for section in reader.places)


def _tag(reader: Reader) -> bytes:
    """Return the tag of the sections with names. A salvage may find some of both kinds: those of an archive that was
    stored in this one come to light where a BLOB is damaged."""
    if reader.version is None:
        return LISTING if any(section.tag == LISTING for section in reader.places) else MANIFEST
    return LISTING if reader.version >= FORMAT_VERSION else MANIFEST


def read_manifest(reader: Reader) -> Manifest:
    """Read the manifest, without checking names for safety.

    Raises DamagedError; of an archive that is salvaged only where no list of names can be read.
    """
    if _tag(reader) == MANIFEST:
        return Manifest(*read_legacy(reader))
    sections = sorted(section for section in reader.places if section.tag == LISTING)
    lists: list[tuple[str, list[Entry]]] = []
    lost: list[str] = []
    if sections != [SectionId(LISTING, number) for number in range(len(sections))]:
        lost.append("a list of files is missing, so that nothing is known of its files")
    for section in sections:
        try:
            lists.append(listing.decode(reader.read(section), str(section)))
        except DamagedError as error:
            lost.append(str(error))
    if not lists or (lost and not reader.salvage):
        raise DamagedError(lost[0] if lost else "it has no list of files")
    root, itself = lists[0][0], _itself(reader)
    if reader.damage is None:
        return Manifest(root, [entry for _, entries in lists for entry in entries], tuple(lost), itself)
    # For the same reason as above, a list of another folder or with a name that is taken is not this archive's.
    found: dict[str, Entry] = {}
    for other, entries in lists:
        if other == root and not any(entry.name in found for entry in entries):
            found |= {entry.name: entry for entry in entries}
    return Manifest(root, list(found.values()), tuple(lost), itself)


def _itself(reader: Reader) -> Entry | None:
    """Return the folder that was archived. Raises DamagedError, but not of an archive that is salvaged."""
    section = SectionId(ROOT)
    if section not in reader.places:
        return None
    try:
        return listing.decode_itself(reader.read(section), str(section))
    except DamagedError:
        if not reader.salvage:
            raise
        return Entry("", Kind.FOLDER, mode=_PRIVATE)
