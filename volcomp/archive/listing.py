"""LIST sections: names, digests and places of some of the files, written before the data of these files.

A LIST needs no other section to be understood, so that the files of a cut or damaged archive keep their names. All of
an archive's LIST sections together are its manifest. Rows are a table (`table.py`), numbers little-endian, and where an
archive goes on where the row before ends, numbers are differences from there: columns are then constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..bodies.planes import MOST_PLANES
from ..errors import DamagedError
from ..wire.cursor import Cursor, string, varint
from .bytes_codec import CHUNK_BYTES, pack_table, unpack
from .entry import Entry, Kind, Stored, Voxels
from .table import decode_table, encode_table

MAX_ROWS = 1 << 17  # of one section
_TEXT_BYTES = 8 << 20  # names and notes of one section
_TABLE_BYTES = 2 * CHUNK_BYTES  # of all cells, equal ones counted each time
_SHA_BYTES = 32
_NAMES, _FACTS, _OF_VOXELS, _OF_STORED = 5, 3, 9, 3  # columns of a row, in this order
_WIDTH = 8  # of a number, bytes
_LIMIT = 1 << 61  # of every number but times, so that sums stay in 64 bits
_MODE = 0o777


@dataclass
class _Previous:
    """The row before, from which numbers are differences; and the digests so far."""

    volume: int = 0
    end: int = 0  # slice
    table: int = 0
    row: int = -1
    stored: int = 0  # end in the BLOB stream
    digests: int = 0

    def slice_of(self, volume: int) -> int:
        """Return the slice at which this volume goes on."""
        return self.end if volume == self.volume else 0

    def row_of(self, table: int) -> int:
        """Return the row at which this KEEP section goes on."""
        return self.row + 1 if table == self.table else 0

    def follow(self, place: Voxels | Stored | None) -> None:
        """Go on to the next row."""
        if isinstance(place, Voxels):
            self.volume, self.end, self.table, self.row = place.volume, place.end, place.table, place.row
        elif place:
            self.stored = place.start + place.size


def cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut entries into pieces that fit one section each."""
    first, size = 0, 0
    for i, entry in enumerate(entries):
        more = text_bytes(entry)
        if i - first == MAX_ROWS or size + more > _TEXT_BYTES:
            yield entries[first:i]
            first, size = i, 0
        size += more
    if entries:
        yield entries[first:]


def text_bytes(entry: Entry) -> int:
    """Return the bytes of name and note."""
    return len(encode_name(entry.name)) + len(encode_name(entry.note))


def encode(root: str, entries: Sequence[Entry]) -> bytes:
    """Return the payload of a LIST section.

    Parameters:
        root: the name of the folder that was archived; empty where several inputs were.
        entries: one piece of `cut`.
    """
    digests: dict[bytes, int] = {}
    previous = _Previous()
    rows = [_row(entry, previous, digests) for entry in entries]
    raw = string(encode_name(root)) + encode_table(list(zip(*rows, strict=True)))
    # Digests are not in the table, since they do not compress. Files of equal bytes share one.
    return varint(len(digests)) + b"".join(digests) + pack_table(raw)


def decode(payload: bytes, what: str) -> tuple[str, list[Entry]]:
    """Return the root and the entries of a LIST section, names unchecked; raises DamagedError, which names `what`."""
    outer = Cursor(payload, what)
    digests = [outer.take(_SHA_BYTES) for _ in range(outer.varint(limit=len(payload) // _SHA_BYTES))]
    cursor = Cursor(unpack(outer.rest(), what), what)
    root = decode_name(cursor.string())
    columns = decode_table(cursor.rest(), what, max_rows=MAX_ROWS, max_bytes=_TABLE_BYTES)
    previous = _Previous()
    try:
        return root, [_entry(row, previous, digests) for row in zip(*columns, strict=True)]
    except (ValueError, IndexError):  # of a number that is none, an unknown kind, a digest that is not there
        raise DamagedError(f"{what} is damaged: a row makes no sense") from None


def encode_itself(folder: Entry) -> bytes:
    """Return the payload of the ROOT section: time and permissions of the archived folder itself."""
    return b"".join(string(b"" if n is None else _number(n)) for n in (folder.mtime, folder.mode))


def decode_itself(payload: bytes, what: str) -> Entry:
    """Return the archived folder itself, without a name; raises DamagedError, which names `what`."""
    cursor = Cursor(payload, what)
    cells = [cursor.string(), cursor.string()]
    cursor.end()
    try:
        mtime, mode = (_parse(cell) if cell else None for cell in cells)
    except ValueError:
        raise cursor.damaged() from None
    if not 0 <= (mode or 0) <= _MODE:
        raise cursor.damaged()
    return Entry("", Kind.FOLDER, mtime=mtime, mode=mode)


def _row(entry: Entry, previous: _Previous, digests: dict[bytes, int]) -> tuple[bytes, ...]:
    folder, slash, last = encode_name(entry.name).rpartition(b"/")
    digest = b""  # of the next one in the list
    if entry.kind == Kind.FILE and digests.setdefault(entry.sha256, len(digests)) < previous.digests:
        digest = _number(digests[entry.sha256])
    previous.digests = len(digests)
    place = entry.place
    voxels, stored = [b""] * _OF_VOXELS, [b""] * _OF_STORED
    if isinstance(place, Voxels):
        numbers = (
            place.volume - previous.volume,
            place.first - previous.slice_of(place.volume),
            place.frames,
            place.table - previous.table,
            place.row - previous.row_of(place.table),
            place.before,
            place.side,
            place.body,
            place.planes,
        )
        voxels = [_number(n) for n in numbers]
    elif place:  # most have their own size there
        stored = [_number(n) for n in (place.start - previous.stored, place.size - entry.size, place.packing)]
    previous.follow(place)
    facts = [b"" if n is None else _number(n) for n in (entry.size, entry.mtime, entry.mode)]
    return (folder + slash, last, encode_name(entry.note), bytes([entry.kind]), digest, *facts, *voxels, *stored)


def _entry(row: tuple[bytes, ...], previous: _Previous, digests: list[bytes]) -> Entry:
    folder, last, note, kind_cell, digest = row[:_NAMES]
    size, mtime, mode = (_parse(cell) if cell else None for cell in row[_NAMES : _NAMES + _FACTS])
    voxels, stored = row[_NAMES + _FACTS : -_OF_STORED], row[-_OF_STORED:]
    kind = Kind(kind_cell[0])
    place: Voxels | Stored | None = None
    if any(voxels):
        volume, first, frames, table, record, before, side, body, planes = map(_parse, voxels)
        volume, table = volume + previous.volume, table + previous.table
        first, record = first + previous.slice_of(volume), record + previous.row_of(table)
        place = Voxels(volume, first, frames, table, record, before, side, body, planes)
    elif any(stored):
        start, more, packing = map(_parse, stored)
        place = Stored(start + previous.stored, more + (size or 0), packing)
    sha256 = b""
    if kind == Kind.FILE:
        number = _parse(digest) if digest else previous.digests
        if number < 0:
            raise ValueError
        sha256 = digests[number]
        previous.digests = max(previous.digests, number + 1)
    name = decode_name(folder + last)
    entry = Entry(name, kind, size or 0, sha256, place, mtime, mode, decode_name(note))
    if not _makes_sense(entry):
        raise ValueError
    previous.follow(place)
    return entry


def _makes_sense(entry: Entry) -> bool:
    """Return whether numbers are in the range of their meaning, and the entry has what its kind needs."""
    place = entry.place
    numbers = [entry.size, *(vars(place).values() if place else ())]
    if not all(0 <= n <= _LIMIT for n in numbers) or not 0 <= (entry.mode or 0) <= _MODE:
        return False
    if isinstance(place, Voxels) and not (place.frames and 1 <= place.planes <= MOST_PLANES):
        return False
    if entry.kind == Kind.LINK and (not entry.note or "\0" in entry.note):
        return False
    return (place is not None) == (entry.kind == Kind.FILE)


def _number(value: int) -> bytes:
    """Encode in a fixed width, so that equal bytes of a column are aligned."""
    return value.to_bytes(_WIDTH, "little", signed=True)


def _parse(cell: bytes) -> int:
    if len(cell) != _WIDTH:
        raise ValueError
    return int.from_bytes(cell, "little", signed=True)


def encode_name(name: str) -> bytes:
    """Return the bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(name: bytes) -> str:
    """Return a name as Python has it: bytes that are no UTF-8 as surrogates."""
    return name.decode("utf-8", "surrogateescape")
