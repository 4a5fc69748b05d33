"""Names: list the files of the inputs, and check that names from an archive are safe to write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import DamagedError, SourceError, UnsupportedError
from .entry import Kind
from .files import short

_LONGEST_NAME = 4096  # PATH_MAX of Linux


@dataclass(frozen=True)
class Item:
    """A file, folder or link to archive."""

    name: str  # relative POSIX path
    path: Path
    kind: Kind = Kind.FILE
    mtime: int | None = None  # ns since 1970
    mode: int | None = None  # permissions
    target: str = ""  # of a link


@dataclass(frozen=True)
class Tree:
    """All that the inputs hold, ordered by name."""

    root: str  # name of the only folder given, else empty
    items: list[Item]
    skipped: list[str]  # a sentence for each that could not be read
    itself: Item | None = None  # the only folder given, without a name

    @property
    def files(self) -> list[Item]:
        """Return the files."""
        return [item for item in self.items if item.kind == Kind.FILE]


def own_name(path: Path) -> str:
    """Return the last part of a path, also of "." and "a/.."; a link keeps its own name. Raises UnsupportedError."""
    with source_errors(path):  # the current folder may be gone
        return os.path.basename(os.path.abspath(path)) or "root"


def collect(inputs: list[Path], *, skip_errors: bool = False, own_names: bool = False) -> Tree:
    """List the inputs: the contents of a single folder without its name, several inputs each under its own name.

    Links in folders are kept as links; an input that is a link is followed.

    Parameters:
        inputs: folders and files.
        skip_errors: pass over what cannot be read or kept; see `Tree.skipped`.
        own_names: give also a single folder its own name.

    Raises:
        UnsupportedError: for what cannot be read, or is neither file, folder nor link.
    """
    items: list[Item] = []
    skipped: list[str] = []
    root, itself = "", None
    waiting: list[tuple[Path, str, bool]] = []  # path, name, whether it was given
    if len(inputs) == 1 and not own_names and _is_folder(inputs[0]):
        root = own_name(inputs[0])
        waiting.append((inputs[0], "", True))
    else:
        taken: set[str] = set()
        for path in sorted(inputs, key=lambda p: os.fsencode(own_name(p))):
            waiting.append((path, _unique(own_name(path), taken), True))
        waiting.reverse()
    while waiting:  # a loop, since folders may be nested more deeply than calls
        path, name, given = waiting.pop()
        try:
            item, children = _look(path, name, follow=given)
        except UnsupportedError as error:
            if not skip_errors:
                raise
            skipped.append(str(error))
            continue
        if name:
            items.append(item)
        else:
            itself = item
        waiting += [(path / child, f"{name}/{child}" if name else child, False) for child in reversed(children)]
    return Tree(root, items, skipped, itself)


def _is_folder(path: Path) -> bool:
    with source_errors(path):
        return path.is_dir()


def _look(path: Path, name: str, *, follow: bool) -> tuple[Item, list[str]]:
    """Return what is at a path, and the names in a folder, in order. Raises UnsupportedError."""
    with source_errors(path):
        status = path.stat(follow_symlinks=follow)
        mode = status.st_mode
        kind = Kind.FILE if stat.S_ISREG(mode) else Kind.FOLDER if stat.S_ISDIR(mode) else Kind.LINK
        if kind == Kind.LINK and not stat.S_ISLNK(mode):
            raise UnsupportedError(f"{short(path)} is neither a file nor a folder; leave it out")
        target = os.readlink(path) if kind == Kind.LINK else ""
        children = sorted(os.listdir(path), key=os.fsencode) if kind == Kind.FOLDER else []
    # A time before 1677 or after 2262 is not kept: its nanoseconds exceed 64 bits.
    mtime = status.st_mtime_ns if -(1 << 63) <= status.st_mtime_ns < 1 << 63 else None
    return Item(name, path, kind, mtime, mode & 0o777, target), children


@contextmanager
def source_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about reading an input into a SourceError of one sentence."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{short(path)} cannot be read: {error.strerror or error}", path) from error


def changed(path: Path) -> SourceError:
    """Return the error for a file that was not twice the same."""
    return SourceError(f"{path} changed while it was being read; try again when it is at rest", path)


def _unique(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with the first free number, since two inputs may have the same name."""
    candidate, number = name, 2
    while candidate in taken:
        stem, dot, suffix = name.partition(".")
        candidate, number = f"{stem}-{number}{dot}{suffix}", number + 1
    taken.add(candidate)
    return candidate


def check_names(files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise DamagedError for names from an archive that lead outside the target, or that exclude each other.

    Parameters:
        files: names of files and links, in which nothing may lie.
        folders: names of folders.
    """
    paths = [(name.split("/"), True) for name in files] + [(name.split("/"), False) for name in folders]
    for path, _ in paths:
        check_name("/".join(path))
    paths.sort()  # a path comes right before one of those in it
    for (path, is_file), (following, _) in pairwise(paths):
        same = path == following
        if same or (is_file and path == following[: len(path)]):
            name = "/".join(path)
            what = "two files named {0!r}" if same else "{0!r} both as a file and as a folder"
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
