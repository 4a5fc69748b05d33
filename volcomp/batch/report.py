"""`batch.csv`: a row for every series, kept whole whoever writes to it and whenever they are stopped.

A row is appended, or where the series has one already the file is made anew beside the old one and renamed; both under
a lock, and after reading what others have appended since.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..archive.files import new_file, target_errors
from . import claims

NAME = "batch.csv"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Row:
    """What became of one series."""

    path: str  # of the series, relative to the tree; its archive is this and .vcz
    files: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0  # 0 for what was found done and had no row
    sha256: str = ""  # of the archive, in both directions
    status: str = DONE
    error: str = ""  # one sentence


_COLUMNS = [field.name for field in fields(Row)]


class Report:
    """The rows of a target's report; `rows` is as of the last look at the file."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / NAME
        self.rows: dict[str, Row] = {}
        self._data = b""  # of the file, to see what is new in it: inode numbers come back, and clocks are coarse

    def refresh(self) -> None:
        """Look at the file."""
        with self._locked():
            pass

    def add(self, row: Row) -> None:
        """Add the row of a series, in place of the one that it may have. Raises TargetError."""
        with self._locked():
            known = self.rows.get(row.path)
            if known and known.status == row.status == DONE and (known.sha256, row.seconds) == (row.sha256, 0):
                return  # somebody else did it, and knows how long it took
            self.rows[row.path] = row
            if known or not self._data.endswith(b"\n"):  # none yet, or cut amid a row when a machine crashed
                self._rewrite()
            else:
                self._append(_text([astuple(row)]))

    def forget(self, stale: Collection[Row]) -> None:
        """Take out, all at once, the rows of what is about to be tried again, unless others have replaced them."""
        with self._locked():
            going = {row.path for row in stale if self.rows.get(row.path) == row}
            if going:
                self.rows = {path: row for path, row in self.rows.items() if path not in going}
                self._rewrite()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file, of which everything is known."""
        with claims.alone(self._root), target_errors(self._path):
            self._catch_up()
            yield

    def _catch_up(self) -> None:
        data = self._path.read_bytes() if self._path.exists() else b""
        if not data.startswith(self._data):
            self.rows, self._data = {}, b""
        fresh = data[len(self._data) :].decode("utf-8", "surrogateescape")
        self.rows |= {row.path: row for row in _parse(fresh)}
        self._data = data

    def _append(self, data: bytes) -> None:
        """All of it or nothing: what a full disk cuts off is taken back."""
        with self._path.open("ab") as file:
            try:
                file.write(data)
                file.flush()
            except OSError:
                os.truncate(self._path, len(self._data))
                raise
        self._data += data

    def _rewrite(self) -> None:
        data = _text([_COLUMNS, *map(astuple, self.rows.values())])
        with new_file(self._path, force=True) as (file, _):
            file.write(data)
        self._data = data


def _text(lines: list[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)  # type: ignore[arg-type]
    return text.getvalue().encode("utf-8", "surrogateescape")


def _parse(text: str) -> Iterator[Row]:
    """The rows; a line that is none, such as one that was cut, is left out."""
    for line in csv.reader(io.StringIO(text, newline="")):
        try:
            path, files, bytes_in, bytes_out, seconds, *rest = line
            sha256, status, error = rest
            yield Row(path, int(files), int(bytes_in), int(bytes_out), float(seconds), sha256, status, error)
        except ValueError:
            continue
