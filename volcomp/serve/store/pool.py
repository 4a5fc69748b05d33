"""The archives that are open: those used last, few enough for the system and for memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import BinaryIO

from ...archive.opening import manifest_of
from ...archive.random_access import RandomAccess
from ...container.sections import Reader
from ...errors import VolcompError
from ...reading.positioned import positioned
from .faults import GoneError, UnreadableError
from .slabs import SharedSlabs

Identity = tuple[int, int, int, int]  # device, number on it, bytes, time of modification in ns
_MOST_OPEN = 64
_ENTRY_BYTES = 600  # of memory that each file of an archive takes


def identity(status: os.stat_result) -> Identity:
    """Return what tells that a file is another one, or has changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass
class Opened:
    """An open archive."""

    identity: Identity
    file: BinaryIO
    access: RandomAccess
    drop: Callable[[], None]  # its slabs
    users: int = 0
    stale: bool = False  # to be closed when its last user has left
    entries: int = 0

    @property
    def held(self) -> int:
        """The bytes of memory that it takes, about."""
        return self.access.held + self.entries * _ENTRY_BYTES


class Pool:
    """Open archives by path. Safe for several threads. Errors name no path."""

    def __init__(self, slabs: SharedSlabs, memory: int) -> None:
        """`memory`: bytes that lists, headers and whole files of open archives may take; one archive may take more."""
        self._slabs, self._memory = slabs, memory
        self._open: dict[Path, Opened] = {}  # the last used at the end
        self._opening: set[Path] = set()
        self._changed = Condition()

    @contextmanager
    def get(self, path: Path) -> Iterator[RandomAccess]:
        """Yield an archive as it is now.

        Raises GoneError where it is gone, DamagedError, NewerError, and UnreadableError.
        """
        opened = self._taken(path)
        try:
            yield opened.access
        finally:
            with self._changed:
                opened.users -= 1
                self._evict()
                self._close_unused(opened)

    def is_outdated(self, path: Path, access: RandomAccess) -> bool:
        """Return whether an archive that is used is not what lies at its path now."""
        with self._changed:
            opened = self._open.get(path)
        try:
            return opened is None or opened.access is not access or opened.identity != _identity_of(path)
        except VolcompError:
            return True

    def close(self) -> None:
        """Close all archives that nobody uses, and the others when their users have left."""
        with self._changed:
            for path in list(self._open):
                self._retire(path)

    def _taken(self, path: Path) -> Opened:
        now = _identity_of(path)
        with self._changed:
            while path in self._opening:
                self._changed.wait()
            found = self._open.pop(path, None)
            if found and found.identity == now:
                self._open[path] = found
                found.users += 1
                return found
            if found:
                self._open[path] = found
                self._retire(path)
            self._opening.add(path)
        fresh = None
        try:
            fresh = self._opened(path)
            return fresh
        finally:
            with self._changed:
                self._opening.discard(path)
                if fresh:
                    fresh.users += 1
                    self._open[path] = fresh
                    self._evict()
                self._changed.notify_all()

    def _opened(self, path: Path) -> Opened:
        with _sentences():
            file = path.open("rb")
            try:
                reader = Reader(positioned(file))
                manifest = manifest_of(reader)
                decode, drop = self._slabs.of(reader)
                access = RandomAccess(reader, manifest, decode)
                return Opened(identity(os.fstat(file.fileno())), file, access, drop, entries=len(manifest.entries))
            except BaseException:
                file.close()
                raise

    def _evict(self) -> None:
        while len(self._open) > _MOST_OPEN or (len(self._open) > 1 and self._held() > self._memory):
            idle = next((path for path, one in self._open.items() if not one.users), None)
            if idle is None:
                break
            self._retire(idle)

    def _held(self) -> int:
        return sum(one.held for one in self._open.values())

    def _retire(self, path: Path) -> None:
        opened = self._open.pop(path)
        opened.stale = True
        self._close_unused(opened)

    def _close_unused(self, opened: Opened) -> None:
        if opened.stale and not opened.users and not opened.file.closed:
            opened.file.close()
            opened.drop()


def _identity_of(path: Path) -> Identity:
    with _sentences():
        return identity(path.stat())


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn errors of the system into sentences that name no path."""
    try:
        yield
    except VolcompError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise GoneError("the archive that had it is gone; search again") from None
    except OSError as error:
        raise UnreadableError(f"an archive cannot be read: {error.strerror or 'the system refuses'}") from None
