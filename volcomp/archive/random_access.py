"""Any file of an open archive, at any time and from any thread: its first bytes, one of its frames, or all of it.

What is decoded is decoded by the caller's function, which may hold slabs for the next file (`Decode`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from ..bodies.encapsulated import stream_of
from ..bodies.protocol import Kept, Planes
from ..bodies.registry import body
from ..bodies.samples import Order
from ..container.sections import Reader
from ..errors import DamagedError, MissingError
from .entry import AS_IT_IS, Entry, Stored, Voxels
from .header_reader import Blobs, Records
from .making import check_turned, made, planes_of, turned, unpacked
from .manifest import Manifest
from .run import Run, Slices
from .writing import Bytes

if TYPE_CHECKING:
    from .run import Decode

_NATIVE, _SAMPLES, _DEFLATED, _ENCAPSULATED, _GZIPPED = (0, 1), 2, 4, (3, 7), 8  # numbers of body codecs
_RUNS = 64  # whose headers are held


class RandomAccess:
    """The files of an open archive. Safe for several threads."""

    def __init__(self, reader: Reader, manifest: Manifest, decode: Decode) -> None:
        """`decode`: decodes slabs of a volume; several threads may call it at once."""
        self._reader, self._decode = reader, decode
        self.entries = {entry.name: entry for entry in manifest.files}
        self._records, self._blobs, self._lock = Records(reader), Blobs(reader), Lock()
        self._last, self._reading = ("", b""), Lock()  # the file that `again` was asked for last
        self._runs: dict[tuple[int, int, int], Run] = {}  # the last used at the end

    @property
    def held(self) -> int:
        """The bytes of kept headers and whole files that are held in memory."""
        return self._records.held + self._blobs.held + len(self._last[1])

    def entry(self, name: str) -> Entry:
        """Return a file by its name. Raises MissingError."""
        if name not in self.entries:
            raise MissingError(f"the archive has no file {name!r}")
        return self.entries[name]

    def kept(self, entry: Entry) -> Kept | None:
        """Return the bytes around an image's voxels; None of a file that is kept whole. Raises DamagedError.

        Of a file or a data set that is deflated they are those of what it inflates to.
        """
        if not isinstance(entry.place, Voxels):
            return None
        with self._lock:
            return self._records.get(entry.place)

    def is_inflated(self, entry: Entry) -> bool:
        """Return whether `kept` has bytes of what the file inflates to."""
        return isinstance(entry.place, Voxels) and entry.place.body in (_DEFLATED, _GZIPPED)

    def slices(self, entry: Entry) -> int:
        """Return how many slices an image has in its volume; 0 of a file that is kept whole."""
        return entry.place.frames if isinstance(entry.place, Voxels) else 0

    def is_encapsulated(self, entry: Entry) -> bool:
        """Return whether an image is made of compressed frames, a slice each."""
        return isinstance(entry.place, Voxels) and entry.place.body in _ENCAPSULATED

    def head(self, entry: Entry, most: int) -> bytes:
        """Return the first `most` bytes, or more, of a file that is kept whole; all of a shorter one.

        Raises DamagedError, and UnsupportedError where a library is missing that unpacks it.
        """
        assert isinstance(entry.place, Stored)
        found = bytearray()
        place = entry.place
        if place.packing == AS_IT_IS:
            place = Stored(place.start, min(place.size, most))
        for piece in self._unpacked(place):
            found += piece
            if len(found) >= most:
                break
        return bytes(found)

    def pieces(self, entry: Entry) -> Iterator[Bytes]:
        """Yield the bytes of a file, which are not compared with its SHA-256."""
        place = entry.place
        if isinstance(place, Stored):
            yield from self._unpacked(place)
            return
        if not isinstance(place, Voxels):
            return
        kept, run = self.kept(entry), self._run(place)
        assert kept is not None
        if run.is_turned:
            yield from turned(run, place, kept, self._decode)
            return
        with self._slices(run, place.first, place.end) as decoded:
            yield from made(place, kept, decoded)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of a file. Raises DamagedError unless they are those that were archived."""
        sha, found = hashlib.sha256(), bytearray()
        for piece in self.pieces(entry):
            sha.update(piece)
            found += piece
            if len(found) > entry.size:
                break
        if len(found) != entry.size or sha.digest() != entry.sha256:
            raise DamagedError(f"{entry.name} is damaged: its SHA-256 does not fit")
        return bytes(found)

    def again(self, entry: Entry) -> bytes:
        """Return the bytes of a file, and hold them for the next call: as for its frames, one after another."""
        with self._reading:
            if self._last[0] != entry.name:
                self._last = ("", b"")  # before the next one takes its memory
                self._last = entry.name, self.read(entry)
            return self._last[1]

    def planes(self, entry: Entry, number: int) -> Planes:
        """Return the voxels [1, Y, X] of one slice of an image, from 0, in every plane. Raises DamagedError."""
        place = entry.place
        assert isinstance(place, Voxels) and 0 <= number < place.frames
        run = self._run(place)
        at = place.first + number
        if run.is_turned:  # slice t · Z + z of the file is slice z · T + t of the volume
            check_turned(run, place)
            t, z = divmod(number, run.depth)
            at = z * run.times + t
        with self._slices(run, at, at + 1) as decoded:
            (planes,) = planes_of(at, at + 1, decoded)
        return planes

    def frame(self, entry: Entry, number: int) -> bytes | None:
        """Return the bytes of one slice of an image, from 0, as they are in the file; of a compressed one its stream.

        None where a slice has no bytes of its own: where frames are packed or deflated together, for instance.
        Raises DamagedError; the bytes are compared with the checksum of their slab, not with the file's.
        """
        place = entry.place
        if not isinstance(place, Voxels):
            return None
        kept = self.kept(entry)
        assert kept is not None
        if place.body in _ENCAPSULATED:
            return stream_of(kept.side, self.planes(entry, number), number)
        if place.body == _SAMPLES:
            order = Order.decoded(kept.side)
            if order.missing or order.pairs:
                return None
        elif place.body not in _NATIVE:
            return None
        alone = Kept(b"", kept.side, b"")
        return b"".join(body(place.body).write(alone, iter([self.planes(entry, number)])))

    def _unpacked(self, place: Stored) -> Iterator[Bytes]:
        pieces = unpacked(place, self._blobs)
        while True:
            with self._lock:
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    @contextmanager
    def _slices(self, run: Run, first: int, end: int) -> Iterator[list[Slices]]:
        """Yield the slices of every plane, from the slabs that hold any of these."""
        numbers = list(run.slabs_of(first, end))
        with ExitStack() as stack:
            yield [
                Slices(run.slabs, stack.enter_context(closing(run.decoded(plane, numbers, self._decode))))
                for plane in range(run.planes)
            ]

    def _run(self, place: Voxels) -> Run:
        key = place.volume, place.planes, place.end
        with self._lock:
            found = self._runs.pop(key, None) or Run(self._reader, *key)
            self._runs[key] = found
            while len(self._runs) > _RUNS:
                del self._runs[next(iter(self._runs))]
        return found
