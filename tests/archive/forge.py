"""Archives that are sound to their checksums, with any contents."""

import hashlib
from pathlib import Path

from tests.archive.legacy_writer import OldManifest, write_manifest
from volcomp.archive import listing
from volcomp.archive.bytes_codec import pack_blob
from volcomp.archive.entry import Entry, Stored
from volcomp.container.sections import FORMAT_VERSION, LISTING, VOXEL_VERSION, Reader, SectionId, Writer

EMPTY = hashlib.sha256(b"").digest()


def forged(path: Path, *lists: list[Entry] | bytes, root: str = "r", **sections: bytes) -> Path:
    """Write an archive of format version 4: its LIST sections, as entries or as payloads, and other sections."""
    with path.open("wb") as file:
        writer = Writer(file, FORMAT_VERSION)
        for number, entries in enumerate(lists):
            payload = entries if isinstance(entries, bytes) else listing.encode(root, entries)
            writer.add(SectionId(LISTING, number), payload)
        for tag, payload in sections.items():
            writer.add(SectionId(tag.strip("_").encode()), payload)
        writer.finish()
    return path


def forged_old(path: Path, manifest: OldManifest | bytes, **sections: bytes) -> Path:
    """Write an archive of format version 3."""
    with path.open("wb") as file:
        writer = Writer(file, VOXEL_VERSION)
        for tag, payload in sections.items():
            writer.add(SectionId(tag.encode()), payload)
        if isinstance(manifest, bytes):
            writer.add(SectionId(b"MANI"), manifest)
        else:
            write_manifest(writer, manifest)
        writer.finish()
    return path


def note(name: str = "note", text: bytes = b"", start: int = 0, **facts: object) -> Entry:
    """Return the entry of a file that is kept whole."""
    values = {"size": len(text), "sha256": hashlib.sha256(text).digest(), "place": Stored(start, len(text)), **facts}
    return Entry(name, **values)  # type: ignore[arg-type]


def blob(text: bytes) -> bytes:
    """Return the payload of a BLOB section."""
    return pack_blob(text)


def relist(path: Path, change, target: Path) -> Path:
    """Write an archive again to `target`, with the entries of its first list changed by a function."""
    with path.open("rb") as file, target.open("wb") as output:
        reader, writer = Reader(file), Writer(output, FORMAT_VERSION)
        for section in reader.places:
            payload = reader.read(section)
            if section == SectionId(LISTING, 0):
                root, entries = listing.decode(payload, "list")
                payload = listing.encode(root, change(entries))
            writer.add(section, payload)
        writer.finish()
    return target
