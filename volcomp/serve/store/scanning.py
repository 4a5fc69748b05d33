"""Read what archives and files of the inbox hold, for the index. No voxel is decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from pathlib import Path

from ...archive.entry import INFLATED, Entry, Stored, Voxels
from ...archive.opening import manifest_of
from ...archive.random_access import RandomAccess
from ...codec.decode import Slab
from ...container.sections import Reader
from ...container.volume import Volume, read_volume, volume_numbers
from ...errors import DamagedError, UnsupportedError, VolcompError
from .attributes import first, to_json
from .entering import New, Source
from .faults import UNREADABLE, fault_of
from .frames import Shape
from .header import Header, read_header
from .index import ARCHIVE, INBOX
from .pool import Identity, identity

SUFFIX = ".vcz"
_STUDY, _SERIES, _SOP = "0020000D", "0020000E", "00080018"
_HEAD_BYTES = 1 << 20  # of a file that is kept whole, that are read at first
_GZIPPED = 8  # number of a body codec: its files are none of DICOM


def archives(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path (relative, with slashes) and status of every archive of a tree; hidden files and folders are passed
    over, and links to folders not followed."""
    yield from _files(root, lambda name: name.endswith(SUFFIX))


def landed(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path (relative to the folder) and status of every file of a tree; see `archives`."""
    yield from _files(folder, lambda name: True)


def _files(root: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
    folders = [""]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(root / here) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:  # of a folder that is gone, or closed to the server
            continue
        for entry in sorted(found, key=lambda entry: entry.name):
            path = f"{here}/{entry.name}" if here else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif wanted(entry.name) and entry.is_file():
                    yield path, entry.stat()
            except OSError:
                continue


def read_archive(root: Path, path: str) -> Source | None:
    """Read an archive; None where it changes meanwhile, or is gone. Of one that cannot be read a sentence says so."""
    try:
        with (root / path).open("rb") as file:
            before = identity(os.fstat(file.fileno()))
            source = Source(ARCHIVE, path, before)
            try:
                _fill(source, Reader(file))
            except VolcompError as error:
                source.instances, source.damage, source.fault = [], str(error), fault_of(error)
            status = os.stat(root / path)
            return source if identity(status) == before == identity(os.fstat(file.fileno())) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        try:
            status = os.stat(root / path)
        except OSError:
            return None
        return refused(path, identity(status), error)


def refused(path: str, known: Identity, error: OSError) -> Source:
    """Return an archive that the system does not let the server read."""
    reason = error.strerror or "the system refuses"
    return Source(ARCHIVE, path, known, damage=f"it cannot be read: {reason}", fault=UNREADABLE)


def _fill(source: Source, reader: Reader) -> None:
    manifest = manifest_of(reader)
    access = RandomAccess(reader, manifest, _no_decoding)
    source.files = len(manifest.files)
    source.raw = sum(entry.size for entry in manifest.files)
    for number in volume_numbers(reader):
        source.voxels += read_volume(reader, number).voxels
    for entry in manifest.files:
        try:
            source.instances.append(_new(entry, header_of(access, entry)))
        except VolcompError:  # no DICOM, or its header is damaged
            source.others += 1


def header_of(access: RandomAccess, entry: Entry) -> Header:
    """Return the header of a file of an archive, whose pixels may not be read by it. Raises VolcompError."""
    place = entry.place
    if isinstance(place, Voxels):
        if place.body == _GZIPPED:
            raise UnsupportedError("it is no DICOM file")
        kept = access.kept(entry)
        assert kept is not None
        inflated, after = access.is_inflated(entry), kept.after
        header = read_header(BytesIO(kept.before), inflated=inflated, after=b"" if inflated else after)
        if after and not inflated and header.pixels is not None and not header.is_encapsulated:
            pad = header.pixels.length - (
                entry.size - len(kept.before) - len(after)
            )  # bytes of the value, beside voxels
            if 0 < pad <= len(after):
                header = read_header(BytesIO(kept.before), after=after[pad:])
        return header
    if not isinstance(place, Stored) or place.packing == INFLATED:
        raise UnsupportedError("it is no DICOM file")
    most = _HEAD_BYTES
    while True:
        head = access.head(entry, most)
        whole = len(head) >= entry.size
        found = _read_head(head, whole)
        if found is not None:
            return found
        most *= 8


def _read_head(head: bytes, whole: bool) -> Header | None:
    """Return the header in the first bytes of a file; None where it needs more of them."""
    if whole:
        return read_header(BytesIO(head))
    if head[128:132] != b"DICM" and head[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise UnsupportedError("it is no DICOM file")
    try:
        header = read_header(BytesIO(head), after=b"")
    except UnsupportedError:
        return None  # perhaps cut within an element
    return header if header.pixels is not None and not header.is_deflated else None


def read_landed(folder: Path, path: str) -> Source | None:
    """Read a file of the inbox; None where it is gone. Raises UnsupportedError where it is no instance."""
    try:
        with (folder / path).open("rb") as file:
            status = os.fstat(file.fileno())
            source = Source(INBOX, path, identity(status), files=1, raw=status.st_size)
            sha256 = hashlib.file_digest(file, "sha256").digest()
            entry = Entry(path, size=status.st_size, sha256=sha256)
            source.instances.append(_new(entry, read_header(file, whole=True)))
            return source
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsupportedError(f"it cannot be read: {error.strerror}") from None


def _new(entry: Entry, header: Header) -> New:
    """Return an instance for the index. Raises UnsupportedError where it lacks a UID."""
    found = to_json(header)
    uids = [first(found, tag) for tag in (_STUDY, _SERIES, _SOP)]
    if not all(uids):
        raise UnsupportedError("it lacks the UID of its study, its series or itself")
    if not all(uid.isprintable() for uid in uids):
        raise UnsupportedError("the UID of its study, its series or itself has control characters")
    frames = Shape.of(found).frames if header.pixels is not None else 0
    return New(entry.name, found, header.syntax, entry.size, frames, entry.sha256)


def _no_decoding(volume: Volume, numbers: list[int]) -> Generator[Slab]:
    raise DamagedError("headers alone are read")
    yield  # a generator
