"""What the index has of instances, and whether that is still so: an archive that was replaced is read anew before."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import MissingError
from .entering import attributes_of, decoded, encoded, same
from .faults import ChangedError, error_of
from .following import Follower
from .index import ARCHIVE, INBOX, Index
from .instance import Instance
from .pool import identity
from .protocol import Holding, Json

_PATIENCE = 5.0  # seconds for which who reads what has moved waits for a look that is under way
_TRIES = 3  # times that archives are read again which change while they are

_COLUMNS = (
    "study, series, sop, sop_class, syntax, instances.size, frames, sha256, name, sources.kind, sources.path,"
    " device, inode, sources.size AS packed, mtime"
)
_SELECT = (
    f"SELECT {_COLUMNS} FROM instances JOIN sources ON sources.id = source"
    " LEFT JOIN series USING (study, series) WHERE chosen = 1 AND study = ?"
)
_ORDER = " ORDER BY series.k00200011 IS NULL, series.k00200011, series, number IS NULL, number, sop"


class Catalogue:
    """The instances of a tree and its inbox. Safe for several threads."""

    def __init__(self, index: Index, follower: Follower, root: Path) -> None:
        """`follower`: keeps the index up to date with the tree at `root`."""
        self._index, self._follower, self._root = index, follower, root

    def instances(self, study: str, series: str | None = None, sop: str | None = None) -> list[Instance]:
        """Return instances; see `Store.instances`."""
        found = self._current(study, series, sop)
        if not found and (faulty := self._outdated(self._faulty(study, series, sop))):  # it may have been repaired
            for path in faulty:
                if not self._follower.renewed(path):
                    self._follower.look(_PATIENCE)
            found = self._current(study, series, sop)
        if not found:
            self.explain(study, series, sop)
            what = "instance" if sop else "series" if series else "study"
            raise MissingError(f"there is no {what} with these UIDs")
        return [self._instance(row) for row in found]

    def lost(self, study: str, series: str | None = None) -> int:
        """Return how many instances are in archives that cannot be read alone; see `Store.lost`."""
        statement = (
            "SELECT COUNT(DISTINCT sop) FROM instances JOIN sources ON sources.id = source WHERE fault != 0"
            " AND NOT EXISTS (SELECT 1 FROM instances AS other WHERE other.sop = instances.sop AND other.chosen = 1)"
            " AND study = ?"
        )
        parameters = [_text(study)]
        if series is not None:
            statement += " AND series = ?"
            parameters.append(_text(series))
        return int(self._index.read(lambda connection: connection.execute(statement, parameters).fetchone()[0]))

    def holdings(self, study: str | None = None, series: str | None = None) -> Iterator[Holding]:
        """Yield archives; see `Store.holdings`."""
        statement = "SELECT path, files, raw, size, voxels FROM sources WHERE kind = ? AND damage = ''"
        parameters: list[Any] = [ARCHIVE]
        if study is not None:
            self._current(study, series)
            statement += " AND id IN (SELECT source FROM instances WHERE chosen = 1 AND study = ?"
            statement += " AND series = ?)" if series is not None else ")"
            parameters += [_text(study), *([_text(series)] if series is not None else [])]
        statement += " ORDER BY path"
        for row in self._index.read(lambda connection: connection.execute(statement, parameters).fetchall()):
            path = self._root / decoded(row["path"])
            yield Holding(path, row["files"], row["raw"], row["size"], row["voxels"])

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with archives that cannot be read; see `Store.damaged`."""
        statement = "SELECT path, damage FROM sources WHERE damage != '' ORDER BY path"
        rows = self._index.read(lambda connection: connection.execute(statement).fetchall())
        return {decoded(row["path"]): row["damage"] for row in rows}

    def everywhere(self, sop: str) -> list[tuple[Instance, bytes]]:
        """Return all instances of a UID, also those not chosen, each with the SHA-256 of its file; archives first.

        Archives that were replaced are read before: what they had is not there.
        """
        statement = (
            f"SELECT {_COLUMNS} FROM instances JOIN sources ON sources.id = source"
            " WHERE sop = ? AND fault = 0 ORDER BY kind, path, name"
        )

        def rows() -> list[sqlite3.Row]:
            return self._index.read(lambda connection: connection.execute(statement, (_text(sop),)).fetchall())

        found = rows()
        for path in self._outdated(found):
            self._follower.renewed(path)
            found = rows()
        return [(self._instance(row), row["sha256"]) for row in found]

    def sop_of(self, path: str) -> str | None:
        """Return the UID of the instance that a file of the inbox is; None of a file that the index does not have."""
        statement = (
            "SELECT sop FROM instances JOIN sources ON sources.id = source WHERE sources.kind = ? AND sources.path = ?"
        )

        def sop(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(statement, (INBOX, encoded(path))).fetchone()
            return row["sop"] if row else None

        return self._index.read(sop)

    def attributes(self, instance: Instance) -> Json:
        """Return the attributes of an instance. Raises ChangedError where another one has its UIDs now."""

        def read(connection: sqlite3.Connection) -> Json | None:
            statement = "SELECT dictionary, attributes FROM instances WHERE sop = ? AND study = ? AND sha256 = ?"
            row = connection.execute(statement, (instance.sop, instance.study, instance.sha256)).fetchone()
            return attributes_of(connection, row) if row else None

        found = self._index.read(read)
        if found is None:
            raise ChangedError("the instance is gone, or another one; search again")
        return found

    def moved(self, instance: Instance) -> Instance | None:
        """Return where an instance is now, if it was not where the index had it."""
        for look in (False, True):
            if look:
                archive = instance.archive
                if archive is None or not self._follower.renewed(archive.relative_to(self._root).as_posix()):
                    self._follower.look(_PATIENCE)
            rows = self._rows(instance.study, instance.series, instance.sop)
            found = self._instance(rows[0]) if rows else None
            if found != instance:
                return found
        return None

    def explain(self, study: str, series: str | None, sop: str | None) -> None:
        """Raise the error of an archive that had instances before it could no longer be read, if there is one."""
        for row in self._faulty(study, series, sop):
            raise error_of(row["fault"], row["damage"])

    def _rows(self, study: str, series: str | None, sop: str | None) -> list[sqlite3.Row]:
        statement, parameters = _SELECT, [_text(study)]
        for name, value in (("series", series), ("sop", sop)):
            if value is not None:
                statement += f" AND instances.{name} = ?"
                parameters.append(_text(value))
        return self._index.read(lambda connection: connection.execute(statement + _ORDER, parameters).fetchall())

    def _instance(self, row: sqlite3.Row) -> Instance:
        path = decoded(row["path"])
        archive = self._root / path if row["kind"] == ARCHIVE else None
        return Instance(
            row["study"], row["series"], row["sop"], row["sop_class"], row["syntax"], row["size"], row["frames"],
            archive, decoded(row["name"]) if archive else path, row["sha256"], row["mtime"],
        )  # fmt: skip

    def _current(self, study: str, series: str | None = None, sop: str | None = None) -> list[sqlite3.Row]:
        """Return the rows of instances, of archives that are as the index has them: one that was replaced is read
        before, and one that is gone is looked for."""
        rows = self._rows(study, series, sop)
        for tries in range(_TRIES):
            outdated = self._outdated(rows)
            if not outdated:
                return rows
            there = [self._follower.renewed(path) for path in outdated]
            if not all(there) and not tries:
                self._follower.look(_PATIENCE)
            rows = self._rows(study, series, sop)
        found = [row for row in rows if decoded(row["path"]) not in outdated]
        if not found and any((self._root / path).exists() for path in outdated):
            raise ChangedError("the archive that has it is being replaced; ask again")
        return found

    def _outdated(self, rows: list[sqlite3.Row]) -> list[str]:
        """Return the archives of rows that are others than the index has, or gone."""
        there = {row["path"]: row for row in rows if row["kind"] == ARCHIVE}
        found: list[str] = []
        for path, row in there.items():
            try:
                status = os.stat(self._root / decoded(path))
            except (FileNotFoundError, NotADirectoryError):
                found.append(decoded(path))
            except OSError:  # who reads it is told
                continue
            else:
                if not same({**dict(row), "size": row["packed"]}, identity(status)):
                    found.append(decoded(path))
        return found

    def _faulty(self, study: str, series: str | None, sop: str | None) -> list[sqlite3.Row]:
        """Return the sources that had such instances before they could no longer be read."""
        statement = (
            "SELECT DISTINCT kind, path, device, inode, sources.size AS packed, mtime, fault, damage"
            " FROM instances JOIN sources ON sources.id = source WHERE fault != 0 AND study = ?"
        )
        parameters = [_text(study)]
        for name, value in (("series", series), ("sop", sop)):
            if value is not None:
                statement += f" AND {name} = ?"
                parameters.append(_text(value))
        return self._index.read(lambda connection: connection.execute(statement, parameters).fetchall())


def _text(uid: str) -> str:
    """Return a UID without halves of characters, which SQLite does not take."""
    return uid.encode("utf-8", "replace").decode("utf-8")
