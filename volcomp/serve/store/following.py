"""Follow the tree and the inbox: what is new, has changed, was renamed or is gone is so in the index."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from time import monotonic

from ...archive import scratch
from ...errors import UnsupportedError
from . import entering
from .entering import Source, decoded, same
from .faults import DAMAGED, NEWER, UNREADABLE
from .index import ARCHIVE, INBOX, Index
from .pool import Identity, identity
from .scanning import archives, landed, read_archive, read_landed, refused

_POLL = 0.02  # seconds
_LOG = logging.getLogger("volcomp.serve")
_LOGGED = {
    DAMAGED: "is damaged, or is none; volcomp repair may help",
    NEWER: "was written by a newer version of volcomp; update the server",
    UNREADABLE: "cannot be read; see that the server may",
}


class Follower:
    """Keeps an index up to date. Safe for several threads; processes take turns in looking at the tree."""

    def __init__(self, index: Index, root: Path, landing: Path, instances: str) -> None:
        """`instances`: where instances of the inbox are, a path relative to `landing`."""
        self._index, self._root, self._landing, self._instances = index, root, landing, instances
        self._looking, self._renewing, self._stop = Lock(), Lock(), Event()
        self.looks = 0  # that came to their end
        self._sums: tuple[int, ...] = ()
        self.changes = 0  # of the index by this object, or seen by it

    def look(self, patience: float | None = None) -> None:
        """Bring the index up to date. Archives that have come are entered before what is gone is taken out.

        `patience`: seconds to wait for a look that is under way, after which nothing is done; None for no end.
        """
        with self._alone(patience) as alone:
            if not alone:
                return
            if not self._index.is_there():
                self._index.renew()
                self.changes += 1
            self._look(ARCHIVE, dict(archives(self._root)), lambda path: read_archive(self._root, path))
            prefix = f"{self._instances}/"
            there = {prefix + path: status for path, status in landed(self._landing / self._instances)}
            self._look(INBOX, there, self._read_landed)
            self.changes += self._changed_by_others()
            self.looks += not self._stop.is_set()

    def stop(self) -> None:
        """End a look that is under way as soon as that is possible."""
        self._stop.set()

    def enter_archive(self, path: str) -> None:
        """Enter an archive. Raises UnsupportedError where it cannot be read."""
        source = read_archive(self._root, path)
        if source is None or source.damage:
            raise UnsupportedError(source.damage if source else "the archive has changed meanwhile")
        self.enter(source)

    def _read_landed(self, path: str) -> Source | None:
        with suppress(UnsupportedError):
            return read_landed(self._landing, path)
        return None

    def _look(self, kind: int, there: dict[str, os.stat_result], read: Callable[[str], Source | None]) -> None:
        def rows(connection: sqlite3.Connection) -> dict[str, sqlite3.Row]:
            found = connection.execute("SELECT * FROM sources WHERE kind = ?", (kind,)).fetchall()
            return {decoded(row["path"]): row for row in found}

        known = self._index.read(rows)
        gone = {path: row for path, row in known.items() if path not in there}
        for path, status in there.items():
            if self._stop.is_set():
                return
            if path in known and same(known[path], identity(status)) and not self._again(known[path]):
                continue
            moved = next((old for old, row in gone.items() if same(row, identity(status))), None)
            if moved is not None and path not in known:
                del gone[moved]
                with self._index.transaction() as connection:
                    entering.rename(connection, kind, moved, path)
                self.changes += 1
                continue
            source = read(path)
            if source is not None and not (path in known and _is_same(known[path], source)):
                self.enter(source)
        base = self._root if kind == ARCHIVE else self._landing
        for path, row in gone.items():
            try:
                os.stat(base / path)  # it may have come since the tree was listed
            except (FileNotFoundError, NotADirectoryError):
                self.leave(kind, path)
            except OSError as error:  # of a folder that is closed to the server, or a disk that fails
                source = refused(path, (0, 0, 0, 0), error)
                if kind == ARCHIVE and not _is_same(row, source):
                    self.enter(source)

    def _again(self, row: sqlite3.Row) -> bool:
        """Return whether a source is read again although it has not changed: by the system's leave, which may have
        come, or by another version of volcomp than the last one."""
        return row["fault"] == UNREADABLE or (row["fault"] == NEWER and not self.looks)

    def renewed(self, path: str) -> bool:
        """Read an archive again unless the index has it as it is now; return False of one that is gone.

        Of several threads that ask for the same one, one reads it.
        """

        def known(connection: sqlite3.Connection) -> sqlite3.Row | None:
            statement = "SELECT * FROM sources WHERE kind = ? AND path = ?"
            found: sqlite3.Row | None = connection.execute(statement, (ARCHIVE, entering.encoded(path))).fetchone()
            return found

        with self._renewing:
            now = _identity(self._root / path)
            row = self._index.read(known)
            if now is None or (row is not None and same(row, now)):
                return now is not None
            source = read_archive(self._root, path)
            if source is not None:
                self.enter(source)
            return source is not None

    def enter(self, source: Source) -> None:
        """Enter a source in place of what is known of it."""
        with self._index.transaction() as connection:
            entering.enter(connection, source)
        self.changes += 1
        if source.fault:  # its name, which may be that of a patient, is on the page
            _LOG.warning("an archive of the tree %s", _LOGGED[source.fault])

    def leave(self, kind: int, path: str) -> None:
        """Take a source out."""
        with self._index.transaction() as connection:
            entering.remove(connection, kind, path)
        self.changes += 1

    def _changed_by_others(self) -> bool:
        """Return whether sources are others than at the last call."""

        def sums(connection: sqlite3.Connection) -> tuple[int, ...]:
            return tuple(connection.execute("SELECT count(*), max(id), total(id) FROM sources").fetchone())

        before, self._sums = self._sums, self._index.read(sums)
        return before != self._sums

    @contextmanager
    def _alone(self, patience: float | None) -> Iterator[bool]:
        """Wait until no other thread or process looks at the tree; yield whether that is so."""
        end = None if patience is None else monotonic() + patience
        if not self._looking.acquire(timeout=-1 if patience is None else patience):
            yield False
            return
        try:
            path = self._index.path.with_suffix(".looking")
            with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "rb+") as file:
                while (taken := scratch.lock(file.fileno())) is False and (end is None or monotonic() < end):
                    if self._stop.wait(_POLL):
                        break
                yield taken is not False  # None where there are no locks
        finally:
            self._looking.release()


def _is_same(row: sqlite3.Row, source: Source) -> bool:
    """Return whether the index says already what is wrong with a source."""
    return bool(source.fault) and same(row, source.identity) and row["damage"] == source.damage


def _identity(path: Path) -> Identity | None:
    try:
        return identity(path.stat())
    except OSError:
        return None
