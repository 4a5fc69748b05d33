"""What is kept of images beside their voxels, as KEEP sections: a table for some volumes, a record for each file."""

from __future__ import annotations

from ..bodies.protocol import Kept
from ..container.sections import KEPT, SectionId, Writer
from ..formats.protocol import Format
from .bytes_codec import CHUNK_BYTES, pack_table
from .table import MAX_COLUMNS, MAX_RECORDS, columns_of, encode_table

# For run lengths, widths and counts of a table of MAX_RECORDS by a few hundred columns.
_LAYOUT_BYTES = 4 << 20
MAX_RECORD_BYTES = CHUNK_BYTES - _LAYOUT_BYTES

_PREAMBLE_KEY, _SIDE_KEY, _AFTER_KEY = 0, 1 << 33, 1 << 34  # around the keys of elements, which are made of their tags


class KeptWriter:
    """Collects what is kept of images beside their voxels, and writes it table by table."""

    def __init__(self, writer: Writer, table: int = 0) -> None:
        """`table`: number of the next section that is written."""
        self._writer, self.table = writer, table
        self._pending: list[tuple[Format, Kept]] = []
        self.size = 0  # bytes that are pending

    def add(self, file_format: Format, kept: Kept) -> tuple[int, int]:
        """Keep the bytes of the next file, at most MAX_RECORD_BYTES; return the numbers of table and record."""
        size = sum(map(len, kept))
        if self.size + size > MAX_RECORD_BYTES or len(self._pending) == MAX_RECORDS:
            self.flush()
        self._pending.append((file_format, kept))
        self.size += size
        return self.table, len(self._pending) - 1

    def flush(self) -> None:
        """Write the pending records."""
        if self._pending:
            self._writer.add(SectionId(KEPT, self.table), pack_table(encode_table(_columns(self._pending))))
            self.table += 1
            self._pending, self.size = [], 0


def _columns(records: list[tuple[Format, Kept]]) -> list[list[bytes]]:
    columns = columns_of(_cells(file_format, kept) for file_format, kept in records)
    if len(columns) > MAX_COLUMNS:  # thousands of different tags: an odd collection, kept as it is
        columns = [list(column) for column in zip(*(kept for _, kept in records), strict=True)]
    return columns


def _cells(file_format: Format, kept: Kept) -> list[tuple[int, bytes]]:
    """Cut a record into cells by increasing key.

    The cells are the bytes before the first element, head and value of every element, what the voxels' bytes are made
    with, and the bytes after the voxels. The last element may be that of the voxels, with its head alone.
    """
    cells: list[tuple[int, bytes]] = []
    before = kept.before
    cuts = file_format.cut(before)
    ends = [cut.start for cut in cuts[1:]] + [len(before)]
    cells.append((_PREAMBLE_KEY, before[: cuts[0].start] if cuts else before))
    for (tag, start, value), end in zip(cuts, ends, strict=True) if cuts else ():
        cells += [(2 * tag + 1, before[start:value]), (2 * tag + 2, before[value:end])]
    assert b"".join(cell for _, cell in cells) == before
    return [*cells, (_SIDE_KEY, kept.side), (_AFTER_KEY, kept.after)]
