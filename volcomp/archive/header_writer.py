"""The bytes of DICOM files around their pixels, as KEEP sections: one table per volume or so, a record per file."""

from __future__ import annotations

from ..container.sections import KEPT, SectionId, Writer
from ..formats.dicom import elements
from .bytes_codec import CHUNK_BYTES, pack_table
from .table import MAX_COLUMNS, MAX_RECORDS, columns_of, encode_table

# A table closes between volumes once it holds this much: small volumes share one, large ones are damaged alone.
_ENOUGH_BYTES = 256 << 10
# Room for run lengths, widths and counts of a table of MAX_RECORDS by a few hundred columns.
_LAYOUT_BYTES = 4 << 20
MAX_RECORD_BYTES = CHUNK_BYTES - _LAYOUT_BYTES

_PREAMBLE_KEY, _PIXEL_KEY, _AFTER_KEY = 0, 0x7FE00010 * 2 + 1, 1 << 33


class KeptWriter:
    """Collects (before, after) pairs in the order of the files and writes them table by table.

    `records` counts the records of every table written, for the manifest.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pending: list[tuple[bytes, bytes]] = []
        self._size = 0
        self.records: list[int] = []

    def add(self, before: bytes, after: bytes) -> None:
        """Keep the bytes before and after the pixels of the next file; together at most MAX_RECORD_BYTES."""
        size = len(before) + len(after)
        if self._size + size > MAX_RECORD_BYTES or len(self._pending) == MAX_RECORDS:
            self.flush()
        self._pending.append((before, after))
        self._size += size

    def end_volume(self) -> None:
        """A good place to begin a new table."""
        if self._size >= _ENOUGH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            table = encode_table(_columns(self._pending))
            self._writer.add(SectionId(KEPT, len(self.records)), pack_table(table))
            self.records.append(len(self._pending))
            self._pending, self._size = [], 0


def _columns(pairs: list[tuple[bytes, bytes]]) -> list[list[bytes]]:
    columns = columns_of(_cells(before, after) for before, after in pairs)
    if len(columns) > MAX_COLUMNS:  # thousands of different tags: an odd collection, kept as it is
        columns = [[before for before, _ in pairs], [after for _, after in pairs]]
    return columns


def _cells(before: bytes, after: bytes) -> list[tuple[int, bytes]]:
    """Preamble, head and value of every element, head of the pixel element, what follows the pixels; by rising key."""
    cells: list[tuple[int, bytes]] = []
    cuts = elements(before)
    ends = [start for _, start, _ in cuts[1:]] + [len(before)]
    cells.append((_PREAMBLE_KEY, before[: cuts[0][1]] if cuts else before))
    for (tag, start, value), end in zip(cuts, ends, strict=True) if cuts else ():
        cells += [(2 * tag + 1, before[start:value]), (2 * tag + 2, before[value:end])]
    assert b"".join(cell for _, cell in cells) == before
    return [*cells, (_AFTER_KEY, after)]
