"""The manifest of an archive: what its LIST sections say together, or the one section of older archives."""

from __future__ import annotations

from dataclasses import dataclass

from ..container.sections import LISTING, MANIFEST, Reader, SectionId
from ..errors import DamagedError
from . import listing
from .entry import Entry, Kind, Stored, Voxels
from .legacy import read_legacy


@dataclass(frozen=True)
class Manifest:
    """The contents of an archive."""

    root: str  # name of the folder that was archived; empty where several inputs were
    entries: list[Entry]
    lost: tuple[str, ...] = ()  # the LIST sections that a salvage could not read

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
    return any(section.tag in (LISTING, MANIFEST) for section in reader.places)


def read_manifest(reader: Reader) -> Manifest:
    """Read the manifest, without checking names for safety.

    Raises DamagedError; of an archive that is salvaged only where no list of names can be read.
    """
    if SectionId(MANIFEST) in reader.places:
        return Manifest(*read_legacy(reader))
    root, entries, lost = "", [], []
    for section in sorted(section for section in reader.places if section.tag == LISTING):
        try:
            root, more = listing.decode(reader.read(section), str(section))
        except DamagedError as error:
            if not reader.salvage:
                raise
            lost.append(str(error))
        else:
            entries += more
    if lost and not entries:
        raise DamagedError(f"no names can be read: {lost[0]}")
    return Manifest(root, entries, tuple(lost))
