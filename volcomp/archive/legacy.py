"""The manifest of archives before format version 4: one MANI section behind all data.

Files are listed in stored order: first the images, volume by volume and slice by slice, then the files that are kept
whole. Empty folders follow. Such archives are read for ever, and no longer written.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from ..container.sections import MANIFEST, Reader, SectionId
from ..errors import DamagedError, NewerError
from ..wire.cursor import Cursor
from .bytes_codec import CHUNK_BYTES, unpack
from .entry import Entry, Kind, Stored, Voxels
from .listing import decode_name
from .table import decode_table

_SHA_BYTES = 32
_TABLE_BYTES = 2 * CHUNK_BYTES  # of all cells, equal ones counted each time: about half a million files
_BIG_ENDIAN = 1  # flag of a file: its 16-bit pixels were byte-swapped; also the number of that body codec
_WIDTHS = (8, 4, 4, 1)  # of size, slices, bytes before the pixels, and flags


def read_legacy(reader: Reader) -> tuple[str, list[Entry]]:
    """Return the root and the entries, names unchecked. Raises DamagedError."""
    outer = Cursor(reader.read(SectionId(MANIFEST)), "manifest")
    count = outer.varint(limit=len(outer.data) // _SHA_BYTES)
    digests = [outer.take(_SHA_BYTES) for _ in range(count)]
    cursor = Cursor(unpack(outer.rest(), "manifest"), "manifest")
    root = decode_name(cursor.string())
    lengths = cursor.varints(cursor.varint(), limit=count)  # images of every volume
    tables = cursor.varints(cursor.varint(), limit=count)  # records of every KEEP section
    whole = cursor.varint(limit=count)
    folders = cursor.varint(limit=len(cursor.data))
    columns = decode_table(cursor.rest(), "manifest", max_rows=count + folders, max_bytes=_TABLE_BYTES)
    images = sum(lengths)
    if images + whole != count or sum(tables) != images or any(len(c) != count + folders for c in columns):
        raise DamagedError("the manifest is damaged: its counts contradict each other")
    if count + folders and len(columns) != 2 + len(_WIDTHS):
        raise DamagedError("the manifest is damaged: it has another number of columns")
    rows = list(zip(*columns, strict=True))
    if any(tuple(map(len, row[2:])) != _WIDTHS for row in rows):
        raise DamagedError("the manifest is damaged: a number has another width")
    ends = list(accumulate(tables))
    entries: list[Entry] = []
    for volume, length in enumerate(lengths):
        first = 0
        for row in rows[len(entries) : len(entries) + length]:
            size, frames, before, flags = (int.from_bytes(cell, "little") for cell in row[2:])
            if flags & ~_BIG_ENDIAN:
                raise NewerError(f"a file has the unknown flags {flags:#04x}; upgrade volcomp")
            number = len(entries)
            table = bisect_right(ends, number)
            place = Voxels(volume, first, frames, table, number - ends[table] + tables[table], before, 0, flags)
            entries.append(Entry(decode_name(row[0] + row[1]), Kind.FILE, size, digests[number], place))
            first += frames
    start = 0
    for row, digest in zip(rows[images:count], digests[images:], strict=True):
        size = int.from_bytes(row[2], "little")
        entries.append(Entry(decode_name(row[0] + row[1]), Kind.FILE, size, digest, Stored(start, size)))
        start += size
    entries += [Entry(decode_name(row[0] + row[1]), Kind.FOLDER) for row in rows[count:]]
    return root, entries
