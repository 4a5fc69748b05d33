"""The slices of images that lie in one volume of every plane, or one after another in several: time points APART."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..bodies.protocol import Planes
from ..container.sections import Reader
from ..container.volume import Order, Volume, read_volume
from ..errors import DamagedError
from ..models import RELEASED, Catalogue
from .entry import Voxels
from .files import temporary_file

if TYPE_CHECKING:
    from ..codec.decode import Slab  # with what decodes, which those who only look at a file do without

    # Decodes slabs of a volume, by increasing numbers; the caller closes it.
    Decode = Callable[[Volume, list[int]], Generator[Slab]]

_BLOCK_BYTES = 1 << 22  # of slices that are read at once from the temporary file


class Run:
    """The volumes that some images begin in, and those that they go on in, as one run of slices.

    A file with several time points that are APART has its slices in one volume after another. All other images are in
    one volume of each plane.
    """

    def __init__(self, reader: Reader, number: int, planes: int, end: int, catalogue: Catalogue = RELEASED) -> None:
        """Read the headers of the first volumes.

        Parameters:
            reader: the archive.
            number: of the first volume.
            planes: how many the images have.
            end: the slice after the last one that an image has.
            catalogue: models.

        Raises:
            DamagedError: where the volumes do not go together, or have fewer slices.
        """
        self._reader, self._number, self._catalogue = reader, number, catalogue
        self.planes = planes
        self._first = first = read_volume(reader, number, catalogue)
        self._alike(range(number + 1, number + planes))
        depth = first.layout.shape[0]
        self.times, self.order = first.times or (1, Order.APART)
        self.volumes = self.times if end > depth and self.order == Order.APART else 1
        self.end = self.volumes * depth  # slices of the run
        if end > self.end or self.volumes > len(reader.places):
            raise DamagedError(f"volume {number} has fewer slices than its files")

    @property
    def depth(self) -> int:
        """Return the number of slices of a time point, or of the volume where there are none."""
        depth = self._first.layout.shape[0]
        return depth if self.order == Order.APART else depth // self.times

    @property
    def is_turned(self) -> bool:
        """Return whether files have the slices in another order than the volume."""
        return self.order == Order.TURNED

    @property
    def slabs(self) -> Sequence[tuple[int, int]]:
        """Return the first and the past-the-end slice of every slab of the run."""
        return _Slabs(self._first, self.volumes)

    def slabs_of(self, first: int, end: int) -> Iterator[int]:
        """Yield the numbers of the slabs that hold any of the slices `first` to `end` - 1."""
        depth, each = self._first.layout.shape[0], len(self._first.layout.slabs)
        for t in range(first // depth, -(-end // depth)):
            yield from (t * each + k for k in self._first.slabs_of(first - t * depth, end - t * depth))

    def has(self, place: Voxels, wanted: range) -> bool:
        """Return whether an image has any of some slices, counted within a time point."""
        if self.volumes > 1 or place.end - place.first > self.depth or self.order in (Order.AFTER, Order.TURNED):
            return bool(wanted)
        scale = self.times if self.order == Order.BESIDE else 1
        return place.first // scale < wanted.stop and (place.end - 1) // scale >= wanted.start

    def where(self, place: Voxels) -> str:
        """Return where an image is, for a sentence."""
        if self.volumes > 1:
            return f"volumes {self._number} to {self._number + self.volumes * self.planes - 1}"
        first, last = place.first, place.end - 1
        return (f"slice {first}" if first == last else f"slices {first} to {last}") + f" of volume {self._number}"

    def check(self) -> Iterator[int]:
        """Yield the numbers of all volumes. Raises DamagedError unless they are alike."""
        for t in range(self.volumes):
            numbers = range(self._number + t * self.planes, self._number + (t + 1) * self.planes)
            self._alike(numbers)
            yield from numbers

    def decoded(self, plane: int, numbers: list[int], decode: Decode) -> Generator[Slab]:
        """Decode slabs of one plane, by increasing numbers."""
        each = len(self._first.layout.slabs)
        for t, some in groupby(numbers, lambda k: k // each):
            number = self._number + t * self.planes + plane
            (volume,) = self._alike([number])
            with closing(decode(volume, [k - t * each for k in some])) as slabs:
                for k, voxels in slabs:
                    yield t * each + k, voxels
                    del voxels  # or it would stay in memory until the next one comes

    def turned(self, decode: Decode) -> Generator[Planes]:
        """Yield all slices in the order of the file that has them, from temporary files. Raises DamagedError."""
        with ExitStack() as stack:
            spools = [stack.enter_context(temporary_file()) for _ in range(self.planes)]
            words = [self._spool(plane, spool, decode) for plane, spool in enumerate(spools)]
            shape = self._first.layout.shape[1:]
            step = max(1, _BLOCK_BYTES // math.prod(shape))
            for first in range(0, self.end, step):
                count = min(step, self.end - first)
                yield [_read(spool, kind, (count, *shape)) for spool, kind in zip(spools, words, strict=True)]

    def _spool(self, plane: int, spool: BinaryIO, decode: Decode) -> np.dtype[np.generic]:
        """Write the slices of a plane to a file, in the order of files; return their type."""
        (volume,) = self._alike([self._number + plane])
        layout, size = volume.layout, math.prod(volume.layout.shape[1:]) * volume.layout.dtype.itemsize
        with closing(decode(volume, list(range(len(layout.slabs))))) as slabs:
            for k, voxels in slabs:
                if isinstance(voxels, DamagedError):
                    raise voxels
                for at, one in enumerate(voxels, layout.slabs[k][0]):
                    z, t = divmod(at, self.times)
                    spool.seek((t * self.depth + z) * size)
                    spool.write(np.ascontiguousarray(one).data)
                del voxels
        spool.seek(0)
        return layout.dtype

    def _alike(self, numbers: Sequence[int]) -> list[Volume]:
        """Read headers. Raises DamagedError unless they state shape and slabs of the first one."""
        found = [self._first if n == self._number else read_volume(self._reader, n, self._catalogue) for n in numbers]
        for volume in found:
            if (volume.layout.shape, volume.layout.slabs) != (self._first.layout.shape, self._first.layout.slabs):
                raise DamagedError(
                    f"volume {volume.number} has another shape or other slabs than volume {self._number}"
                )
        return found


class Slices:
    """Decoded slabs as a source of slices, which must be asked for in increasing order, or again one at a time."""

    def __init__(self, ranges: Sequence[tuple[int, int]], slabs: Iterator[Slab]) -> None:
        """`ranges`: first and past-the-end slice of every slab."""
        self._ranges, self._slabs = ranges, slabs
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


class _Slabs(Sequence[tuple[int, int]]):
    """The extents of the slabs of equal volumes one after another, made when they are asked for."""

    def __init__(self, volume: Volume, count: int) -> None:
        self._slabs, self._depth, self._count = volume.layout.slabs, volume.layout.shape[0], count

    def __len__(self) -> int:
        return self._count * len(self._slabs)

    def __getitem__(self, k: int) -> tuple[int, int]:  # type: ignore[override]
        t, k = divmod(k, len(self._slabs))
        first, end = self._slabs[k]
        return t * self._depth + first, t * self._depth + end


def _read(spool: BinaryIO, kind: np.dtype[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    words = np.empty(shape, kind)
    if spool.readinto(words.reshape(-1).view(np.uint8).data) != words.nbytes:  # type: ignore[attr-defined]
        raise DamagedError("a temporary file lost what was written to it; see that the disk is not full")
    return words
