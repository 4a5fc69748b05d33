"""Write images: group by group what is kept of them, the list of their files, and their volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np

from ..codec.decode import Progress, Slab, sha256_of
from ..codec.encode import progress_of, write_volume
from ..container.sections import SERIES_VERSION, Writer
from ..container.volume import Order, Volume
from ..errors import DamagedError
from ..formats.protocol import Image
from ..formats.series import time_points, volumes
from ..options import EncodeOptions
from .entry import Entry, Voxels
from .estimate import is_graphics
from .header_writer import KeptWriter
from .ledger import Ledger, Mark, entry_of
from .restore import verify_images
from .stack import Coded, GivenUp, Stack
from .times import Layout, layout_of
from .tree import Item

# A group closes once it keeps this much, or has this many voxels: small series share a table of headers, which LZMA
# compresses together, and large ones are damaged alone.
_ENOUGH_KEPT, _ENOUGH_VOXELS = 256 << 10, 64 << 20


def work(images: list[Image], options: EncodeOptions) -> int:
    """Return how many voxels are reported in total as progress on a stack of images."""
    return _work(sum(image.frames for image in images), images[0], options)


def _work(slices: int, image: Image, options: EncodeOptions) -> int:
    size = slices * image.rows * image.columns
    return image.planes * (progress_of(size, options.effort) + size * options.verify) if slices else 0


@dataclass
class _Series:
    """A stack of the group."""

    number: int  # of its first volume
    stack: Stack
    coded: list[tuple[Entry, Coded]]
    layout: Layout | None  # of time points

    def volume_of(self, t: int, plane: int) -> int:
        """Return the number of the volume of a plane of a time point."""
        return self.number + t * len(self.stack.planes) + plane


class ImageWriter:
    """Writes the sections of images, group by group."""

    def __init__(self, writer: Writer, ledger: Ledger, options: EncodeOptions, items: Mapping[str, Item]) -> None:
        self._writer, self._ledger, self._options, self._items = writer, ledger, options, items
        self._kept = KeptWriter(writer, ledger.begin.tables)
        self._volumes = ledger.begin.volumes  # numbers given
        self._entries: list[Entry] = []
        self._stacks: list[_Series] = []  # of the group
        self._open = ExitStack()
        self.voxels = 0
        self.bytes = 0  # of VHDR and SLAB sections

    def add(self, images: list[Image], progress: Progress) -> dict[str, str]:
        """Read the images of one series, and write their group once it is large enough.

        Returns:
            Why files must be kept whole, by their names.
        """
        if is_graphics(images):
            progress(work(images, self._options))
            return {image.name: "it is graphics, which a general codec makes smaller" for image in images}
        given_up = self._add(images, progress)
        for stack in volumes(given.instead for given in given_up if given.instead):
            given_up += self._add(stack, None)
        return {given.image.name: given.reason for given in given_up if not given.instead}

    def _add(self, images: list[Image], progress: Progress | None) -> list[GivenUp]:
        stack = self._open.enter_context(closing(Stack(images, self._options.threads)))
        number, coded = self._volumes, []
        given_up: list[GivenUp] = []
        known = self._ledger.pictures
        if time_points(images) > 1:  # slices of time points may be equal, and each is in its place all the same
            known = dict(known)
        for outcome in stack.read(known, self._ledger.places):
            if isinstance(outcome, GivenUp):
                given_up.append(outcome)
            else:
                coded.append((self._entry(outcome, number), outcome))
        if progress:  # what needs no work
            progress(work(images, self._options) - _work(stack.depth, images[0], self._options))
        layout = layout_of(stack, [outcome for _, outcome in coded if outcome.new], self._options)
        if layout:
            coded = [(self._moved(entry, outcome, number, layout), outcome) for entry, outcome in coded]
        self._entries += [entry for entry, _ in coded]
        if stack.depth:
            self._volumes += len(stack.planes) * (layout.volumes if layout else 1)
        self._stacks.append(_Series(number, stack, coded, layout))
        voxels = sum(len(one.stack.planes) * int(np.prod(one.stack.planes[0].shape)) for one in self._stacks)
        if self._kept.size >= _ENOUGH_KEPT or voxels >= _ENOUGH_VOXELS:
            self.flush(progress or (lambda done: None))
        return given_up

    @property
    def is_at_rest(self) -> bool:
        """Return whether no group is open."""
        return not self._stacks

    def mark(self) -> tuple[Mark, tuple[int, int, int, int]]:
        """Return what `rewind` needs to come back here. No group may be open."""
        return self._ledger.mark(), (self._kept.table, self._volumes, self.voxels, self.bytes)

    def rewind(self, mark: tuple[Mark, tuple[int, int, int, int]]) -> None:
        """Take back all images that were added since a mark."""
        self._open.close()
        self._open, self._entries, self._stacks = ExitStack(), [], []
        ledger, (table, self._volumes, self.voxels, self.bytes) = mark
        self._ledger.rewind(ledger)
        self._kept = KeptWriter(self._writer, table)

    def close(self) -> None:
        """Remove the temporary files of a group that was not written, after an error."""
        self._open.close()

    def flush(self, progress: Progress) -> None:
        """Write the group."""
        with self._open:
            self._kept.flush()
            if self._entries:
                self._ledger.list_entries(self._entries)
            for one in self._stacks:
                if one.stack.depth:
                    self._write(one, progress)
        self._open, self._entries, self._stacks = ExitStack(), [], []

    def _entry(self, coded: Coded, volume: int) -> Entry:
        """Return the entry of an image; keep the bytes beside its voxels unless the same file is in the archive."""
        ledger, item = self._ledger, self._items[coded.image.name]
        if coded.sha256 in ledger.places:
            return entry_of(item, coded.size, coded.sha256, ledger.places[coded.sha256])
        kept = coded.kept
        table, row = self._kept.add(coded.image.format, kept)
        picture = Voxels(volume, coded.first, coded.frames, table, row, len(kept.before), len(kept.side))
        if coded.new:
            ledger.pictures[coded.picture] = replace(picture, planes=coded.image.planes)
        known = ledger.pictures[coded.picture]
        place = replace(
            picture, volume=known.volume, first=known.first, frames=known.frames, planes=known.planes, body=coded.body
        )
        ledger.note_kept(place, kept)
        ledger.places[coded.sha256] = place
        return entry_of(item, coded.size, coded.sha256, place)

    def _moved(self, entry: Entry, coded: Coded, volume: int, layout: Layout) -> Entry:
        """Note that an image of a stack is where a layout puts it; return its entry. `volume`: where it was to be."""
        if not isinstance(entry.place, Voxels) or entry.place.volume != volume:  # a copy of one in another volume
            return entry
        place = layout.moved(entry.place)
        self._ledger.places[coded.sha256] = place
        if coded.new:
            known = self._ledger.pictures[coded.picture]
            self._ledger.pictures[coded.picture] = replace(known, volume=place.volume, first=place.first)
        return replace(entry, place=place)

    def _write(self, one: _Series, progress: Progress) -> None:
        """Encode the planes of a stack, as one volume each or as time points."""
        start = self._writer.size
        if one.layout:
            self._writer.need(SERIES_VERSION)
        # Frames of one file belong together, as runs of XA do, and so do slices with a place in space, even where noise
        # hides that; planes have the same slabs.
        pictures = (coded.image for _, coded in one.coded)
        loose = len(one.stack.planes) == 1 and all(image.frames == 1 and image.position is None for image in pictures)
        for i, plane in enumerate(one.stack.planes):
            if one.layout:
                self._write_times(one, i, one.layout, progress)
                continue
            volume, slabs = write_volume(
                self._writer, one.number + i, plane, self._options, progress=progress, loose=loose
            )  # fmt: skip
            self._finish(volume, slabs, plane.sha256, one.coded)
        self.bytes += self._writer.size - start

    def _write_times(self, one: _Series, i: int, layout: Layout, progress: Progress) -> None:
        """Encode plane `i` of a series in time."""
        plane, apart = one.stack.planes[i], layout.times.order == Order.APART
        sha = hashlib.sha256()  # of decoded voxels, in the order of the stack
        images: dict[int, list[tuple[Entry, Coded]]] = {}  # by the volume that they are in
        if (
            layout.now == Order.BESIDE or layout.times.order == Order.AFTER
        ):  # else one file is in all of them, or turned
            for entry, coded in one.coded:
                assert isinstance(entry.place, Voxels)
                images.setdefault(entry.place.volume + i, []).append((entry, coded))
        planned = layout.plan(plane, self._options)
        for t, (source, key) in enumerate(zip(layout.sources(plane), planned, strict=True)):
            number = one.volume_of(t, i)
            volume, slabs = write_volume(
                self._writer, number, source, self._options, progress=progress,
                times=None if t else layout.times,
                key=None if key is None else (one.volume_of(key, i), layout.time_point(plane, key)),
            )  # fmt: skip
            self._finish(volume, _hashed(slabs, sha), source.sha256, images.get(number, []))
        if self._options.verify and apart and layout.now == Order.AFTER and sha.digest() != plane.sha256:
            raise DamagedError(f"the time points from volume {one.number + i} on are not what was read")

    def _finish(self, volume: Volume, slabs: Generator[Slab], sha256: bytes, coded: list[tuple[Entry, Coded]]) -> None:
        """Write slabs; with `verify`, a slab is verified while later slabs are encoded."""
        native = bool(coded) and all(one.image.reading is None and one.new for _, one in coded)
        with closing(slabs):
            if self._options.verify and native:
                verify_images(volume, [(entry, one.kept) for entry, one in coded], slabs)
            elif self._options.verify and sha256_of(slabs) != sha256:
                raise DamagedError(f"volume {volume.number} is not what was read")
            for _ in slabs:
                pass
        self.voxels += volume.voxels


def _hashed(slabs: Generator[Slab], sha: hashlib._Hash) -> Generator[Slab]:
    """Add the voxels of slabs to a digest."""
    with closing(slabs):
        for k, voxels in slabs:
            if not isinstance(voxels, DamagedError):
                sha.update(np.ascontiguousarray(voxels).data)
            yield k, voxels
            del voxels  # which would else stay in memory until the next ones arrive
