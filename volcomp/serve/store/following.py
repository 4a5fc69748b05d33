"""Follow the tree and the inbox: what is new, has changed, was renamed or is gone is so in the index."""

from __future__ import annotations

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
from .index import ARCHIVE, INBOX, Index
from .pool import Identity, identity
from .scanning import archives, landed, read_archive, read_landed

_POLL = 0.02  # seconds


class Follower:
    """Keeps an index up to date. Safe for several threads; processes take turns in looking at the tree."""

    def __init__(self, index: Index, root: Path, landing: Path, instances: str) -> None:
        """`instances`: where instances of the inbox are, a path relative to `landing`."""
        self._index, self._root, self._landing, self._instances = index, root, landing, instances
        self._looking, self._stop = Lock(), Event()
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
            if path in known and same(known[path], identity(status)):
                continue
            moved = next((old for old, row in gone.items() if same(row, identity(status))), None)
            if moved is not None and path not in known:
                del gone[moved]
                with self._index.transaction() as connection:
                    entering.rename(connection, kind, moved, path)
                self.changes += 1
                continue
            source = read(path)
            if source is not None:
                self.enter(source)
        base = self._root if kind == ARCHIVE else self._landing
        for path in gone:
            if _identity(base / path) is None:  # it may have come since the tree was listed
                self.leave(kind, path)

    def enter(self, source: Source) -> None:
        """Enter a source in place of what is known of it."""
        with self._index.transaction() as connection:
            entering.enter(connection, source)
        self.changes += 1

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


def _identity(path: Path) -> Identity | None:
    try:
        return identity(path.stat())
    except OSError:
        return None
