"""Write what an archive gives back: files, compared with their SHA-256, then times and permissions."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import DamagedError, VolcompError
from .entry import Entry, Kind
from .scratch import make_folders

Bytes = bytes | memoryview


def emit(entry: Entry, pieces: Iterable[Bytes], folder: Path | None) -> None:
    """Write a file, or without a folder only hash it. DamagedError, and no file, if it is not the archived one."""
    if folder is None:
        copy(entry, pieces, None)
        return
    path = folder / entry.name
    try:
        with _created(path) as file:
            copy(entry, pieces, file)
    except VolcompError:
        path.unlink(missing_ok=True)
        raise


def _created(path: Path) -> BinaryIO:
    """Open a new file; make its folder where opening shows that it is missing."""
    with suppress(FileNotFoundError):
        return path.open("wb")
    make_folders(path.parent)
    return path.open("wb")


def copy(entry: Entry, pieces: Iterable[Bytes], file: BinaryIO | None) -> None:
    """Write the bytes of a file, or only hash them. Raises DamagedError if they are not those that were archived."""
    sha, size = hashlib.sha256(), 0
    for piece in pieces:
        sha.update(piece)
        size += len(piece)
        if size > entry.size:
            break
        if file:
            file.write(piece)
        del piece  # a view of its slab
    if size != entry.size or sha.digest() != entry.sha256:
        raise DamagedError(f"{entry.name} is damaged: its SHA-256 does not fit")


def restore_folder_times(folders: Iterable[Entry], folder: Path) -> None:
    """Set times and permissions of folders, once all is in them: the inner ones first, since their time is a content of
    the outer ones, which may be closed to their owner."""
    restore_times(sorted(folders, key=lambda entry: entry.name.count("/"), reverse=True), folder)


def open_to_owner(entry: Entry, folder: Path) -> None:
    """Give a folder that is being filled its permissions, and its owner all: others see no more than they will."""
    with suppress(OSError):
        if entry.mode is not None:
            os.chmod(folder, entry.mode | stat.S_IRWXU)


def restore_times(entries: Iterable[Entry], folder: Path) -> None:
    """Set times and permissions of what was restored, as far as the file system keeps them."""
    for entry in entries:
        path, link = f"{folder}/{entry.name}", entry.kind == Kind.LINK
        with suppress(OSError):  # of what was not restored, too
            if entry.mode is not None and not link:
                os.chmod(path, entry.mode)
        with suppress(OSError):
            if entry.mtime is not None and (not link or os.utime in os.supports_follow_symlinks):
                os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=not link)
