"""Names: list the files of the inputs, and check that names from an archive are safe to write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import DamagedError, UnsupportedError

_LONGEST_NAME = 4096  # PATH_MAX of Linux


@dataclass(frozen=True)
class Source:
    """A file to archive."""

    name: str  # relative POSIX path
    path: Path


@dataclass(frozen=True)
class Tree:
    """All files and empty folders of the inputs, ordered by name."""

    root: str  # name of the only folder given, else empty
    files: list[Source]
    folders: list[str]  # empty ones


def own_name(path: Path) -> str:
    """Return the last part of a path, also of "." and "a/.."; a link keeps its own name."""
    return os.path.basename(os.path.abspath(path)) or "root"


def collect(inputs: list[Path]) -> Tree:
    """List the inputs: the contents of a single folder without its name, several inputs each under its own name.

    A symbolic link is followed. Raises UnsupportedError for a missing file, a socket, or a link in a circle.
    """
    files: list[Source] = []
    folders: list[str] = []
    if len(inputs) == 1 and inputs[0].is_dir():
        _walk(inputs[0], "", files, folders, ())
        return Tree(own_name(inputs[0]), files, [name for name in folders if name])
    taken: set[str] = set()
    for path in sorted(inputs, key=lambda p: os.fsencode(own_name(p))):
        _walk(path, _unique(own_name(path), taken), files, folders, ())
    return Tree("", files, folders)


@contextmanager
def source_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about reading an input into an UnsupportedError of one sentence."""
    try:
        yield
    except OSError as error:
        raise UnsupportedError(f"{path} cannot be read: {error.strerror or error}") from error


def _unique(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with the first free number, since two inputs may have the same name."""
    candidate, number = name, 2
    while candidate in taken:
        stem, dot, suffix = name.partition(".")
        candidate, number = f"{stem}-{number}{dot}{suffix}", number + 1
    taken.add(candidate)
    return candidate


def _walk(path: Path, name: str, files: list[Source], folders: list[str], above: tuple[tuple[int, int], ...]) -> None:
    """Add a file, or a folder with its contents; `above` has device and inode of the folders around it."""
    with source_errors(path):
        status = path.stat()
    if stat.S_ISREG(status.st_mode):
        files.append(Source(name, path))
    elif stat.S_ISDIR(status.st_mode):
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise UnsupportedError(f"{path} is a link to a folder around it; remove it")
        with source_errors(path):
            children = sorted(os.listdir(path), key=os.fsencode)
        if not children:
            folders.append(name)
        for child in children:
            _walk(path / child, f"{name}/{child}" if name else child, files, folders, (*above, identity))
    else:
        raise UnsupportedError(f"{path} is neither a file nor a folder; leave it out")


def check_names(files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise DamagedError for names from an archive that lead outside the target, or that exclude each other.

    In sorted order, a path that is also a folder comes right before one of the paths in it.
    """
    paths = []
    for name in [*files, *folders]:
        check_name(name)
        paths.append(name.split("/"))
    paths.sort()
    for path, following in pairwise(paths):
        if path == following[: len(path)]:
            name = "/".join(path)
            what = "two files named {0!r}" if path == following else "{0!r} both as a file and as a folder"
            raise DamagedError(f"the archive holds {what.format(name)}; it was not made by volcomp")


def check_name(name: str) -> None:
    """Raise DamagedError or UnsupportedError for a name that is not a plain relative path."""
    pieces = name.split("/")
    if len(name) > _LONGEST_NAME:
        raise DamagedError(f"the archive holds a name of {len(name)} characters; nothing was restored")
    if "\0" in name or any(piece in ("", ".", "..") for piece in pieces):
        raise DamagedError(f"the archive holds the name {name!r}, which leads outside its folder; nothing was restored")
    if os.name == "nt" and any("\\" in piece or ":" in piece for piece in pieces):
        raise UnsupportedError(f"the name {name!r} cannot be written on this system")
