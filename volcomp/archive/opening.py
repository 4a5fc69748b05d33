"""Open an archive and read its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..container.sections import Reader
from ..errors import DamagedError, UnsupportedError
from .entry import Kind
from .manifest import Manifest, has_manifest, read_manifest
from .tree import check_name, check_names


@contextmanager
def opened(path: Path, *, salvage: bool = False) -> Iterator[Reader]:
    """Open an archive; errors about its contents begin with its path."""
    try:
        with path.open("rb") as file:
            yield Reader(file, salvage=salvage)
    except (DamagedError, UnsupportedError) as error:
        raise type(error)(f"{path}: {error}") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnsupportedError(f"{path} cannot be read: {error.strerror}") from error


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
