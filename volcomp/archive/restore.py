"""Decode a `.vcz` to files: the mirror of `pack`. Bodies are made of voxels; every file's SHA-256 is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from heapq import heappush, heapreplace
from pathlib import Path
from typing import BinaryIO

from ..bodies.protocol import Kept
from ..codec.decode import Keys, Slab, decode_and_compare, decode_volume, sha256_of
from ..container.sections import FORMAT_VERSION, Reader
from ..container.volume import Volume, read_volume, volume_numbers
from ..errors import DamagedError, UnsupportedError, VolcompError
from ..models import RELEASED, Catalogue
from ..options import DECODING, DecodeOptions
from ..progress import progress_bar
from ..runtime import room
from .choice import choose
from .entry import Entry, Kind, Stored, Voxels
from .files import check_free, clear_tree, new_tree, send, temporary_file
from .header_reader import Blobs, Records
from .making import made, turned, unpacked
from .manifest import Manifest, has_manifest
from .opening import Source, manifest_of, opened
from .remote import Remote
from .run import Run, Slices
from .scratch import make_folders
from .writing import Bytes, copy, emit, open_to_owner, restore_folder_times, restore_times

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
    target: Path | None = None  # the folder that was written
    folders: int = 0
    links: int = 0


def restore(
    path: Source,
    target: Path | None = None,
    options: DecodeOptions = DECODING,
    *,
    slices: slice | None = None,
    wanted: Wanted | None = None,
    names: Collection[str] = (),
    series: Collection[str] = (),
    salvage: bool = False,
    force: bool = False,
    times: bool = True,
) -> Outcome:
    """Write the files of an archive.

    Parameters:
        path: the archive; or a stream that it is read from, standard input for instance.
        target: the folder for its files; by default the archived folder's name, in the current folder. Without
            `force` it must be new or empty, or only not have the files that are asked for.
        options: see `options.DecodeOptions`.
        slices: restore only the images that hold any of these slices of their volume (a multi-frame file is restored
            whole), and decode only the slabs that contain them.
        wanted: restore only the files, folders and links for which this returns True.
        names: restore only files of these names, folders with what is in them, or what fits shell patterns.
        series: restore only the images of these series, in addition to `names`.
        salvage: skip damaged files and restore the others.
        force: overwrite files of the same names in an existing folder.
        times: restore times of modification and permissions, where the archive has them.

    Raises:
        DamagedError, UnsupportedError, TargetError: nothing has been written in this case.
    """
    with opened(path, salvage=salvage) as reader:
        manifest = manifest_of(reader)
        if names or series:
            wanted = _both(wanted, choose(reader, manifest, names, series))
        without_data = [entry for entry in (*manifest.folders, *manifest.links) if not wanted or wanted(entry)]
        without_data = without_data if slices is None else []
        folders = [entry for entry in without_data if entry.kind == Kind.FOLDER]
        links = [entry for entry in without_data if entry.kind == Kind.LINK]
        final = target or Path(manifest.root or (path.stem if isinstance(path, Path | Remote) else "archive"))
        clear_tree(final)
        if wanted:  # before the work
            for entry in filter(wanted, (*manifest.files, *links)):
                check_free(final / entry.name, link=entry.kind == Kind.LINK, force=force)
        new = not os.path.lexists(final)
        with new_tree(final, force=force, merge=wanted is not None) as folder:
            made = folder.stat()
            if times and new and manifest.itself:
                open_to_owner(manifest.itself, folder)
            for entry in folders:
                make_folders(folder / entry.name)
            decoder = partial(decode_volume, options=options)
            outcome = _run(reader, manifest, decoder, folder, slices, wanted, salvage)
            for entry in links:  # after the files, so that none is written through a link
                make_folders((folder / entry.name).parent)
                os.symlink(entry.note, folder / entry.name)
            if (slices or wanted) and not outcome.files and not outcome.lost and not without_data:
                what = "volume has the slices" if slices else "file is one of those"
                raise UnsupportedError(f"no {what} that were asked for")
            if outcome.lost and not outcome.files:
                raise DamagedError(f"no file could be restored; the first: {outcome.lost[0]}")
            outcome.lost += manifest.lost
            if times:
                restore_times([*manifest.files, *links], folder)
                if new:  # all of it or nothing
                    restore_folder_times(folders, folder)
        if times and not new:
            restore_folder_times(folders, final)
        # A folder that was there, or that another process made meanwhile, stays as it is.
        if times and manifest.itself and os.path.samestat(made, final.stat()):
            restore_times([manifest.itself], final)
        outcome.target, outcome.folders, outcome.links = final, len(folders), len(links)
        return outcome


def _both(wanted: Wanted | None, names: Container[str]) -> Wanted:
    return lambda entry: entry.name in names and (wanted is None or wanted(entry))


def read_one(
    path: Source, stream: BinaryIO, options: DecodeOptions = DECODING, *, names: Collection[str] = (),
    series: Collection[str] = (),
) -> Outcome:  # fmt: skip
    """Write one file of an archive to a stream, once it is decoded and compared; see `restore`.

    Raises UnsupportedError where names, series, or without these the archive, mean none or several.
    """
    with opened(path) as reader:
        manifest = manifest_of(reader)
        wanted = choose(reader, manifest, names, series) if names or series else {e.name for e in manifest.files}
        files = [entry for entry in manifest.files if entry.name in wanted]
        if len(files) != 1:
            raise UnsupportedError(f"{len(files)} files were asked for, and standard output takes one; name it")
        entry = files[0]
        contents = _Contents(
            reader, manifest, partial(decode_volume, options=options), None, lambda one: one.name == entry.name
        )
        with temporary_file() as spool, closing(contents.files()) as found:
            for one, _, pieces in found:
                copy(one, pieces, spool)
            send(spool, stream)
        return Outcome(1, entry.size, reader.size)


def verify(path: Source, options: DecodeOptions = DECODING) -> Outcome:
    """Read every section, decode every voxel and compare every SHA-256, writing nothing. Raises DamagedError."""
    with opened(path) as reader:
        return verify_open(reader, options)


def verify_open(reader: Reader, options: DecodeOptions = DECODING) -> Outcome:
    """Verify an open archive; see `verify`."""
    for section in reader.places:  # all of them, since decoding reads only the sections that a file needs
        reader.read(section)
    if has_manifest(reader):
        manifest = manifest_of(reader)
        check_volumes(reader, manifest)
        outcome = _run(reader, manifest, partial(decode_and_compare, options=options))
        outcome.folders, outcome.links = len(manifest.folders), len(manifest.links)
        return outcome
    return _verify_arrays(reader, partial(decode_volume, options=options))


def verify_images(volume: Volume, images: list[tuple[Entry, Kept]], slabs: Iterator[Slab]) -> None:
    """Compare the SHA-256 of native images, the whole of a volume, with decoded slabs between their kept bytes.

    An image is compared as soon as its slabs are decoded. Raises DamagedError.
    """
    decoded = Slices(volume.layout.slabs, slabs)
    for entry, kept in images:
        assert isinstance(entry.place, Voxels)
        emit(entry, made(entry.place, kept, [decoded]), None)


def check_volumes(reader: Reader, manifest: Manifest, catalogue: Catalogue = RELEASED) -> None:
    """Raise DamagedError unless files hold every slice of every volume, and no other."""
    ends: dict[tuple[int, int], int] = {}  # by first volume and planes
    for entry in manifest.files:
        if isinstance(place := entry.place, Voxels):
            ends[place.volume, place.planes] = max(ends.get((place.volume, place.planes), 0), place.end)
    left = set(volume_numbers(reader))
    found: set[int] = set()
    for (number, planes), end in ends.items():
        run = Run(reader, number, planes, end, catalogue)
        if end != run.end:
            raise DamagedError(f"volume {number} has another number of slices than its files")
        found |= set(run.check())
    if found != left:
        raise DamagedError("the manifest is damaged: it has another number of volumes than the archive")


def stored(reader: Reader, manifest: Manifest) -> Iterator[tuple[Entry, Iterator[Bytes]]]:
    """Yield the files that are kept whole, each with the pieces of its bytes."""
    blobs = Blobs(reader)
    for entry in manifest.whole:
        assert isinstance(entry.place, Stored)
        yield entry, unpacked(entry.place, blobs)


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
    room.check()
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
    keys = Keys(reader)
    for number in volume_numbers(reader):
        volume = read_volume(reader, number)
        slabs_of_all = list(range(len(volume.layout.slabs)))
        with closing(decoder(reader, volume, slabs_of_all, key=keys.of(volume))) as slabs:
            sha = sha256_of(slabs)
        if sha != volume.sha256:
            raise DamagedError(f"volume {number} is damaged: the SHA-256 of its voxels does not fit")
        outcome.voxels += volume.voxels
        outcome.raw_bytes += volume.voxels * volume.layout.dtype.itemsize
    return outcome


class _Contents:
    """The files of an archive in stored order, each as pieces of bytes; reading a damaged one raises DamagedError.

    Slabs of keys are decoded once for all that refer to them, as far as memory for them suffices.
    """

    def __init__(
        self, reader: Reader, manifest: Manifest, decoder: Decoder, slices: slice | None, wanted: Wanted | None
    ) -> None:
        self._reader, self._manifest, self._decoder = reader, manifest, decoder
        self._slices, self._wanted = slices, wanted or (lambda entry: True)
        self._records = Records(reader)
        self._keys = Keys(reader)

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
            run = Run(self._reader, number, planes.pop(), max(place.end for _, place in images))
        except DamagedError as error:
            yield from ((entry, f"volume {number}", _failing(error)) for entry, _ in images)
            return
        if self._slices:
            chosen = range(run.depth)[self._slices]
            assert chosen.step == 1
            images = [(entry, place) for entry, place in images if run.has(place, chosen)]
        if run.is_turned:
            yield from ((entry, f"volume {number}", self._turned(run, place)) for entry, place in images)
            return
        numbers = sorted({k for _, place in images for k in run.slabs_of(place.first, place.end)})
        with ExitStack() as stack:
            decoded = [
                Slices(run.slabs, stack.enter_context(closing(run.decoded(plane, numbers, self._decode))))
                for plane in range(run.planes)
            ]
            for entry, place in images:
                yield entry, run.where(place), self._image(place, decoded)

    def _image(self, place: Voxels, decoded: list[Slices]) -> Iterator[Bytes]:
        yield from made(place, self._records.get(place), decoded)

    def _turned(self, run: Run, place: Voxels) -> Iterator[Bytes]:
        """Yield the bytes of an image whose slices lie in another order in their volume."""
        yield from turned(run, place, self._records.get(place), self._decode)

    def _decode(self, volume: Volume, numbers: list[int]) -> Generator[Slab]:
        """Decode slabs of a volume, and keep those that others refer to."""
        with closing(self._decoder(self._reader, volume, numbers, key=self._keys.of(volume))) as slabs:
            for k, voxels in slabs:
                if volume.number in self._referred and not isinstance(voxels, DamagedError):
                    self._keys.keep(volume.number, k, voxels)
                yield k, voxels
                del voxels  # or it would stay in memory until the next one comes

    @cached_property
    def _referred(self) -> set[int | None]:
        """The volumes that others refer to."""
        if self._reader.version == FORMAT_VERSION:
            return set()
        return {volume.key for volume in _sound_volumes(self._reader)}


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


def _failing(error: VolcompError) -> Iterator[Bytes]:
    yield b""  # a generator raises when it is read, not when it is made
    raise error
