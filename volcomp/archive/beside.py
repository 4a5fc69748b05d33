"""What headers state of whole volumes in an archive: those within a file, and those in another file of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from ..container.sections import Reader
from ..formats.facts import Facts
from ..formats.registry import DETACHED, format_of
from .entry import AS_IT_IS, Entry, Stored
from .header_reader import Blobs
from .manifest import Manifest

_MOST_BYTES = 1 << 20  # of a header


class Headers:
    """The headers of an archive's files."""

    def __init__(self, reader: Reader, manifest: Manifest) -> None:
        self._blobs, self._manifest = Blobs(reader), manifest

    def facts(self, entry: Entry, before: bytes) -> Facts | None:
        """Return what is stated of an image; None for DICOM, and where no header is found that makes sense.

        Parameters:
            entry: the file of the image.
            before: its bytes before the voxels.

        Raises:
            DamagedError: the bytes of a header in another file are damaged.
        """
        own = format_of(before)
        if own is not None:
            return own.facts(before)
        folder, _, name = entry.name.rpartition("/")
        beside = self._folders.get(folder, {})
        for file_format in DETACHED:
            for other in file_format.headers(name, beside):
                if other in beside and (found := file_format.facts_beside(self._read(beside[other]), name)):
                    return found
        return None

    @cached_property
    def _folders(self) -> Mapping[str, Mapping[str, Stored]]:
        """The places of files that are kept whole, by folder and name."""
        found: dict[str, dict[str, Stored]] = {}
        for entry in self._manifest.whole:
            if isinstance(entry.place, Stored) and entry.place.packing == AS_IT_IS:
                folder, _, name = entry.name.rpartition("/")
                found.setdefault(folder, {})[name] = entry.place
        return found

    def _read(self, place: Stored) -> bytes:
        return b"".join(self._blobs.pieces(place.start, place.start + min(place.size, _MOST_BYTES)))
