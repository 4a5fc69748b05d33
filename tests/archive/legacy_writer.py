"""Writes the manifest of archives before format version 4, which the package only reads. See docs/format.md."""

import struct
from dataclasses import dataclass, field

from volcomp.archive.bytes_codec import pack_table
from volcomp.archive.listing import encode_name
from volcomp.archive.table import encode_table
from volcomp.container.sections import MANIFEST, SectionId, Writer
from volcomp.wire.cursor import string, varint


@dataclass(frozen=True)
class OldEntry:
    """One file."""

    name: str
    size: int
    sha256: bytes
    frames: int = 0
    before: int = 0
    flags: int = 0


@dataclass(frozen=True)
class OldManifest:
    """The images of every volume, the records of every KEEP section, files kept whole, empty folders."""

    root: str = "r"
    volumes: list[list[OldEntry]] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    whole: list[OldEntry] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def write_manifest(writer: Writer, manifest: OldManifest) -> None:
    """Append the MANI section."""
    files = [entry for volume in manifest.volumes for entry in volume] + manifest.whole
    head = string(encode_name(manifest.root)) + varint(len(manifest.volumes))
    head += b"".join(varint(len(volume)) for volume in manifest.volumes)
    head += varint(len(manifest.tables)) + b"".join(varint(records) for records in manifest.tables)
    head += varint(len(manifest.whole)) + varint(len(manifest.folders))
    rows = [_row(entry) for entry in [*files, *(OldEntry(name, 0, b"") for name in manifest.folders)]]
    raw = head + encode_table(list(zip(*rows, strict=True)))
    digests = b"".join(entry.sha256 for entry in files)
    writer.add(SectionId(MANIFEST), varint(len(files)) + digests + pack_table(raw))


def _row(entry: OldEntry) -> tuple[bytes, ...]:
    folder, slash, last = encode_name(entry.name).rpartition(b"/")
    numbers = struct.pack("<Q", entry.size), struct.pack("<I", entry.frames), struct.pack("<I", entry.before)
    return (folder + slash, last, *numbers, bytes([entry.flags]))
