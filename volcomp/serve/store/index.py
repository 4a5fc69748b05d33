"""The index in SQLite: which sources there are (archives, files of the inbox), and which instances they have.

It is made from the archives alone and may be deleted. Several processes may read and write it at once: a source is
entered in one transaction, which replaces all that was known of it. Of a SOP Instance UID that several sources have,
one is `chosen`: that of an archive before that of the inbox, then by the order of paths and names. What an archive had
before it could no longer be read stays, never chosen, so that who asks for it is told what is wrong.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ...archive import scratch
from ...errors import TargetError, UnsupportedError

ARCHIVE, INBOX = 0, 1  # kinds of sources
_PATIENCE = 60.0  # seconds for which a transaction waits for another process
_IDLE = 16  # connections that stay open
Result = TypeVar("Result")

# Keys of searches by level, with their value representation. A column has the name of its tag, with a k before it.
STUDY_KEYS = {
    "00080020": "DA", "00080030": "TM", "00080050": "SH", "00080090": "PN", "00081030": "LO", "00100010": "PN",
    "00100020": "LO", "00100021": "LO", "00100030": "DA", "00100040": "CS", "00200010": "SH",
}  # fmt: skip
SERIES_KEYS = {
    "00080021": "DA", "00080060": "CS", "0008103E": "LO", "00180015": "CS", "00200011": "IS", "00400244": "DA",
    "00400245": "TM",
}  # fmt: skip


def column(tag: str) -> str:
    """Return the name of the column of a key."""
    return f"k{tag}"


def _columns(keys: dict[str, str]) -> str:
    return ", ".join(f"{column(tag)} {'INTEGER' if vr == 'IS' else 'TEXT'}" for tag, vr in keys.items())


_SCHEMA = f"""
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, path BLOB NOT NULL, device INTEGER, inode INTEGER, size INTEGER,
    mtime INTEGER, fault INTEGER NOT NULL, damage TEXT,
    files INTEGER, raw INTEGER, voxels INTEGER, others INTEGER, UNIQUE (kind, path));
CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX dictionaries_of ON dictionaries (source);
CREATE TABLE instances (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, name BLOB NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL,
    sop TEXT NOT NULL, sop_class TEXT, syntax TEXT, size INTEGER, frames INTEGER, sha256 BLOB, number INTEGER,
    chosen INTEGER NOT NULL DEFAULT 0, dictionary INTEGER, attributes BLOB NOT NULL);
CREATE INDEX instances_of ON instances (source);
CREATE INDEX instances_sop ON instances (sop);
CREATE INDEX instances_series ON instances (study, series, chosen);
CREATE TABLE studies (
    study TEXT PRIMARY KEY, first INTEGER NOT NULL, series INTEGER NOT NULL, instances INTEGER NOT NULL,
    modalities TEXT NOT NULL, words TEXT NOT NULL, {_columns(STUDY_KEYS)});
CREATE INDEX studies_date ON studies (k00080020, k00080030, study);
CREATE INDEX studies_patient ON studies (k00100020);
CREATE TABLE series (
    study TEXT NOT NULL, series TEXT NOT NULL, first INTEGER NOT NULL, instances INTEGER NOT NULL,
    {_columns(SERIES_KEYS)}, PRIMARY KEY (study, series));
CREATE INDEX series_uid ON series (series);
"""
# Of the schema and of what is written by it; an index of another one is made anew.
_VERSION = zlib.crc32(f"2 {_SCHEMA}".encode()) >> 1
_TABLES = _SCHEMA.count("CREATE TABLE")


class Index:
    """The connections to the index. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Open the index; make it where it is missing, damaged or of another version. Raises TargetError."""
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock, self._writing = Lock(), Lock()
        self._generation = 0  # of the file, as far as this process knows
        self.made = 0  # how often it was made anew
        self._file: tuple[int, int] | None = None
        self._prepare()

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` reads. An index that turns out to be damaged is made anew, and then has nothing.

        Raises UnsupportedError where it cannot be read.
        """
        for last in (False, True):
            try:
                with self._connection() as connection:
                    return work(connection)
            except sqlite3.Error as error:
                if last or not _is_damage(error):
                    raise UnsupportedError(f"the index cannot be read: {error}; try again later") from error
                self.renew()
        raise AssertionError

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection whose changes become visible together, or not at all.

        Raises TargetError, as where the disk is full; an index that turns out to be damaged is made anew then.
        """
        try:
            with self._writing, self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            if _is_damage(error):
                self.renew()
            raise TargetError(f"the index cannot be written: {error}") from error

    def is_there(self) -> bool:
        """Return whether the file is that which was opened."""
        return self._file is not None and self._status() == self._file

    def renew(self) -> None:
        """Open the index again, and make it where it is missing or damaged."""
        self._let_go()
        self._prepare()

    def close(self) -> None:
        """Close the connections."""
        self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _status(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _prepare(self) -> None:
        try:
            # Of several processes that find it damaged, one makes it anew.
            with _locked(self.path.with_suffix(".lock")):
                if not self._is_sound():
                    self._make()
                self._file = self._status()
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TargetError(f"the index cannot be written: {reason}") from error

    def _is_sound(self) -> bool:
        if self._status() is None:
            return False
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return False
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
            if (version, tables) != (_VERSION, _TABLES):
                return False
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return False
        finally:
            connection.close()

    def _make(self) -> None:
        for name in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{name}")
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # it has names of patients
        connection = self._connect()
        try:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
        finally:
            connection.close()
        self.made += 1

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # it may be made anew
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            generation = self._generation
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        sound = False
        try:
            yield connection
            sound = True
        finally:
            with self._lock:
                keep = sound and generation == self._generation and len(self._idle) < _IDLE
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()


def _is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error says that the file is no index, or a damaged one."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    missing = "no such table" in str(error) or "no such column" in str(error)
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or missing


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time; where there are none, go on without it."""
    with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "rb+") as file:
        if scratch.fcntl is not None:
            with suppress(OSError):
                scratch.fcntl.flock(file.fileno(), scratch.fcntl.LOCK_EX)
        yield
