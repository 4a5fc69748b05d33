"""Decode a `.vcz` to files: the mirror of `pack`. Bodies are made of voxels; every file's SHA-256 is checked."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush, heapreplace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..bodies.protocol import Kept, Planes
from ..bodies.registry import body
from ..codec.volumes import Slab, decode_volume
from ..container.sections import Reader
from ..container.volume import Volume, read_volume, volume_numbers
from ..errors import DamagedError, UnsupportedError, VolcompError
from ..models import RELEASED, Catalogue
from ..options import DECODING, DecodeOptions
from ..progress import progress_bar
from .entry import Entry, Kind, Stored, Voxels
from .files import new_tree
from .header_reader import Blobs, Records
from .manifest import Manifest, has_manifest
from .opening import manifest_of, opened

Bytes = bytes | memoryview
Item = tuple[Entry, str, Iterable[Bytes]]  # a file, where it is in the archive, the pieces of its bytes
Decoder = Callable[..., Generator[Slab]]  # decode_volume with options; the caller closes the generator
Wanted = Callable[[Entry], bool]


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
    wanted: Wanted | None = None,
    salvage: bool = False,
    force: bool = False,
    times: bool = True,
) -> Outcome:
    """Write the files of an archive.

    Parameters:
        path: the archive.
        target: the folder for its files; by default the archived folder's name, in the current folder.
        options: see `options.DecodeOptions`.
        slices: restore only the images that hold any of these slices of their volume (a multi-frame file is restored
            whole), and decode only the slabs that contain them.
        wanted: restore only the files and links for which this returns True.
        salvage: skip damaged files and restore the others.
        force: overwrite files of the same names in an existing folder.
        times: restore times of modification and permissions, where the archive has them.

    Raises:
        DamagedError, UnsupportedError, TargetError: nothing has been written in this case.
    """
    with opened(path, salvage=salvage) as reader:
        manifest = manifest_of(reader)
        whole = slices is None and wanted is None
        final = target or Path(manifest.root or path.stem)
        with new_tree(final, force=force) as folder:
            for entry in manifest.folders if whole else []:
                os.makedirs(folder / entry.name, exist_ok=True)
            decoder = partial(decode_volume, options=options)
            outcome = _run(reader, manifest, decoder, folder, slices, wanted, salvage)
            links = [entry for entry in manifest.links if whole or (wanted and wanted(entry))]
            for entry in links:  # after the files, so that none is written through a link
                (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(entry.note, folder / entry.name)
            if not whole and not outcome.files and not outcome.lost and not links:
                what = "volume has the slices" if slices else "file has a name or series"
                raise UnsupportedError(f"no {what} that were asked for")
            if outcome.lost and not outcome.files:
                raise DamagedError(f"no file could be restored; the first: {outcome.lost[0]}")
            outcome.lost += manifest.lost
            if times:
                _restore_times([*manifest.files, *manifest.links], folder)
        if times and whole:
            restore_folder_times(manifest, final)
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
    if has_manifest(reader):
        manifest = manifest_of(reader)
        check_volumes(reader, manifest)
        return _run(reader, manifest, decoder)
    return _verify_arrays(reader, decoder)


def verify_images(volume: Volume, images: list[tuple[Entry, Kept]], slabs: Iterator[Slab]) -> None:
    """Compare the SHA-256 of native images, the whole of a volume, with decoded slabs between their kept bytes.

    An image is compared as soon as its slabs are decoded. Raises DamagedError.
    """
    decoded = _Slices(volume, slabs)
    for entry, kept in images:
        assert isinstance(entry.place, Voxels)
        emit(entry, _made(entry.place, kept, [decoded]), None)


def check_volumes(reader: Reader, manifest: Manifest, catalogue: Catalogue = RELEASED) -> None:
    """Raise DamagedError unless files hold every slice of every volume, and no other."""
    depths: dict[int, int] = {}
    for entry in manifest.files:
        if isinstance(place := entry.place, Voxels):
            for number in range(place.volume, place.volume + place.planes):
                depths[number] = max(depths.get(number, 0), place.end)
    if sorted(depths) != volume_numbers(reader):
        raise DamagedError("the manifest is damaged: it has another number of volumes than the archive")
    for number, depth in depths.items():
        _check_depth(read_volume(reader, number, catalogue), depth)


def stored(reader: Reader, manifest: Manifest) -> Iterator[tuple[Entry, Iterator[Bytes]]]:
    """Yield the files that are kept whole, each with the pieces of its bytes."""
    blobs = Blobs(reader)
    for entry in manifest.whole:
        assert isinstance(entry.place, Stored)
        if entry.place.packing:
            yield (
                entry,
                _failing(UnsupportedError(f"it is packed in the unknown way {entry.place.packing}; upgrade volcomp")),
            )
        else:
            yield entry, blobs.pieces(entry.place.start, entry.place.start + entry.place.size)


def emit(entry: Entry, pieces: Iterable[Bytes], folder: Path | None) -> None:
    """Write a file, or without a folder only hash it. DamagedError, and no file, if it is not the archived one."""
    sha, size = hashlib.sha256(), 0
    path = Path(os.devnull) if folder is None else folder / entry.name
    try:
        with _created(path) as file:
            for piece in pieces:
                sha.update(piece)
                size += len(piece)
                if size > entry.size:
                    break
                file.write(piece)
                del piece  # a view of its slab
        if size != entry.size or sha.digest() != entry.sha256:
            raise DamagedError(f"{entry.name} is damaged: its SHA-256 does not fit")
    except VolcompError:
        if folder is not None:
            path.unlink(missing_ok=True)
        raise


def _created(path: Path) -> BinaryIO:
    """Open a new file; make its folder where opening shows that it is missing."""
    with suppress(FileNotFoundError):
        return path.open("wb")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def restore_folder_times(manifest: Manifest, folder: Path) -> None:
    """Set times and permissions of folders, once all is in them: the inner ones first, since their time is a content of
    the outer ones, which may be closed to their owner."""
    _restore_times(sorted(manifest.folders, key=lambda entry: entry.name.count("/"), reverse=True), folder)


def _restore_times(entries: Iterable[Entry], folder: Path) -> None:
    """Set times and permissions of what was restored, as far as the file system keeps them."""
    for entry in entries:
        path, link = f"{folder}/{entry.name}", entry.kind == Kind.LINK
        with suppress(OSError):  # of what was not restored, too
            if entry.mode is not None and not link:
                os.chmod(path, entry.mode)
        with suppress(OSError):
            if entry.mtime is not None and (not link or os.utime in os.supports_follow_symlinks):
                os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=not link)


def _run(
    reader: Reader,
    manifest: Manifest,
    decoder: Decoder,
    folder: Path | None = None,
    slices: slice | None = None,
    wanted: Wanted | None = None,
    salvage: bool = False,
) -> Outcome:
    """Write the files to `folder`, or only check them; a damaged file is noted with `salvage`, else an error."""
    outcome = Outcome(packed_bytes=reader.size, damage=reader.damage)
    layouts = [volume.layout for volume in _sound_volumes(reader)]
    outcome.voxels = sum(math.prod(layout.shape) for layout in layouts)
    with progress_bar("decoding", outcome.voxels) as progress:
        contents = _Contents(reader, manifest, partial(decoder, progress=progress), slices, wanted)
        with closing(contents.files()) as files:
            for entry, where, pieces in files:
                try:
                    emit(entry, pieces, folder)
                except (DamagedError, UnsupportedError) as error:
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
        sha = hashlib.sha256()
        with closing(decoder(reader, volume, list(range(len(volume.layout.slabs))))) as slabs:
            for _, voxels in slabs:
                if isinstance(voxels, DamagedError):
                    raise voxels
                sha.update(np.ascontiguousarray(voxels).data)
                del voxels  # or they would stay in memory until the next ones come
        if sha.digest() != volume.sha256:
            raise DamagedError(f"volume {number} is damaged: the SHA-256 of its voxels does not fit")
        outcome.voxels += volume.voxels
        outcome.raw_bytes += volume.voxels * volume.layout.dtype.itemsize
    return outcome


class _Contents:
    """The files of an archive in stored order, each as pieces of bytes; reading a damaged one raises DamagedError."""

    def __init__(
        self, reader: Reader, manifest: Manifest, decoder: Decoder, slices: slice | None, wanted: Wanted | None
    ) -> None:
        self._reader, self._manifest, self._decoder = reader, manifest, decoder
        self._slices, self._wanted = slices, wanted or (lambda entry: True)
        self._records = Records(reader)

    def files(self) -> Generator[Item]:
        """Yield the files that are wanted."""
        for number, entries in self._manifest.images.items():
            for chosen in _passes([entry for entry in entries if self._wanted(entry)]):
                yield from self._images(number, chosen)
        if not self._slices:
            for entry, pieces in stored(self._reader, self._manifest):
                if self._wanted(entry):
                    yield entry, "stored files", pieces

    def _images(self, number: int, images: list[tuple[Entry, Voxels]]) -> Generator[Item]:
        """Yield images of the volumes that begin with this one, in the order of their slices."""
        planes = {place.planes for _, place in images}
        try:
            if len(planes) != 1:
                raise DamagedError(f"images of volume {number} have several numbers of planes")
            volumes = [read_volume(self._reader, number + i) for i in range(planes.pop())]
            for volume in volumes:
                if (volume.layout.shape, volume.layout.slabs) != (volumes[0].layout.shape, volumes[0].layout.slabs):
                    raise DamagedError(f"volume {volume.number} has another shape or other slabs than the other planes")
            end = images[-1][1].end
            if end > volumes[0].layout.shape[0]:
                raise DamagedError(f"volume {number} has fewer slices than its files")
        except DamagedError as error:
            yield from ((entry, f"volume {number}", _failing(error)) for entry, _ in images)
            return
        chosen = range(volumes[0].layout.shape[0])[self._slices or slice(None)]
        assert chosen.step == 1
        images = [(entry, place) for entry, place in images if place.first < chosen.stop and place.end > chosen.start]
        numbers = sorted({k for _, place in images for k in volumes[0].slabs_of(place.first, place.end)})
        with ExitStack() as stack:
            decoded = [
                _Slices(volume, stack.enter_context(closing(self._decoder(self._reader, volume, numbers))))
                for volume in volumes
            ]
            for entry, place in images:
                first, last = place.first, place.end - 1
                where = f"slice {first}" if first == last else f"slices {first} to {last}"
                yield entry, f"{where} of volume {number}", self._image(place, decoded)

    def _image(self, place: Voxels, decoded: list[_Slices]) -> Iterator[Bytes]:
        yield from _made(place, self._records.get(place), decoded)


def _passes(entries: list[Entry]) -> Iterator[list[tuple[Entry, Voxels]]]:
    """Split images in order into runs in which no image begins before another one ends, unless it has one slice:
    copies of longer images are decoded again."""
    passes: list[list[tuple[Entry, Voxels]]] = []
    free: list[tuple[int, int]] = []  # a heap: the slice from which each pass goes on, and its number
    for entry in entries:
        place = entry.place
        assert isinstance(place, Voxels)
        if not free or free[0][0] > place.first:
            heappush(free, (0, len(passes)))
            passes.append([])
        number = free[0][1]
        heapreplace(free, (place.first if place.frames == 1 else place.end, number))
        passes[number].append((entry, place))
    yield from passes


def _check_depth(volume: Volume, depth: int) -> None:
    if depth != volume.layout.shape[0]:
        raise DamagedError(f"volume {volume.number} has another number of slices than its files")


def _made(place: Voxels, kept: Kept, decoded: list[_Slices]) -> Iterator[Bytes]:
    """Yield the bytes of an image."""
    yield from body(place.body).write(kept, _planes(place, decoded))


def _planes(place: Voxels, decoded: list[_Slices]) -> Iterator[Planes]:
    """Yield an image's slices of all planes, a block for each slab."""
    sources = [plane.blocks(place.first, place.end) for plane in decoded]
    while True:
        planes = [part for part in (next(source, None) for source in sources) if part is not None]
        if not planes:
            break
        yield planes
        planes = []  # or their slabs would stay in memory until the next ones come


def _failing(error: VolcompError) -> Iterator[Bytes]:
    yield b""  # a generator raises when it is read, not when it is made
    raise error


class _Slices:
    """Decoded slabs as a source of slices, which must be asked for in increasing order, or again one at a time."""

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
