"""The bytes of images around their voxels, as KEEP sections: one table per volume or so, one record per file."""

from __future__ import annotations

from ..container.sections import KEPT, SectionId, Writer
from ..formats.protocol import Format
from .bytes_codec import CHUNK_BYTES, pack_table
from .table import MAX_COLUMNS, MAX_RECORDS, columns_of, encode_table

# A table closes between volumes once it holds this much: small volumes share one, large ones are damaged alone.
_ENOUGH_BYTES = 256 << 10
# For run lengths, widths and counts of a table of MAX_RECORDS by a few hundred columns.
_LAYOUT_BYTES = 4 << 20
MAX_RECORD_BYTES = CHUNK_BYTES - _LAYOUT_BYTES

_PREAMBLE_KEY, _AFTER_KEY = 0, 1 << 33  # around the keys of elements, which are made of their tags


class KeptWriter:
    """Collects the bytes around voxels, file by file, and writes them table by table.

    `records` has the number of records of every table written, for the manifest.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pending: list[tuple[Format, bytes, bytes]] = []  # format, before, after
        self._size = 0
        self.records: list[int] = []

    def add(self, file_format: Format, before: bytes, after: bytes) -> None:
        """Keep the bytes before and after the voxels of the next file; together at most MAX_RECORD_BYTES."""
        size = len(before) + len(after)
        if self._size + size > MAX_RECORD_BYTES or len(self._pending) == MAX_RECORDS:
            self.flush()
        self._pending.append((file_format, before, after))
        self._size += size

    def end_volume(self) -> None:
        """Close the table if it is large enough: a new one begins best between volumes."""
        if self._size >= _ENOUGH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the pending records."""
        if self._pending:
            table = encode_table(_columns(self._pending))
            self._writer.add(SectionId(KEPT, len(self.records)), pack_table(table))
            self.records.append(len(self._pending))
            self._pending, self._size = [], 0


def _columns(records: list[tuple[Format, bytes, bytes]]) -> list[list[bytes]]:
    columns = columns_of(_cells(file_format, before, after) for file_format, before, after in records)
    if len(columns) > MAX_COLUMNS:  # thousands of different tags: an odd collection, kept as it is
        columns = [[before for _, before, _ in records], [after for _, _, after in records]]
    return columns


def _cells(file_format: Format, before: bytes, after: bytes) -> list[tuple[int, bytes]]:
    """Cut a record into cells by increasing key.

    The cells are the bytes before the first element, head and value of every element, and the bytes after the voxels.
    The last element may be that of the voxels, with its head alone.
    """
    cells: list[tuple[int, bytes]] = []
    cuts = file_format.cut(before)
    ends = [cut.start for cut in cuts[1:]] + [len(before)]
    cells.append((_PREAMBLE_KEY, before[: cuts[0].start] if cuts else before))
    for (tag, start, value), end in zip(cuts, ends, strict=True) if cuts else ():
        cells += [(2 * tag + 1, before[start:value]), (2 * tag + 2, before[value:end])]
    assert b"".join(cell for _, cell in cells) == before
    return [*cells, (_AFTER_KEY, after)]
