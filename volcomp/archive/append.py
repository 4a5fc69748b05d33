"""Add files to an archive: its sections are copied, not encoded again, and new ones follow them.

A new file is written beside the archive and takes its name when it is verified. An archive of an older format is
upgraded: its list of files is written anew, all else is copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..container.sections import (
    BLOB,
    FORMAT_VERSION,
    KEPT,
    LISTING,
    LOSSES,
    MANIFEST,
    ROOT,
    SLAB,
    VOLUME_HEADER,
    Reader,
    SectionId,
    Writer,
)
from ..errors import TargetError, UnsupportedError
from ..options import ENCODING, EncodeOptions
from ..progress import progress_bar
from ..wording import spelled
from . import scratch
from .choice import above
from .entry import Kind
from .files import check_target, clear, new_file
from .ledger import Begin, Ledger
from .listing import cut, encode
from .manifest import Manifest
from .opening import contents_of, manifest_of
from .pack import Summary, fill, gather
from .tree import Tree, own_name, source_errors

_COPIED = (
    VOLUME_HEADER,
    SLAB,
    KEPT,
    BLOB,
    LISTING,
    ROOT,
    LOSSES,
)  # what is said of a file as a whole would no longer be true


def append(
    archive: Path,
    inputs: list[Path],
    options: EncodeOptions = ENCODING,
    *,
    times: bool = True,
    skip_errors: bool = False,
) -> Summary:
    """Add folders and files to an archive.

    A single folder that has the name of the archived folder adds its contents to it. All else is added under its own
    name. What the archive has already is refused, so that nothing is replaced; folders that both have become one.
    The bytes of a file that is in the archive under another name are not stored again.

    Parameters:
        archive: an archive of files, also one of an older format, which is upgraded.
        inputs: folders and files.
        options: see `options.EncodeOptions`; the models of old and new volumes may differ. Of an archive with parity,
            `parity` must say how much the new one gets.
        times: keep times of modification and permissions.
        skip_errors: leave out what cannot be read; see `Summary.skipped`.

    Returns:
        Counts of what was added; `packed_bytes` is what the archive grew by, parity included, or 0 where new parity is
        smaller.

    Raises:
        TargetError: where the archive cannot be replaced, or another process adds to it.
        DamagedError: where the archive is damaged.
        UnsupportedError: for an input that cannot be read, or has the name of what is in the archive.
        VerificationError: where the new archive does not decode to the input. The old one stays, as in all these cases.
    """
    with source_errors(archive):
        archive.stat()  # before the target is judged: it must exist
    check_target(archive, force=True)
    clear(archive)
    with _alone(archive) as old:
        with contents_of(archive):
            reader = Reader(old)
            manifest = manifest_of(reader)
        if reader.parity and not options.parity:
            raise UnsupportedError(
                f"{archive} has parity, which the new archive would lose; say how much it gets, as "
                f"{spelled('parity=0.02')}, or remove the old one with {spelled('volcomp.protect(…, 0)')}"
            )
        own_names = len(inputs) != 1 or own_name(inputs[0]) != manifest.root
        tree = gather(inputs, archive, times=times, skip_errors=skip_errors, own_names=own_names)
        tree = _new(archive, manifest, tree)
        with new_file(archive, force=True) as (file, _):
            writer = Writer(file, max(FORMAT_VERSION, reader.version or 0))
            with contents_of(archive):
                begin = _copy(reader, manifest, writer)
            if scratch.fcntl is None:
                old.close()  # an open file could not be replaced
            others = [item for item in tree.items if item.kind != Kind.FILE]
            ledger = Ledger(writer, manifest.root, others, begin)
            done = fill(file, writer, ledger, tree, options, skip_errors=skip_errors)
        return replace(done, packed_bytes=max(done.packed_bytes - reader.size, 0))


@contextmanager
def _alone(archive: Path) -> Iterator[BinaryIO]:
    """Open an archive and lock it: of two processes that add to it at once, the later one would undo the other."""
    with source_errors(archive):
        file = archive.open("rb")
    with file:
        busy = scratch.lock(file.fileno()) is False
        if busy or not os.path.samestat(os.fstat(file.fileno()), archive.stat()):
            raise TargetError(f"{archive} is being changed by another process; try again when it is at rest")
        yield file


def _copy(reader: Reader, manifest: Manifest, writer: Writer) -> Begin:
    """Copy the sections of an archive; return where the next ones begin. Raises DamagedError for a damaged one."""
    lists = 0
    if SectionId(MANIFEST) in reader.places:  # of an older format
        for piece in cut(manifest.entries) if manifest.entries else [[]]:
            writer.add(SectionId(LISTING, lists), encode(manifest.root, piece))
            lists += 1
    with progress_bar("copying", reader.size, "B") as progress:
        for section, place in reader.places.items():
            if section.tag in _COPIED:
                writer.add(section, reader.read(section))
            progress(place.length)

    def following(*tags: bytes) -> int:
        return max((section.major + 1 for section in reader.places if section.tag in tags), default=0)

    volumes = following(VOLUME_HEADER, SLAB)
    lists += following(LISTING)
    return Begin(tuple(manifest.entries), volumes, following(KEPT), following(BLOB), lists, manifest.itself)


def _new(archive: Path, manifest: Manifest, tree: Tree) -> Tree:
    """Return the inputs without folders that the archive has; raise UnsupportedError if it has other names."""
    files = {entry.name for entry in manifest.entries if entry.kind != Kind.FOLDER}
    folders = {entry.name for entry in manifest.folders}
    folders |= {folder for name in files | folders for folder in above(name)}
    clashes = []
    for item in tree.items:
        taken = files if item.kind == Kind.FOLDER else files | folders
        if item.name in taken or any(folder in files for folder in above(item.name)):
            clashes.append(item.name)
    if clashes:
        others = f" and {len(clashes) - 1} more of the inputs" if len(clashes) > 1 else ""
        raise UnsupportedError(
            f"{archive} holds {clashes[0]}{others} already; append adds and never replaces, so leave these out"
        )
    items = [item for item in tree.items if item.kind != Kind.FOLDER or item.name not in folders]
    return replace(tree, items=items)
