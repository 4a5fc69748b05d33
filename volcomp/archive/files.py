"""Atomic output: write beside the target, rename at the end, remove on failure."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import TargetError, VolcompError


@contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a file to write and its temporary path; rename it to `target` if the block ends without an exception.

    The block may close and reopen the file. Raises TargetError where `target` exists without `force`, or cannot be
    written.
    """
    check_target(target, force=force)
    with target_errors(target):
        # Named before it exists, so that it is removed after an interrupt at any moment.
        temporary = target.parent / f".{target.name[:64]}.{secrets.token_hex(4)}.part"
        try:
            with temporary.open("xb") as file:
                yield file, temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            check_target(target, force=force)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_target(target: Path, *, force: bool) -> None:
    """Raise TargetError unless a file may be written at `target`."""
    if target.is_dir():
        raise TargetError(f"{target} is a folder; name a file with -o")
    if not force and os.path.lexists(target):
        raise TargetError(f"{target} exists; --force overwrites it")
    if not target.parent.is_dir():
        raise TargetError(f"{target} cannot be written: the folder {target.parent} does not exist")


@contextmanager
def new_tree(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty folder to fill; move its contents to `target` if the block ends without an exception.

    Without `force`, `target` must not exist or must be empty. With `force`, files of the same names are replaced one by
    one, each atomically, after the block has ended. Other files stay.
    """
    if target.exists() and not target.is_dir():
        raise TargetError(f"{target} is a file; name a folder with -o")
    exists = target.is_dir()
    if exists and not force and any(target.iterdir()):
        raise TargetError(f"the folder {target} is not empty; --force overwrites files of the same names in it")
    with target_errors(target):
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True)
        # In the target if it exists, since it may be a file system of its own.
        temporary = (target if exists else target.parent) / f".volcomp-{secrets.token_hex(4)}.part"
        try:
            temporary.mkdir()
            yield temporary
            if exists:
                move_into(temporary, target)
            else:
                os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def move_into(source: Path, target: Path) -> None:
    """Move a tree over another; raise TargetError before the first move if a file and a folder would clash."""
    moves: list[tuple[Path, Path]] = []
    for here, folders, files in os.walk(source):
        destination = target / Path(here).relative_to(source)
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in links]
        files += links
        for name in folders:
            if (
                destination / name
            ).is_symlink():  # nothing is written through links, which another archive may have made
                raise TargetError(f"{destination / name} is a link where the archive has a folder; move it away")
            if os.path.lexists(destination / name) and not (destination / name).is_dir():
                raise TargetError(f"{destination / name} is a file where the archive has a folder; move it away")
        for name in files:
            if (destination / name).is_dir() and not (destination / name).is_symlink():
                raise TargetError(f"{destination / name} is a folder where the archive has a file; move it away")
            moves.append((Path(here) / name, destination / name))
    for here, folders, _ in os.walk(source):
        for name in folders:
            if (Path(here) / name).is_symlink():
                continue
            (target / Path(here).relative_to(source) / name).mkdir(exist_ok=True)
    for old, new in moves:
        os.replace(old, new)


@contextmanager
def target_errors(target: Path) -> Iterator[None]:
    """Turn an OSError about writing into a TargetError of one sentence."""
    try:
        yield
    except VolcompError:
        raise
    except OSError as error:
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota is used up",
            errno.EFBIG: "it would exceed the largest size allowed",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "permission is denied",
            errno.EPERM: "permission is denied",
        }
        sentence = reason.get(error.errno or 0, error.strerror or str(error))
        raise TargetError(f"{target} cannot be written: {sentence}") from error
