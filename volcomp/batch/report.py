"""`batch.csv`: a row for every series, consistent under several writers and interrupts.

A new row is appended. If the series has a row already, a new file is written beside the old one and renamed. Both
happen under a lock, after reading what other batches have appended.
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
    """The result of one series."""

    path: str  # of the series, relative to the tree; with .vcz, that of its archive
    files: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0  # 0 if the series was already done but had no row
    sha256: str = ""  # of the archive, in both directions
    status: str = DONE
    error: str = ""  # one sentence


_COLUMNS = [field.name for field in fields(Row)]


class Report:
    """The report of a target; `rows` is its content when it was last read."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / NAME
        self.rows: dict[str, Row] = {}
        self._data = b""  # of the file, to find what is new: inode numbers are reused, and clocks are coarse

    def refresh(self) -> None:
        """Read the file."""
        with self._locked():
            pass

    def add(self, row: Row) -> None:
        """Add the row of a series, replacing an earlier one. Raises TargetError."""
        with self._locked():
            known = self.rows.get(row.path)
            if known and known.status == row.status == DONE and (known.sha256, row.seconds) == (row.sha256, 0):
                return  # another batch did it, and its row has the duration
            self.rows[row.path] = row
            if known or not self._data.endswith(b"\n"):  # no file yet, or its last row is cut after a crash
                self._rewrite()
            else:
                self._append(_text([astuple(row)]))

    def forget(self, stale: Collection[Row]) -> None:
        """Remove, in one step, the rows of series to be tried again, unless another batch has replaced them."""
        with self._locked():
            removed = {row.path for row in stale if self.rows.get(row.path) == row}
            if removed:
                self.rows = {path: row for path, row in self.rows.items() if path not in removed}
                self._rewrite()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file, and read what is new in it."""
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
        """Append all of `data` or nothing: a partial write to a full disk is undone."""
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
    """Yield the rows; a line that is not one, for instance a cut one, is skipped."""
    for line in csv.reader(io.StringIO(text, newline="")):
        try:
            path, files, bytes_in, bytes_out, seconds, *rest = line
            sha256, status, error = rest
            yield Row(path, int(files), int(bytes_in), int(bytes_out), float(seconds), sha256, status, error)
        except ValueError:
            continue
