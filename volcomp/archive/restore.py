"""Decode a `.vcz` to files: the mirror of `pack`. Voxels go between kept bytes; every file's SHA-256 is checked."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..codec.decode import Slab, decode_volume, sha256_of
from ..container.sections import MANIFEST, Reader, SectionId
from ..container.volume import Volume, read_volume, volume_numbers
from ..errors import DamagedError, UnsupportedError
from ..formats.protocol import Format
from ..models import Model
from ..options import DECODING, DecodeOptions
from ..progress import progress_bar
from .files import new_tree
from .header_reader import Blobs, Records
from .manifest import Entry, Manifest
from .opening import manifest_of, opened

Bytes = bytes | memoryview
Item = tuple[Entry, str, Iterable[Bytes]]  # a file, where it is in the archive, the pieces of its bytes
Decoder = Callable[..., Generator[Slab]]  # decode_volume with options; the caller closes the generator


@dataclass
class Outcome:
    """The result of `restore` or `verify`."""

    files: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    voxels: int = 0
    lost: list[str] = field(default_factory=list)  # a sentence for every file that a salvage could not restore
    damage: str | None = None  # of header or index, if a salvage had to search for sections


def restore(
    path: Path,
    target: Path | None = None,
    options: DecodeOptions = DECODING,
    *,
    slices: slice | None = None,
    salvage: bool = False,
    force: bool = False,
) -> Outcome:
    """Write the files of an archive.

    Parameters:
        path: the archive.
        target: the folder for its files; by default the archived folder's name, in the current folder.
        options: see `options.DecodeOptions`.
        slices: restore only the images that hold any of these slices of their volume (a multi-frame file is restored
            whole), and decode only the slabs that contain them.
        salvage: skip damaged files and restore the others.
        force: overwrite files of the same names in an existing folder.

    Raises:
        DamagedError, UnsupportedError, TargetError: nothing has been written in this case.
    """
    with opened(path, salvage=salvage) as reader:
        manifest = manifest_of(reader)
        with new_tree(target or Path(manifest.root or path.stem), force=force) as folder:
            for name in manifest.folders if slices is None else []:
                os.makedirs(folder / name)
            decoder = partial(decode_volume, options=options)
            outcome = _run(reader, manifest, decoder, folder, slices, salvage)
            if slices is not None and not outcome.files and not outcome.lost:
                raise UnsupportedError("no volume has the slices that were asked for")
            if outcome.lost and not outcome.files:
                raise DamagedError(f"no file could be restored; the first: {outcome.lost[0]}")
        return outcome


def verify(path: Path, options: DecodeOptions = DECODING) -> Outcome:
    """Read every section, decode every voxel and compare every SHA-256, writing nothing. Raises DamagedError."""
    with opened(path) as reader:
        return verify_open(reader, options)


def verify_open(reader: Reader, options: DecodeOptions = DECODING) -> Outcome:
    """Verify an open archive; see `verify`."""
    for section in reader.places:  # all of them, since decoding reads only the sections that a file needs
        reader.read(section)
    decoder = partial(decode_volume, options=options)
    if SectionId(MANIFEST) in reader.places:
        return _run(reader, manifest_of(reader), decoder)
    return _verify_arrays(reader, decoder)


def verify_images(
    volume: Volume, entries: list[Entry], around: list[tuple[bytes, bytes]], slabs: Iterator[Slab]
) -> None:
    """Compare the SHA-256 of a volume's images with decoded slabs between the bytes around the voxels.

    An image is compared as soon as its slabs are decoded. Raises DamagedError.
    """
    decoded, first = _Slices(volume, slabs), 0
    for entry, (before, after) in zip(entries, around, strict=True):
        _emit(entry, _splice(entry, before + after, decoded, first, first + entry.frames), None)
        first += entry.frames


def verify_rest(
    reader: Reader, digests: Mapping[SectionId, bytes], manifest: Manifest, records: list[bytes], model: Model
) -> None:
    """Verify what `verify_images` cannot, because the archive was not complete. Raises DamagedError.

    Parameters:
        reader: the complete archive.
        digests: SHA-256 of the payloads of all sections, those of the decoded slabs among them.
        manifest: what its manifest must be.
        records: SHA-256 of the bytes around the voxels of every image.
        model: what the volumes are coded with.
    """
    reader.compare(digests)
    if manifest_of(reader) != manifest:
        raise DamagedError("the manifest says something else than was written")
    for number, entries in enumerate(manifest.volumes):
        _check_depth(read_volume(reader, number, {model.number: model}), entries)
    kept = Records(reader, manifest.tables)
    for record, digest in enumerate(records):
        if hashlib.sha256(kept.get(record)).digest() != digest:
            raise DamagedError("the bytes around the pixels of an image are not what was read")
    for entry, _, pieces in _whole(reader, manifest):
        _emit(entry, pieces, None)


def _run(
    reader: Reader,
    manifest: Manifest,
    decoder: Decoder,
    folder: Path | None = None,
    slices: slice | None = None,
    salvage: bool = False,
) -> Outcome:
    """Write the files to `folder`, or only check them; a damaged file is noted with `salvage`, else an error."""
    outcome = Outcome(packed_bytes=reader.size, damage=reader.damage)
    layouts = [volume.layout for volume in _sound_volumes(reader)]
    outcome.voxels = sum(math.prod(layout.shape) for layout in layouts)
    with progress_bar("decoding", outcome.voxels) as progress:
        contents = _Contents(reader, manifest, partial(decoder, progress=progress))
        with closing(contents.files(slices)) as files:
            for entry, where, pieces in files:
                try:
                    _emit(entry, pieces, folder)
                except DamagedError as error:
                    if not salvage:
                        raise
                    outcome.lost.append(f"{entry.name} ({where}): {error}")
                else:
                    outcome.files += 1
                    outcome.raw_bytes += entry.size
    return outcome


def _sound_volumes(reader: Reader) -> Iterator[Volume]:
    """Yield the volumes with readable headers."""
    for number in volume_numbers(reader):
        with suppress(DamagedError):
            yield read_volume(reader, number)


def _verify_arrays(reader: Reader, decoder: Decoder) -> Outcome:
    outcome = Outcome(packed_bytes=reader.size)
    for number in volume_numbers(reader):
        volume = read_volume(reader, number)
        with closing(decoder(reader, volume, list(range(len(volume.layout.slabs))))) as slabs:
            sha = sha256_of(slabs)
        if sha != volume.sha256:
            raise DamagedError(f"volume {number} is damaged: the SHA-256 of its voxels does not fit")
        outcome.voxels += volume.voxels
        outcome.raw_bytes += volume.voxels * volume.layout.dtype.itemsize
    return outcome


def _emit(entry: Entry, pieces: Iterable[Bytes], folder: Path | None) -> None:
    """Write a file, or without a folder only hash it. DamagedError, and no file, if it is not the archived one."""
    sha, size = hashlib.sha256(), 0
    path = Path(os.devnull) if folder is None else folder / entry.name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            for piece in pieces:
                sha.update(piece)
                size += len(piece)
                file.write(piece)
                del piece  # a view of its slab
        if size != entry.size or sha.digest() != entry.sha256:
            raise DamagedError(f"{entry.name} is damaged: its SHA-256 does not fit")
    except DamagedError:
        if folder is not None:
            path.unlink(missing_ok=True)
        raise


class _Contents:
    """The files of an archive in stored order, each as pieces of bytes; reading a damaged one raises DamagedError."""

    def __init__(self, reader: Reader, manifest: Manifest, decoder: Decoder) -> None:
        self._reader, self._manifest, self._decoder = reader, manifest, decoder
        self._records = Records(reader, manifest.tables)

    def files(self, slices: slice | None) -> Generator[Item]:
        """Yield all files, or the images that hold any of the slices."""
        yield from self._images(slices)
        if not slices:
            yield from _whole(self._reader, self._manifest)

    def _images(self, slices: slice | None) -> Generator[Item]:
        """Yield the images that hold any of the slices."""
        record = 0
        for number, entries in enumerate(self._manifest.volumes):
            try:
                volume = read_volume(self._reader, number)
                _check_depth(volume, entries)
            except DamagedError as error:
                yield from ((entry, f"volume {number}", _failing(error)) for entry in entries)
            else:
                yield from self._images_of(volume, entries, record, slices)
            record += len(entries)

    def _images_of(self, volume: Volume, entries: list[Entry], record: int, slices: slice | None) -> Generator[Item]:
        wanted = range(volume.layout.shape[0])[slices or slice(None)]
        assert wanted.step == 1
        spans = []
        first = 0
        for i, entry in enumerate(entries, record):
            end = first + entry.frames
            if first < wanted.stop and end > wanted.start:
                spans.append((entry, i, first, end))
            first = end
        numbers = sorted({k for _, _, first, end in spans for k in volume.slabs_of(first, end)})
        with closing(self._decoder(self._reader, volume, numbers)) as slabs:
            decoded = _Slices(volume, slabs)
            for entry, i, first, end in spans:
                where = f"slice {first}" if end == first + 1 else f"slices {first} to {end - 1}"
                yield entry, f"{where} of volume {volume.number}", self._image(entry, i, decoded, first, end)

    def _image(self, entry: Entry, record: int, decoded: _Slices, first: int, end: int) -> Iterator[Bytes]:
        yield from _splice(entry, self._records.get(record), decoded, first, end)


def _whole(reader: Reader, manifest: Manifest) -> Iterator[Item]:
    """Yield the files that are kept whole."""
    blobs = Blobs(reader, sum(entry.size for entry in manifest.whole))
    start = 0
    for entry in manifest.whole:
        yield entry, "stored files", blobs.pieces(start, start + entry.size)
        start += entry.size


def _check_depth(volume: Volume, entries: list[Entry]) -> None:
    if sum(entry.frames for entry in entries) != volume.layout.shape[0]:
        raise DamagedError(f"volume {volume.number} has another number of slices than its files")


def _splice(entry: Entry, kept: bytes, decoded: _Slices, first: int, end: int) -> Iterator[Bytes]:
    """Yield a file: the bytes before its voxels, slices first to end - 1, the bytes after; `kept` has both, joined."""
    if entry.before > len(kept):
        raise DamagedError(f"{entry.name} is damaged: fewer bytes were kept of it than the manifest says")
    voxels = decoded.blocks(first, end)
    yield from Format.write_back(kept[: entry.before], voxels, kept[entry.before :], big_endian=entry.big_endian)


def _failing(error: DamagedError) -> Iterator[Bytes]:
    yield b""  # a generator raises when it is read, not when it is made
    raise error


class _Slices:
    """Decoded slabs as a source of slices, which must be asked for in increasing order."""

    def __init__(self, volume: Volume, slabs: Iterator[Slab]) -> None:
        self._ranges, self._slabs = volume.layout.slabs, slabs
        self._first, self._end = 0, 0  # slices of the current slab
        self._current: np.ndarray | DamagedError | None = None

    def blocks(self, first: int, end: int) -> Iterator[np.ndarray]:
        """Yield slices first to end - 1, a block [z, Y, X] for each slab; raises the error of a damaged slab."""
        while first < end:
            while first >= self._end:
                self._current = None  # frees its memory for the next one
                following = next(self._slabs, None)
                if following is None:
                    raise DamagedError("its volume could not be decoded so far")
                k, self._current = following
                del following
                self._first, self._end = self._ranges[k]
            if isinstance(self._current, DamagedError):
                raise self._current
            assert self._current is not None
            stop = min(end, self._end)
            yield self._current[first - self._first : stop - self._first]
            first = stop
