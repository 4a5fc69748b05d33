"""The manifest: names, sizes and SHA-256 of the archived files, and where the bytes of each are.

Files are listed in stored order: first the images, volume by volume and slice by slice, then the files that are kept
whole. Empty folders follow, since no file implies them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..container.sections import MANIFEST, Reader, SectionId, Writer
from ..errors import DamagedError, UnsupportedError
from ..wire.cursor import Cursor, string, varint
from .bytes_codec import CHUNK_BYTES, pack_table, unpack
from .table import decode_table, encode_table

_SHA_BYTES = 32
_TABLE_BYTES = 2 * CHUNK_BYTES  # of all cells, equal ones counted each time: about half a million files
_BIG_ENDIAN = 1  # flag of an entry: its 16-bit pixels were byte-swapped


@dataclass(frozen=True)
class Entry:
    """One file."""

    name: str  # relative POSIX path; undecodable bytes as surrogates
    size: int  # bytes
    sha256: bytes
    frames: int = 0  # slices of its volume; 0 for a file that is kept whole
    before: int = 0  # bytes before the pixels
    big_endian: bool = False


@dataclass(frozen=True)
class Manifest:
    """The contents of an archive."""

    root: str  # name of the folder that was archived; empty where several inputs were
    volumes: list[list[Entry]]  # the images of every volume, in slice order
    tables: list[int]  # records in every KEEP section; in sequence they are the images of all volumes
    whole: list[Entry]  # files kept whole; in sequence they fill the BLOB sections
    folders: list[str]  # empty ones

    @property
    def files(self) -> list[Entry]:
        """Return all files in stored order."""
        return [entry for volume in self.volumes for entry in volume] + self.whole


def write_manifest(writer: Writer, manifest: Manifest) -> None:
    """Append the MANI section. Raises UnsupportedError for more files than one manifest can hold."""
    files = manifest.files
    head = string(_encode_name(manifest.root)) + varint(len(manifest.volumes))
    head += b"".join(varint(len(volume)) for volume in manifest.volumes)
    head += varint(len(manifest.tables)) + b"".join(varint(records) for records in manifest.tables)
    head += varint(len(manifest.whole)) + varint(len(manifest.folders))
    rows = [(*_split_name(entry.name), *_numbers(entry)) for entry in files]
    rows += [(*_split_name(name), *_numbers(Entry(name, 0, b""))) for name in manifest.folders]
    raw = head + encode_table(list(zip(*rows, strict=True)))
    if len(raw) > CHUNK_BYTES or sum(len(cell) for row in rows for cell in row) > _TABLE_BYTES:
        raise UnsupportedError(f"{len(files)} files are too many for one archive; make several archives")
    hashes = b"".join(entry.sha256 for entry in files)  # not in the table, since they do not compress
    writer.add(SectionId(MANIFEST), varint(len(files)) + hashes + pack_table(raw))


def read_manifest(reader: Reader) -> Manifest:
    """Parse the MANI section, without checking names for safety. Raises DamagedError."""
    outer = Cursor(reader.read(SectionId(MANIFEST)), "manifest")
    count = outer.varint(limit=len(outer.data) // _SHA_BYTES)
    hashes = [outer.take(_SHA_BYTES) for _ in range(count)]
    cursor = Cursor(unpack(outer.data[outer.position :], "manifest"), "manifest")
    root = cursor.string()
    lengths = cursor.varints(cursor.varint(), limit=count)
    tables = cursor.varints(cursor.varint(), limit=count)
    whole = cursor.varint(limit=count)
    folders = cursor.varint(limit=len(cursor.data))
    columns = decode_table(cursor.data[cursor.position :], "manifest", max_rows=count + folders, max_bytes=_TABLE_BYTES)
    images = sum(lengths)
    if images + whole != count or sum(tables) != images or any(len(c) != count + folders for c in columns):
        raise DamagedError("the manifest is damaged: its counts contradict each other")
    if count + folders and len(columns) != 6:
        raise DamagedError("the manifest is damaged: it has another number of columns")
    rows = list(zip(*columns, strict=True))
    entries = [_entry(row, sha) for row, sha in zip(rows[:count], hashes, strict=True)]
    volumes, start = [], 0
    for length in lengths:
        volumes.append(entries[start : start + length])
        start += length
    return Manifest(
        _decode_name(root), volumes, tables, entries[images:], [_join_name(row[0], row[1]) for row in rows[count:]]
    )


def _numbers(entry: Entry) -> tuple[bytes, ...]:
    """Encode size, frames, before and flags, little-endian and of fixed width, so that equal bytes are aligned."""
    flags = _BIG_ENDIAN if entry.big_endian else 0
    return (
        struct.pack("<Q", entry.size),
        struct.pack("<I", entry.frames),
        struct.pack("<I", entry.before),
        bytes([flags]),
    )


def _entry(row: tuple[bytes, ...], sha256: bytes) -> Entry:
    folder, name, size, frames, before, flags = row
    if (len(size), len(frames), len(before), len(flags)) != (8, 4, 4, 1):
        raise DamagedError("the manifest is damaged: a number has another width")
    if flags[0] & ~_BIG_ENDIAN:
        raise UnsupportedError(f"a file has the unknown flags {flags[0]:#04x}; upgrade volcomp")
    return Entry(
        _join_name(folder, name),
        int.from_bytes(size, "little"),
        sha256,
        int.from_bytes(frames, "little"),
        int.from_bytes(before, "little"),
        bool(flags[0] & _BIG_ENDIAN),
    )


def _encode_name(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _split_name(name: str) -> tuple[bytes, bytes]:
    """Split a name into folder and last part, because many files share a folder."""
    folder, slash, last = _encode_name(name).rpartition(b"/")
    return folder + slash, last


def _join_name(folder: bytes, name: bytes) -> str:
    return _decode_name(folder + name)
