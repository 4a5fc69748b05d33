"""Write images: group by group what is kept of them, the list of their files, and their volumes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np

from ..codec.decode import Progress, sha256_of
from ..codec.encode import progress_of, write_volume
from ..container.sections import Writer
from ..errors import DamagedError
from ..formats.protocol import Image
from ..formats.series import volumes
from ..options import EncodeOptions
from .entry import Entry, Voxels
from .estimate import is_graphics
from .header_writer import KeptWriter
from .ledger import Ledger, Mark, entry_of
from .restore import verify_images
from .stack import Coded, GivenUp, Stack
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


class ImageWriter:
    """Writes the sections of images, group by group."""

    def __init__(self, writer: Writer, ledger: Ledger, options: EncodeOptions, items: Mapping[str, Item]) -> None:
        self._writer, self._ledger, self._options, self._items = writer, ledger, options, items
        self._kept = KeptWriter(writer, ledger.begin.tables)
        self._volumes = ledger.begin.volumes  # numbers given
        self._entries: list[Entry] = []
        self._stacks: list[tuple[int, Stack, list[tuple[Entry, Coded]]]] = []  # of the group, with their first volumes
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
        for outcome in stack.read(self._ledger.pictures, self._ledger.places):
            if isinstance(outcome, GivenUp):
                given_up.append(outcome)
            else:
                entry = self._entry(outcome, number)
                self._entries.append(entry)
                coded.append((entry, outcome))
        if progress:  # what needs no work
            progress(work(images, self._options) - _work(stack.depth, images[0], self._options))
        if stack.depth:
            self._volumes += len(stack.planes)
        self._stacks.append((number, stack, coded))
        voxels = sum(len(stack.planes) * int(np.prod(stack.planes[0].shape)) for _, stack, _ in self._stacks)
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
            for number, stack, coded in self._stacks:
                if stack.depth:
                    self._write(number, stack, coded, progress)
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

    def _write(self, number: int, stack: Stack, coded: list[tuple[Entry, Coded]], progress: Progress) -> None:
        """Encode the planes of a stack; with `verify`, a slab is verified while later slabs are encoded."""
        start = self._writer.size
        native = all(one.image.reading is None and one.new for _, one in coded)
        # Frames of one file belong together, as runs of XA do, even where noise hides that; planes have the same slabs.
        loose = len(stack.planes) == 1 and all(one.image.frames == 1 for _, one in coded)
        for i, plane in enumerate(stack.planes):
            volume, slabs = write_volume(self._writer, number + i, plane, self._options, progress=progress, loose=loose)
            with closing(slabs):
                if self._options.verify and native:
                    verify_images(volume, [(entry, one.kept) for entry, one in coded], slabs)
                elif self._options.verify and sha256_of(slabs) != plane.sha256:
                    raise DamagedError(f"volume {number + i} is not what was read")
                for _ in slabs:
                    pass
            self.voxels += volume.voxels
        self.bytes += self._writer.size - start
