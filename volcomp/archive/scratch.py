"""Unfinished output beside its target: hidden, locked while a process writes it, removed by the next one if it was
killed.

A file is `.NAME.XXXXXXXX.part`, a folder the same with `lock`, which is locked, and `files` in it. A lock ends with its
process, so that what is not locked belongs to nobody. Where a file system has no locks, nothing is removed. On Windows,
which has none of this kind, an open file cannot be removed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_SYNCS = 16  # at a time: one after the other takes some ms each, ten times as long as together
_NAME = 48  # characters of the target's name: at most 192 bytes of the 255 that a name may have
LOCK, FILES = "lock", "files"
_PATTERN = r"\.[0-9a-f]{8}\.part"
_PART = re.compile(rf"[^/\\]*{_PATTERN}([/\\]{FILES})?")


def lock(descriptor: int) -> bool | None:
    """Lock an open file; return False if another process has the lock, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file has this name still."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _held(path: Path, mode: int) -> BinaryIO | None:
    """Make a new file and lock it; None if another process took it for a leftover in between."""
    file = open(path, "x+b", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
    try:
        if lock(file.fileno()) is not False and _is_at(file.fileno(), path):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    path.unlink(missing_ok=True)
    return None


@contextmanager
def scratch_file(target: Path, mode: int = 0o666) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a new file beside `target`, open for reading and writing, and its path; it is removed unless renamed.

    Raises OSError. The block may close the file; the lock is held until the end.
    """
    file, kept = None, -1
    temporary = target
    try:
        while file is None:
            # Named before it exists, so that it is removed after an interrupt at any moment.
            temporary = _part(target.parent, target.name)
            file = _held(temporary, mode)
        if fcntl is not None:  # the same lock, that `file.close` does not release
            kept = os.dup(file.fileno())
        yield file, temporary
    finally:
        if file:
            with suppress(OSError):
                file.close()
        if temporary is not target:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if kept >= 0:
            os.close(kept)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a new folder in `parent`, in a hidden one that is removed in the end. Raises OSError."""
    file = None
    temporary = parent
    try:
        while file is None:
            temporary = _part(parent, name)
            temporary.mkdir()
            with suppress(FileNotFoundError):  # another process took the folder for a leftover
                file = _held(temporary / LOCK, 0o666)
        (temporary / FILES).mkdir()
        yield temporary / FILES
    finally:
        if file and fcntl is None:  # or it could not be removed
            file.close()
        if temporary is not parent:
            _remove_part(temporary)
        if file:
            file.close()


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name[:_NAME]}.{secrets.token_hex(4)}.part"


def sweep(folder: Path, name: str) -> None:
    """Remove what killed processes left in `folder` of a target's name; errors are no obstacle to the work."""
    pattern = re.compile(re.escape(f".{name[:_NAME]}") + _PATTERN)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if pattern.fullmatch(entry.name)]:
            path = Path(entry.path)
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    _if_free(path, path.unlink)
                elif entry.is_dir(follow_symlinks=False):
                    if os.path.lexists(path / LOCK):
                        _if_free(path / LOCK, lambda path=path: _remove_part(path))
                    else:  # made, or removed, but for the last step
                        path.rmdir()


def _if_free(path: Path, remove: Any) -> None:
    """Remove what a lock stands for, unless a process has it."""
    with path.open("rb+") as file:
        if fcntl is None:
            file.close()
        elif not (lock(file.fileno()) and _is_at(file.fileno(), path)):
            return
        remove()


def _remove_part(temporary: Path) -> None:
    """Remove a hidden folder, its lock last, so that one removed in part is known as a leftover."""
    remove_tree(temporary / FILES)
    if os.path.lexists(temporary / FILES):
        return
    with suppress(OSError):
        (temporary / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        temporary.rmdir()


def shown(name: str, target: Path) -> str:
    """Return the name that a file in the making will have, for an error."""
    found = _PART.search(name)
    return str(target) + name[found.end() :] if found else name


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, however deep, as far as that is possible."""
    folders = [str(folder)]
    for here in folders:  # which grows meanwhile
        with suppress(OSError):  # of what is not there; folders may have been restored without permission to write
            os.chmod(here, 0o700)
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        os.unlink(entry.path)
    for here in reversed(folders):
        with suppress(OSError):
            os.rmdir(here)


def make_folders(folder: Path) -> None:
    """Make a folder and those around it, however deep. Raises OSError."""
    missing = [] if folder.is_dir() else [folder]
    while missing:
        try:
            os.mkdir(missing[-1])
        except FileNotFoundError:
            if missing[-1].parent == missing[-1]:
                raise
            missing.append(missing[-1].parent)
        except FileExistsError:
            if not missing[-1].is_dir():
                raise
            missing.pop()
        else:
            missing.pop()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can. Raises OSError."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written without being listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make the files and folders of a tree durable, where the system can. Raises OSError."""
    folders, files = [folder], []
    for here in folders:  # which grows meanwhile
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.path)
    with ThreadPoolExecutor(_SYNCS) as pool:
        for _ in chain(pool.map(_sync_file, files), pool.map(sync_folder, folders)):
            pass


def _sync_file(path: str) -> None:
    with suppress(PermissionError):  # of a file that its owner may not read
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
