"""Sections: the outermost layer of a `.vcz` file, with lengths and checksums but no voxels.

A file is header, sections, index, end mark; `docs/format.md` has the layout. The signature follows PNG: a byte above
127, a carriage return and two line feeds reveal a transfer that changes line ends or clears top bits.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import BinaryIO, NamedTuple

from ..errors import DamagedError, NewerError
from ..wire.cursor import Cursor, varint
from ..wording import spelled

SIGNATURE = b"\x89VCZ\r\n\x1a\n"
FORMAT_VERSION = 4  # of archives of files; 4 since 0.10.0: lists of files before their data
SERIES_VERSION = 5  # of files with volumes that refer to others or to a preview, or that are of time points; the latest
# Of files that hold voxels alone; 3 since 0.6.0: level factors; 2 since 0.3.0: supports of runs, weights with shifts.
VOXEL_VERSION = 3
END_MARK = b"\nvcz"

VOLUME_HEADER, SLAB, KEPT, BLOB, MANIFEST, LISTING = b"VHDR", b"SLAB", b"KEEP", b"BLOB", b"MANI", b"LIST"
ROOT = b"root"  # older releases pass over it; the first section, or none
PREVIEW = b"PREV"  # the lossy layer of a slab, in files of version 5
LOSSES = b"loss"  # likewise, anywhere: which files are not those that were given; see `losses`
PARITY = b"pari"  # in the index of a protected file: the archive's own index and end mark, then the blocks of parity
PARITY_SIGNATURE = b"\x89VCP\r\n\x1a\n"  # of every block of parity
# The order is part of the format: the index has a section's position in this tuple, or 255 and the tag itself.
_KINDS = (VOLUME_HEADER, SLAB, KEPT, BLOB, MANIFEST, LISTING, PREVIEW)
_OTHER_KIND = 255

_HEADER = struct.Struct("<8sHH")  # signature, format version, flags
_FOOTER = struct.Struct("<II4s")  # bytes of the index, CRC-32 of header + index + that length, end mark
_CRC = struct.Struct("<I")
_LONGEST_HEAD = 4 + 3 * 9  # tag and three varints


class SectionId(NamedTuple):
    """The name of a section: its tag and up to two numbers (SLAB: volume, slab; VHDR: volume; KEEP, BLOB: number)."""

    tag: bytes
    major: int = 0
    minor: int = 0

    def __str__(self) -> str:
        names = {
            VOLUME_HEADER: "header of volume {0}",
            SLAB: "slab {1} of volume {0}",
            KEPT: "kept bytes {0}",
            BLOB: "stored files {0}",
            MANIFEST: "manifest",
            LISTING: "list of files {0}",
            ROOT: "what is kept of the archived folder itself",
            LOSSES: "the list of losses",
            PREVIEW: "preview of slab {1} of volume {0}",
        }
        name = names.get(self.tag, "section " + self.tag.decode("ascii", "replace") + " {0}")
        return name.format(self.major, self.minor)


class Place(NamedTuple):
    """The extent of a section in the file, from its tag to the end of its checksum, in bytes."""

    offset: int
    length: int


def ending(header: bytes, index: bytes) -> bytes:
    """Return what ends a file: the index, its length, the checksum, the end mark."""
    length = struct.pack("<I", len(index))
    return index + length + _CRC.pack(zlib.crc32(header + index + length)) + END_MARK


def _head(section: SectionId, size: int) -> bytes:
    return section.tag + varint(section.major) + varint(section.minor) + varint(size)


class Writer:
    """Appends sections to a binary file, so that an archive may be larger than memory. Only `rewind` and `need` seek.

    `digests` has the SHA-256 of every payload, for `Reader.compare`.
    """

    def __init__(self, file: BinaryIO, version: int = VOXEL_VERSION) -> None:
        self._file = file
        self.digests: dict[SectionId, bytes] = {}
        self._version, self._header = version, _HEADER.pack(SIGNATURE, version, 0)
        self._index: list[bytes] = []
        self.size = file.write(self._header)  # bytes written so far

    def add(self, section: SectionId, payload: bytes) -> None:
        """Write one section."""
        head = _head(section, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head))
        for part in (head, payload, _CRC.pack(crc)):
            self._file.write(part)
        length = len(head) + len(payload) + _CRC.size
        self.size += length
        self.digests[section] = hashlib.sha256(payload).digest()
        kind = bytes([_KINDS.index(section.tag)]) if section.tag in _KINDS else bytes([_OTHER_KIND]) + section.tag
        self._index.append(kind + varint(section.major) + varint(section.minor) + varint(length))

    def need(self, version: int) -> None:
        """Raise the format version of the file to this one, for what is written next. The file must be seekable where
        it has a lower one."""
        if version > self._version:
            self._version, self._header = version, _HEADER.pack(SIGNATURE, version, 0)
            self._file.seek(0)
            self._file.write(self._header)
            self._file.seek(self.size)

    def mark(self) -> tuple[int, int]:
        """Return what `rewind` needs to come back here."""
        return self.size, len(self._index)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Take back the sections that were added since a mark. The file must be seekable."""
        self.size, sections = mark
        self._file.seek(self.size)
        self._file.truncate()
        del self._index[sections:]
        for section in list(self.digests)[sections:]:
            del self.digests[section]

    def finish(self) -> None:
        """Write the index and the end mark; the file may then be closed."""
        self.size += self._file.write(ending(self._header, varint(len(self._index)) + b"".join(self._index)))


class Reader:
    """Random access to the sections of a seekable binary file, safe for several threads.

    With `salvage`, a damaged header or index is no error: the file is searched for sections. `places` maps the sections
    in file order; `damage` has a sentence if the file was searched. `parity` is where a protected file has its parity,
    which is passed over; errors about such a file name the command that repairs it. `version` is that of the format,
    None where the header is damaged.
    """

    def __init__(self, file: BinaryIO, *, salvage: bool = False) -> None:
        self._file, self._lock = file, Lock()
        self.salvage = salvage
        self.size = file.seek(0, os.SEEK_END)
        self.damage: str | None = None
        header = self._bytes(0, min(_HEADER.size, self.size))
        sound = len(header) == _HEADER.size and header.startswith(SIGNATURE)
        self.version: int | None = _HEADER.unpack(header)[1] if sound else None
        self.parity: Place | None = None
        self._slabs: Counter[int] | None = None
        try:
            self.places = self._read_index()
            self.parity = self.places.pop(SectionId(PARITY), None)
        except DamagedError as error:
            if not salvage:
                raise DamagedError(f"{error}{self._advice()}") from None
            self.damage = str(error)
            self.places = self._search()
            if not self.places:
                raise DamagedError("nothing in the file is a section of a volcomp archive") from None

    def _bytes(self, offset: int, count: int) -> bytes:
        """Read exactly `count` bytes from `offset`; the caller has checked that they are inside the file."""
        try:
            with self._lock:
                self._file.seek(offset)
                data = self._file.read(count)
        except OSError as error:
            raise DamagedError(f"the file cannot be read: {error.strerror}") from error
        if len(data) != count:
            raise DamagedError("the file became shorter while it was being read")
        return data

    def _read_index(self) -> dict[SectionId, Place]:
        """Read and check the index; every section begins where the one before it ends."""
        header = self._bytes(0, min(_HEADER.size, self.size))
        if header[: len(SIGNATURE)] != SIGNATURE[: len(header)] or not header:
            raise DamagedError(
                f"this is no volcomp archive: it does not begin with the signature of a .vcz file{self._other_file()}"
            )
        if self.size < _HEADER.size + _FOOTER.size + 1:
            raise DamagedError(f"the archive is cut short: it has only {self.size} bytes")
        _, version, flags = _HEADER.unpack(header)
        end = self.size - _FOOTER.size
        footer = self._bytes(end, _FOOTER.size)
        length, crc, mark = _FOOTER.unpack(footer)
        if mark != END_MARK:
            raise DamagedError("the archive is cut short, or has bytes after its end: the end mark is missing")
        if length > end - _HEADER.size:
            raise DamagedError("the index is damaged: it would be longer than the file")
        index = self._bytes(end - length, length)
        if zlib.crc32(header + index + footer[:4]) != crc:
            raise DamagedError("the header or the index is damaged: their checksum does not fit")
        # After the checksum, so that a flipped bit in the version is reported as damage and not as a newer format.
        if version > SERIES_VERSION:
            raise NewerError(f"format version {version} exceeds the supported {SERIES_VERSION}; upgrade volcomp")
        if version == 0 or flags:
            raise NewerError(f"the flags {flags:#06x} of format version {version} are reserved; upgrade volcomp")
        return self._parse_index(index, end - length)

    @staticmethod
    def _parse_index(index: bytes, end: int) -> dict[SectionId, Place]:
        cursor = Cursor(index, "index")
        places: dict[SectionId, Place] = {}
        offset = _HEADER.size
        for _ in range(cursor.varint(limit=len(index))):
            kind = cursor.take(1)[0]
            tag = cursor.take(4) if kind == _OTHER_KIND else _KINDS[kind] if kind < len(_KINDS) else b""
            if kind == _OTHER_KIND and not tag[:1].islower():
                raise NewerError(f"sections of kind {tag!r} are unknown to this version; upgrade volcomp")
            section = SectionId(tag, cursor.varint(), cursor.varint())
            length = cursor.varint(limit=end - offset)
            if not tag or section in places:
                raise cursor.damaged()
            places[section] = Place(offset, length)
            offset += length
        cursor.end()
        if offset != end:
            raise DamagedError("the index is damaged: its sections do not fill the file")
        return places

    def read(self, section: SectionId) -> bytes:
        """Return the payload of a section; DamagedError where it is missing or its checksum does not fit."""
        place = self.places.get(section)
        if place is None:
            raise DamagedError(f"{section} is missing")
        data = self._bytes(*place)
        found = _parse(data)
        if found is None or found[0] != section:
            raise self._damaged(section)
        return found[1]

    def _damaged(self, section: SectionId) -> DamagedError:
        return DamagedError(f"{section} is damaged: its checksum does not fit{self._advice()}")

    def check(self, section: SectionId) -> None:
        """Raise the error of `read` without holding the payload."""
        offset, length = self.places[section]
        head = _parse_head(self._bytes(offset, min(_LONGEST_HEAD, length)))
        if head is None or head[0] != section or head[1] + head[2] + _CRC.size != length:
            self.read(section)
        elif not self._crc_fits(offset, length):
            raise self._damaged(section)

    def compare(self, digests: Mapping[SectionId, bytes]) -> None:
        """Read every section; DamagedError unless `digests` has exactly these sections and their SHA-256."""
        if self.places.keys() != digests.keys():
            raise DamagedError("the file holds other sections than were written")
        for section, digest in digests.items():
            if hashlib.sha256(self.read(section)).digest() != digest:
                raise DamagedError(f"{section} is not what was written")

    def slabs_of(self, volume: int) -> int:
        """Return the number of slabs of a volume."""
        if self._slabs is None:  # counted once: an archive may have a volume for each of thousands of time points
            self._slabs = Counter(section.major for section in self.places if section.tag == SLAB)
        return self._slabs[volume]

    def payload_size(self, section: SectionId) -> int:
        """Return the bytes of a section in the file, with its head and checksum."""
        return self.places[section].length

    def end_of_parity(self, count: int) -> bytes:
        """Return the last bytes of the parity; none where the file has none, or less."""
        place = self.parity
        return self._bytes(place.offset + place.length - count, count) if place and place.length >= count else b""

    def _other_file(self) -> str:
        """Return the end of the sentence about a file without the signature: what makes archives, if it is none."""
        if self.size >= len(END_MARK) and self._bytes(self.size - len(END_MARK), len(END_MARK)) == END_MARK:
            return ""  # a damaged archive
        return f"; {spelled('volcomp.compress_files')} makes one of a file or folder"

    def _advice(self) -> str:
        """Return the end of an error's sentence: how to repair the file, if it has parity."""
        with suppress(DamagedError):  # where the file cannot be read either
            if self.parity or self._find((PARITY_SIGNATURE,), 0) < self.size:
                return advice()
        return ""

    def _search(self) -> dict[SectionId, Place]:
        """Find complete sections without the index; after a damaged one, search for the next tag."""
        places: dict[SectionId, Place] = {}
        offset, budget = 0, 8 * self.size + (1 << 20)  # bounds the work for a file made of tags, else quadratic
        while offset < self.size and budget > 0:
            head = _parse_head(self._bytes(offset, min(_LONGEST_HEAD, self.size - offset)))
            known = head and (head[0].tag in _KINDS or (offset == _HEADER.size and head[0] == SectionId(ROOT)))
            total = head[1] + head[2] + _CRC.size if head and known else 0
            budget -= total
            if head and 0 < total <= self.size - offset and self._crc_fits(offset, total):
                # The first one counts, since a damaged BLOB may hold an archive, whose sections are found as well. For
                # the same reason the last manifest counts: a writer puts it at the end.
                if head[0] not in places or head[0].tag == MANIFEST:
                    places[head[0]] = Place(offset, total)
                offset += total
            else:
                offset = self._find((*_KINDS, ROOT), offset + 1)
        return places

    def _crc_fits(self, offset: int, total: int) -> bool:
        """Check a section piece by piece, because its length may be wrong and large."""
        crc, end = 0, offset + total - _CRC.size
        while offset < end:
            piece = self._bytes(offset, min(1 << 20, end - offset))
            crc = zlib.crc32(piece, crc)
            offset += len(piece)
        return _CRC.pack(crc) == self._bytes(end, _CRC.size)

    def _find(self, tags: tuple[bytes, ...], offset: int) -> int:
        """Return where the next of some tags begins, or the end of the file."""
        step, over = 1 << 20, max(map(len, tags)) - 1  # a tag may lie across two windows
        while offset < self.size:
            window = self._bytes(offset, min(step + over, self.size - offset))
            hits = [hit for hit in (window.find(tag) for tag in tags) if hit >= 0]
            if hits:
                return offset + min(hits)
            offset += step
        return self.size


def advice() -> str:
    """Return how errors about files end that seem to have parity."""
    return f"; it has parity, with which {spelled('volcomp.repair')} may restore it"


def _parse_head(data: bytes) -> tuple[SectionId, int, int] | None:
    """Return (id, bytes of the head, bytes of the payload), or None where no section begins."""
    cursor = Cursor(data, "section")
    try:
        tag = cursor.take(4)
        section = SectionId(tag, cursor.varint(), cursor.varint())
        size = cursor.varint()
    except DamagedError:
        return None
    return section, cursor.position, size


def _parse(data: bytes) -> tuple[SectionId, bytes] | None:
    """Return (id, payload) of a complete section, or None where it is damaged."""
    head = _parse_head(data[:_LONGEST_HEAD])
    if head is None:
        return None
    section, start, size = head
    end = start + size
    if end + _CRC.size != len(data) or zlib.crc32(memoryview(data)[:end]) != _CRC.unpack_from(data, end)[0]:
        return None
    return section, data[start:end]
