"""Claims on series, if several batches share a target: file locks that end with their process.

A claim is a file in a hidden folder of the target, locked with `flock` while the work lasts. Unlike the mere presence
of a file, a lock cannot outlive its process, on this machine or, over NFS, on another. The file has host and process of
the owner, for people. A folder beside it holds unfinished work. Both are removed when the work ends.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ..archive.files import target_errors
from ..archive.scratch import remove_tree
from ..errors import TargetError, UnsupportedError

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

FOLDER = ".volcomp-batch"


def check() -> None:
    """Raise UnsupportedError if the system has no file locks."""
    if fcntl is None:
        raise UnsupportedError(
            "volcomp batch needs the file locks of Linux or macOS, which this system lacks: compress one folder after "
            "the other, or use the Windows Subsystem for Linux"
        )


@contextmanager
def claim(root: Path, name: str) -> Iterator[Path | None]:
    """Yield a new folder for the work on `name` under the target `root`; None if another process has the claim."""
    key = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    with _locked(root / FOLDER / f"{key}.lock", wait=False) as owned:
        if not owned:
            yield None
            return
        scratch = root / FOLDER / key
        remove_tree(scratch)  # left by a killed process
        try:
            with target_errors(root):
                scratch.mkdir()
            yield scratch
        finally:
            remove_tree(scratch)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the lock of the report; wait until no other batch of the same target holds it."""
    with _locked(root / FOLDER / "report.lock", wait=True):
        yield


def sweep(root: Path) -> None:
    """Remove what killed processes have left, and the hidden folder if no process is at work."""
    for key in {path.stem for path in (root / FOLDER).glob("*")}:
        with _locked(root / FOLDER / f"{key}.lock", wait=False) as owned:
            if owned:
                remove_tree(root / FOLDER / key)
    with suppress(OSError):
        (root / FOLDER).rmdir()


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock on a file, which exists only while it is locked; yield False if another process holds it."""
    with target_errors(path.parent.parent):
        file = _acquire(path, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield file is not None
    finally:
        if file:
            path.unlink(missing_ok=True)  # before the release, so that the next holder sees that its file is gone
            file.close()


def _acquire(path: Path, how: int) -> TextIO | None:
    while True:
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # another process has removed the folder or the file
            file = stack.enter_context(path.open("a"))
            try:
                fcntl.flock(file, how)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                    raise TargetError(
                        f"{path.parent.parent} is on a file system without locks, which a batch needs; mount it with "
                        "locks, or name a folder elsewhere"
                    ) from error
                raise
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else its last owner has removed it
                file.truncate(0)
                print(socket.gethostname(), os.getpid(), file=file, flush=True)
                stack.pop_all()
                return file
