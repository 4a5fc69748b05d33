"""Open an archive and read its manifest."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ..container.sections import Reader
from ..errors import DamagedError, SourceError, UnsupportedError
from ..wording import spelled
from .entry import Kind
from .files import target_errors, temporary_file
from .manifest import Manifest, has_manifest, read_manifest
from .remote import Remote, fetched
from .tree import check_name, check_names, source_errors

_PATIENCE = 1000  # ms
Source = Path | Remote | BinaryIO  # an archive: its path, its URL, or standard input


@contextmanager
def opened(source: Source, *, salvage: bool = False) -> Iterator[Reader]:
    """Open an archive; errors about its contents begin with its path.

    A pipe, and standard input, is first copied to a temporary file, since archives are read in any order.
    """
    with readable(source) as file, contents_of(source):
        yield Reader(file, salvage=salvage)


@contextmanager
def contents_of(source: Source | str) -> Iterator[None]:
    """Begin errors about the contents of an archive with its path, or another name."""
    try:
        yield
    except SourceError:  # which names its file
        raise
    except (DamagedError, UnsupportedError) as error:
        raise type(error)(f"{name_of(source)}: {error}") from error


def name_of(source: Source | str) -> str:
    """Return the name of an archive for a sentence."""
    return str(source) if isinstance(source, Path | Remote | str) else "standard input"


@contextmanager
def readable(source: Source, what: str = "an archive") -> Iterator[BinaryIO]:
    """Open a file that can be read in any order; a pipe is copied to a temporary one. Raises UnsupportedError.

    Of a URL only the parts that are read are fetched.
    """
    if isinstance(source, Remote):
        with fetched(source) as file:
            yield file
        return
    if not isinstance(source, Path):
        with spooled(source, what) as file:
            yield file
        return
    with source_errors(source):
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode) and what == "an archive":
            advice = f"name an archive, or make one of it with {spelled('volcomp.compress_files')}"
            raise UnsupportedError(f"{source} cannot be read: it is a folder; {advice}")
        if stat.S_ISFIFO(mode):
            stream = _pipe(source)
        elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # of a folder the system says what it is
            stream = source.open("rb")
        else:
            raise UnsupportedError(f"{source} is a device or a socket; name a file")
    with stream:
        if not stat.S_ISFIFO(mode):
            yield stream
            return
        with spooled(stream, what) as file:
            yield file


def _pipe(path: Path) -> BinaryIO:
    """Open a pipe that someone writes to; one that nobody has opened would be waited for without end."""
    stream = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    try:
        if _is_abandoned(stream):
            raise UnsupportedError(f"{path} is a pipe that nobody writes to; name a file")
        os.set_blocking(stream.fileno(), True)
    except BaseException:
        stream.close()
        raise
    return stream


def _is_abandoned(stream: BinaryIO) -> bool:
    """Return whether a pipe has neither a writer nor bytes, and gets none within a second."""
    import select  # Windows has no pipes with names

    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return not poll.poll(_PATIENCE) and stream.read(1) == b""  # None of a pipe with a writer


@contextmanager
def spooled(stream: BinaryIO, what: str) -> Iterator[BinaryIO]:
    """Yield a temporary file with all bytes of a pipe or of standard input.

    Raises UnsupportedError, for instance of a terminal, and TargetError where the temporary folder is full.
    """
    if stream.isatty():
        raise UnsupportedError(f"standard input is a terminal; redirect {what} into it, or name a file")
    with temporary_file() as file:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.seek(0)
        yield file


@contextmanager
def named(stream: BinaryIO, name: str) -> Iterator[Path]:
    """Yield a file of this name with all bytes of standard input; it is removed in the end.

    Raises UnsupportedError for a name that no file may have, and TargetError where the temporary folder is full.
    """
    if "/" in name or name in ("", ".", ".."):
        raise UnsupportedError(f"{name!r} is no name of a file; give one without a slash")
    with ExitStack() as stack:
        file = stack.enter_context(spooled(stream, "a file"))
        temporary = Path(tempfile.gettempdir())
        with target_errors(temporary):
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="volcomp-")), name)
        with target_errors(path), path.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        yield path


def manifest_of(reader: Reader) -> Manifest:
    """Return the manifest, its names checked for safety."""
    if not has_manifest(reader):
        if reader.damage:
            raise DamagedError("no list of files is left of it, so that none can be restored")
        raise UnsupportedError("it holds an array and no files; read it with volcomp.decompress in Python")
    manifest = read_manifest(reader)
    check_names(
        [entry.name for entry in manifest.entries if entry.kind != Kind.FOLDER],
        [entry.name for entry in manifest.folders],
    )
    if manifest.root:
        check_name(manifest.root)
        if "/" in manifest.root:
            raise DamagedError(f"the archive holds the folder name {manifest.root!r}; nothing was restored")
    return manifest
