"""Where new instances are: folders and names, and how a file comes to be there durably.

In the landing folder, `.volcomp` is the inbox's own:

    instances/STUDY/SERIES/SOP.dcm   what was taken in
    incoming/                        what is being received; what a killed process left there is removed
    conflicts/                       instances of which an archive has another one under the same UID
    locks/                           one for each part of the UIDs, so that of two equal instances one lands

All else in the folder was put there by other programs, and is taken in when it is at rest.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from ...archive import scratch
from ...archive.scratch import sync_folder
from ..settings import OWN
from ..store.tree_store import INSTANCES

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_LOCKS = 64
_LONGEST_PATIENCE = 10  # times that a folder which is removed meanwhile is made again


def name_of(uid: str) -> str:
    """Return a UID as the name of a file; of an odd one a name made of its SHA-256."""
    if _UID.fullmatch(uid):
        return uid
    return "odd-" + hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class Landing:
    """The landing folder of an inbox. Safe for several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Make its folders. Raises OSError."""
        self.folder = folder
        self.own = folder / OWN
        self.instances, self.incoming = folder / INSTANCES, self.own / "incoming"
        self.conflicts, self._locks = self.own / "conflicts", self.own / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        for made in (self.own, self.instances, self.incoming, self.conflicts, self._locks):
            made.mkdir(mode=0o700, exist_ok=True)  # it has names of patients
        sync_folder(self.own)
        sync_folder(folder)

    def place(self, study: str, series: str, sop: str) -> Path:
        """Return where an instance belongs."""
        return self.instances / name_of(study) / name_of(series) / f"{name_of(sop)}.dcm"

    def relative(self, path: Path) -> str:
        """Return a path as the store names it."""
        return path.relative_to(self.folder).as_posix()

    @contextmanager
    def alone(self, uid: str) -> Iterator[None]:
        """Wait until no other thread or process works on this UID."""
        number = hashlib.sha256(uid.encode("utf-8", "surrogatepass")).digest()[0] % _LOCKS
        with _LOCKED[number], (self._locks / f"{number:02d}").open("ab") as file:
            if scratch.fcntl is not None:
                with suppress(OSError):  # where a file system has no locks
                    scratch.fcntl.flock(file.fileno(), scratch.fcntl.LOCK_EX)
            yield

    def put(self, temporary: Path, final: Path) -> bool:
        """Give a complete file its name, durably; return False where another file has it, durably then.

        Raises OSError.
        """
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        for left in reversed(range(_LONGEST_PATIENCE)):
            final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                free = _linked(temporary, final)
                break
            except FileNotFoundError:  # the folder was removed, being empty
                if not left or not temporary.exists():
                    raise
        for folder in (final.parent, final.parent.parent, self.instances):
            sync_folder(folder)
        return free

    def drop(self, path: Path) -> None:
        """Remove a file, and its folders where they are empty then."""
        path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            with suppress(OSError):
                folder.rmdir()


_LOCKED = [Lock() for _ in range(_LOCKS)]


def _linked(temporary: Path, final: Path) -> bool:
    """Give a file a second name; False where it is taken."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a file system without such names; the caller has the lock
        if final.exists():
            return False
        os.rename(temporary, final)
    return True
