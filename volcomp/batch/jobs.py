"""The jobs of a batch: the series in a tree or a list, and the name of each in the target.

A folder that holds files and no folders is a series. Files beside folders (a DICOMDIR, a note) become a separate
archive, so that the whole tree can be restored and no archive grows by them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..archive.files import short
from ..archive.opening import readable
from ..archive.remote import Remote, located
from ..archive.tree import own_name, source_errors
from ..errors import UnsupportedError
from . import claims

SUFFIX = ".vcz"
LOOSE = "+files"  # the name of the files beside folders; no folder may have it


@dataclass(frozen=True)
class Job:
    """One series to archive, or one archive to restore. Paths are absolute, since other machines may do the work."""

    name: str  # relative POSIX path of the series, and of its archive without the suffix
    source: Path | Remote
    target: Path

    @property
    def loose(self) -> bool:
        """Return whether the job is for the files beside folders."""
        return self.name.rpartition("/")[2] == LOOSE

    def inputs(self) -> list[Path]:
        """Return the paths to archive. Raises UnsupportedError if they cannot be listed."""
        assert isinstance(self.source, Path)
        if not self.loose:
            return [self.source]
        with source_errors(self.source):
            return [path for path in self.source.iterdir() if not path.is_dir()]


def find(source: Path | Remote, target: Path, *, decompress: bool) -> list[Job]:
    """Return all jobs in the order of their names, or of the lines of the list. Raises UnsupportedError without any."""
    target = Path(os.path.abspath(target))
    if isinstance(source, Path):
        source = Path(os.path.abspath(source))
        with source_errors(source):
            source.stat()
    if isinstance(source, Remote):
        found: list[tuple[str, Path | Remote]] = [*_at_url(source, decompress)]
    elif source.is_dir():
        if source == target and not decompress:
            raise UnsupportedError(f"{source} is both source and target; name another folder for the archives")
        found = [*(_archives if decompress else _series)(source, target)]
    else:
        found = [*_listed(source, decompress)]
    if not found:
        what = "archives" if decompress else "files"
        raise UnsupportedError(f"{source} holds no {what}; name a tree of them, or a list with a line for each")
    jobs: dict[str, Job] = {}
    for name, place in found:
        job = Job(name, place, _target(target, name, decompress))
        if jobs.setdefault(name, job).source != place:
            raise UnsupportedError(f"{jobs[name].source} and {place} would both become {name}; rename one of them")
    return list(jobs.values())


def _target(root: Path, name: str, decompress: bool) -> Path:
    if not decompress:
        return root / (name + SUFFIX)
    return (root / name).parent if name.rpartition("/")[2] == LOOSE else root / name


def _series(source: Path, target: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name, folder) of every series in a tree, and of the files beside folders."""
    for folder, folders, files in _walk(source, target):
        name = folder.relative_to(source).as_posix()
        if folder.name == LOOSE:
            raise UnsupportedError(f"{folder} has the name that stands for the files beside folders; rename it")
        if folders and files:
            yield (LOOSE if folder == source else f"{name}/{LOOSE}"), folder
        elif folder == source and files:
            yield own_name(source), folder
        elif folder != source and not folders:
            yield name, folder


def _archives(source: Path, target: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of every archive in a tree; other files are ignored."""
    for folder, _, files in _walk(source, None if source == target else target):
        for file in files:
            if file.endswith(SUFFIX) and file != SUFFIX:
                yield (folder / file).relative_to(source).as_posix().removesuffix(SUFFIX), folder / file


def _walk(top: Path, without: Path | None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """List a tree like `os.walk`, following links but not in circles.

    A folder that cannot be listed counts as empty, so that only its series fails, with a reason.
    """
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(top, frozenset())]  # a folder, and those around it
    while waiting:  # a loop, since folders may be nested more deeply than calls
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as entries:
                kinds = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError:
            kinds = []
        else:
            itself = (status.st_dev, status.st_ino)
            if itself in above:
                raise UnsupportedError(f"{short(folder)} is a link to a folder around it; remove it")
            above |= {itself}
        folders = [name for name, is_folder in kinds if is_folder]
        folders = [name for name in folders if name != claims.FOLDER and folder / name != without]
        yield folder, folders, [name for name, is_folder in kinds if not is_folder]
        waiting += [(folder / name, above) for name in reversed(folders)]


def _at_url(source: Remote, decompress: bool) -> Iterator[tuple[str, Path | Remote]]:
    """Yield (name, path) for the archive at a URL, or for every line of the list there, which has another suffix."""
    if source.name.endswith(SUFFIX):
        yield _remote(source, decompress)
    else:
        yield from _listed(source, decompress)


def _remote(source: Remote, decompress: bool) -> tuple[str, Remote]:
    """Return the name of an archive at a URL, which is server and path, and the archive. Raises UnsupportedError."""
    if not decompress:
        raise UnsupportedError(f"{source} is a URL, from which archives are restored; it cannot be archived")
    return source.name.removesuffix(SUFFIX), source


def _listed(path: Path | Remote, decompress: bool) -> Iterator[tuple[str, Path | Remote]]:
    """Yield (name, path) for every line of a list.

    A relative path starts at the current folder and is the name. Of an absolute path, the name is all but the first
    slash, so that names do not depend on other lines. Of the URL of an archive it is server and path.
    """
    with ExitStack() as stack:
        file = stack.enter_context(readable(path, "a list"))
        if isinstance(path, Path):
            stack.enter_context(source_errors(path))
        data = file.read()
    if b"\0" in data:
        raise UnsupportedError(f"{path} is neither a folder nor a list of paths, one to a line; name one of these")
    for line in map(os.fsdecode, data.splitlines()):
        if not line.strip():
            continue
        if isinstance(remote := located(line.strip()), Remote):
            yield _remote(remote, decompress)
            continue
        place = Path(os.path.abspath(line))
        plain = os.path.normpath(line)
        name = place.as_posix() if plain.startswith("..") or plain == "." else Path(plain).as_posix()
        name = name.lstrip("/") or own_name(place)
        yield (name.removesuffix(SUFFIX) if decompress else name), place
