"""Atomic output: write beside the target, rename at the end, remove on failure. Only regular files are replaced."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import TargetError, VolcompError
from ..wording import spelled
from .scratch import make_folders, scratch_file, scratch_folder, shown, sweep, sync_folder, sync_tree

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a file to write and its temporary path; rename it to `target` if the block ends without an exception.

    The file may also be read, and the block may close and reopen it. A link is followed: what it leads to is replaced,
    in its own folder. A file that is replaced gives its permissions to the new one.

    Raises TargetError where `target` exists without `force`, is no regular file, or cannot be written.
    """
    check_target(target, force=force)
    with target_errors(target):
        final = _followed(target)
        sweep(final.parent, final.name)
        old = _status(final)
        mode = stat.S_IMODE(old.st_mode) if old else 0o666
        with scratch_file(final, mode) as (file, temporary):
            yield file, temporary
            file.close()
            with temporary.open("rb+") as again:
                os.fsync(again.fileno())
            if old:
                _give(temporary, old)
            check_target(target, force=force)
            os.replace(temporary, final)
            sync_folder(final.parent)


def clear(target: Path) -> None:
    """Remove what killed processes left of a target, before its inputs are listed, which may lie beside it."""
    final = _followed(target)
    sweep(final.parent, final.name)


@contextmanager
def new_output(target: Path | BinaryIO, *, force: bool) -> Iterator[BinaryIO]:
    """Yield a file to write and read, for `new_file` or, when it is complete, for a stream. Raises TargetError."""
    if isinstance(target, Path):
        with new_file(target, force=force) as (file, _):
            yield file
        return
    with temporary_file() as file:
        yield file
        send(file, target)


@contextmanager
def temporary_file() -> Iterator[BinaryIO]:
    """Yield a temporary file that has no name. Raises TargetError, which names the folder."""
    with target_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        yield file


def send(file: BinaryIO, stream: BinaryIO) -> None:
    """Copy a file from its beginning to standard output. Raises TargetError, or BrokenPipeError."""
    file.seek(0)
    with target_errors(Path("standard output")):
        shutil.copyfileobj(file, stream, 1 << 20)
        stream.flush()


def _status(path: Path) -> os.stat_result | None:
    """Return what is at a path, links followed; None where nothing is."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _followed(target: Path) -> Path:
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _give(temporary: Path, old: os.stat_result) -> None:
    """Give a file the permissions and, where possible, the owner of the one that it replaces."""
    if os.name == "nt":
        return
    with suppress(PermissionError):
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, old.st_uid, old.st_gid)
    with suppress(PermissionError):
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def check_target(target: Path, *, force: bool) -> None:
    """Raise TargetError unless a file may be written at `target`."""
    with target_errors(target):
        status = _status(target)
        if status and stat.S_ISDIR(status.st_mode):
            raise TargetError(f"{target} is a folder; name a file")
        if status and not stat.S_ISREG(status.st_mode):
            raise TargetError(f"{target} is {_what(status.st_mode)} and stays; name a file, or - for standard output")
        if not force and os.path.lexists(target):
            raise TargetError(f"{target} exists; {spelled('force=True')} overwrites it")
        folder = _followed(target).parent
        if not folder.is_dir():
            raise TargetError(f"{target} cannot be written: the folder {folder} does not exist")


def _what(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def new_tree(target: Path, *, force: bool, merge: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; move its contents to `target` if the block ends without an exception.

    Without `force`, `target` must not exist or must be empty; with `merge` it may hold other files. With `force`, files
    of the same names are replaced one by one, each atomically, after the block has ended. Other files stay.
    """
    with target_errors(target):
        exists = target.is_dir()
        if not exists and os.path.lexists(target):
            what = "a file" if target.is_file() else "no folder"
            raise TargetError(f"{target} is {what}; name a folder with {spelled('target=')}")
        clear_tree(target)
        if exists and not (force or merge) and any(target.iterdir()):
            raise TargetError(
                f"the folder {target} is not empty; {spelled('force=True')} overwrites files of the same names in it, "
                f"{spelled('target=')} names another"
            )
        made = _missing(target.parent)
        try:
            make_folders(target.parent)
            # In the target if it exists, since it may be a file system of its own.
            place, name = (target, _IN_TARGET) if exists else (target.parent, target.name)
            with scratch_folder(place, name) as files:
                yield files
                sync_tree(files)
                if not exists and _renamed(files, target):
                    sync_folder(target.parent)
                elif exists or force or merge:
                    move_into(files, target, force=force)
                else:
                    raise TargetError(
                        f"{target} was made by another process meanwhile; {spelled('force=True')} overwrites its files"
                    )
        except BaseException:
            for folder in reversed(made):
                with suppress(OSError):  # of one that is not empty
                    folder.rmdir()
            raise


def _renamed(files: Path, target: Path) -> bool:
    """Give a folder its name; return False if another process was faster."""
    try:
        os.rename(files, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


_IN_TARGET = "volcomp"  # the name, of what lies in an existing target


def clear_tree(target: Path) -> None:
    """Remove what killed processes left of a target folder."""
    sweep(target, _IN_TARGET)
    sweep(target.parent, target.name)


def _missing(folder: Path) -> list[Path]:
    """Return the folders that must be made, the outer ones first."""
    missing: list[Path] = []
    while not os.path.lexists(folder) and folder != folder.parent:
        missing.insert(0, folder)
        folder = folder.parent
    return missing


def move_into(source: Path, target: Path, *, force: bool = True) -> None:
    """Move a tree over another; raise TargetError before the first move if anything would clash.

    A regular file replaces a regular file, with `force`, and nothing else.
    """
    moves: list[tuple[Path, Path]] = []
    folders = [(source, target)]
    for here, destination in folders:  # which grows meanwhile
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                old, new = Path(entry.path), destination / entry.name
                if entry.is_dir(follow_symlinks=False):
                    if new.is_symlink():  # which another archive may have made: nothing is written through it
                        raise TargetError(f"{new} is a link where the archive has a folder; move it away")
                    if os.path.lexists(new) and not new.is_dir():
                        raise TargetError(f"{new} is a file where the archive has a folder; move it away")
                    folders.append((old, new))
                else:
                    check_free(new, link=entry.is_symlink(), force=force)
                    moves.append((old, new))
    for _, destination in folders[1:]:
        make_folders(destination)
    for old, new in moves:
        os.replace(old, new)
    for _, destination in folders:
        sync_folder(destination)


def check_free(path: Path, *, link: bool, force: bool) -> None:
    """Raise TargetError unless a file or a link of an archive may be put at a path."""
    with target_errors(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise TargetError(f"{path} is a folder where the archive has a file; move it away")
        if not force:
            raise TargetError(f"{path} exists; {spelled('force=True')} overwrites it")
        if stat.S_ISLNK(mode) and not link:
            raise TargetError(f"{path} is a link where the archive has a file; move it away")
        if not stat.S_ISLNK(mode) and not stat.S_ISREG(mode):
            raise TargetError(f"{path} is {_what(mode)} where the archive has a file; move it away")


@contextmanager
def target_errors(target: Path) -> Iterator[None]:
    """Turn an OSError about writing into a TargetError of one sentence, which names the file that failed."""
    try:
        yield
    except (VolcompError, BrokenPipeError):
        raise
    except OSError as error:
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota is used up",
            errno.EFBIG: "it would exceed the largest size allowed",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "permission is denied",
            errno.EPERM: "permission is denied",
            errno.EEXIST: "a file is in the way",
        }
        sentence = reason.get(error.errno or 0, error.strerror or str(error))
        name = error.filename2 or error.filename
        where = shown(os.fsdecode(name), target) if isinstance(name, str | bytes | os.PathLike) else str(target)
        raise TargetError(f"{short(where)} cannot be written: {sentence}") from error


def short(path: str | Path) -> str:
    """Return a path for a sentence, without the middle of a very long one."""
    text = str(path)
    return text if len(text) <= 400 else f"{text[:150]}…{text[-150:]}"
