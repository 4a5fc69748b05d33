"""An open archive, as its volumes share it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from ..archive.beside import Headers
from ..archive.entry import Entry, Voxels
from ..archive.header_reader import Records
from ..archive.opening import contents_of
from ..archive.remote import Remote
from ..bodies.protocol import Kept
from ..codec.decode import Keys
from ..container.sections import Reader
from ..errors import UnsupportedError
from ..formats.facts import Facts
from ..options import DecodeOptions
from .slabs import Slabs

KEY_BYTES = 1 << 26  # of slabs that others refer to, which are held at least, beside those that were asked for


class Files:
    """An open archive, as its volumes read it."""

    def __init__(
        self, name: str, reader: Reader, options: DecodeOptions, cache: int, source: Path | Remote | None
    ) -> None:
        """`cache`: bytes of decoded slabs to hold; `source`: what another process can open again."""
        self.name, self.reader, self.options, self.source = name, reader, options, source
        self.records, self.slabs = Records(reader), Slabs(cache)
        self.keys = Keys(reader, max(cache, KEY_BYTES))
        self.lock = Lock()  # of the records
        self.headers: Headers | None = None  # of an archive of files
        self.closed = False

    def check(self) -> None:
        """Raise UnsupportedError where it is closed."""
        if self.closed:
            raise UnsupportedError(f"{self.name} is closed; open it again")

    def kept(self, place: Voxels) -> Kept:
        """Return the bytes that are kept of an image. Raises DamagedError."""
        self.check()
        with self.lock, contents_of(self.name):
            return self.records.get(place)

    def facts(self, entry: Entry) -> Facts | None:
        """Return what the header of a whole volume states of an image; None for DICOM. Raises DamagedError."""
        if not self.headers or not isinstance(entry.place, Voxels):
            return None
        before = self.kept(entry.place).before
        with self.lock, contents_of(self.name):
            return self.headers.facts(entry, before)
