"""A series in time as a lazy array (t, z, y, x): of a file, of files, or an array that was compressed."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from ..archive.entry import Entry
from ..archive.opening import contents_of
from ..container.sections import SLAB, Reader, SectionId
from ..container.volume import Order, Times, read_volume
from ..container.volume import Volume as Stored
from ..errors import DamagedError, UnsupportedError
from ..formats.facts import Facts
from ..formats.geometry import Geometry, geometry_of
from ..wording import spelled
from .apart import Apart, Joined
from .indexing import take_times
from .shared import Files
from .stated import geometry_of_facts
from .volume import Volume


class Series(Volume):
    """The time points of a series, each a volume of the same shape: an array (t, z, y, x) or (t, z, y, x, colour).

    Where time points refer to each other, a slice takes a slab of its own time point and at most one of another. Where
    those of a slice are side by side, it takes one slab, but a time point takes as many as the whole array.
    """

    def __init__(self, files: Files, number: int, name: str, images: list[Entry], times: Times) -> None:
        """Use `volcomp.open`. `images` are in the order of time points, then slices, and have their places so."""
        super().__init__(files, number, name, images)
        self._times = times

    @property
    def shape(self) -> tuple[int, ...]:
        """(t, z, y, x), of colours (t, z, y, x, components)."""
        return (self._times.points, self._height, *super().shape[1:])

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of its pieces along each axis, as Dask has them: one time point of a slab, or all of a slice."""
        t, z, *others = self.shape
        rest = tuple((length,) for length in others)
        if self._times.order == Order.APART:
            return ((1,) * t, tuple(b - a for a, b in self._stored.layout.slabs), *rest)
        if self._times.order == Order.AFTER:
            return ((1,) * t, (z,), *rest)
        return ((t,), (1,) * z, *rest)

    @property
    def slab_bytes(self) -> list[int]:
        """How many bytes of the file each slab takes, of all its planes, in the order of the volumes."""
        reader, slabs = self._files.reader, range(len(self._stored.layout.slabs))
        volumes = self._times.points if self._times.order == Order.APART else 1
        return [
            sum(reader.payload_size(SectionId(SLAB, self._number_of(t, plane), k)) for plane in range(self._wide))
            for t in range(volumes)
            for k in slabs
        ]

    def rescaled(self, index: Any = Ellipsis) -> Any:
        """Return `volume[index]` as values; see `Volume.rescaled`."""
        return take_times(index, self.shape, self.rescaled_dtype, self.values)

    def values(self, times: range, begin: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the slices `begin` to `stop` - 1 of time points, and more of them, as (t, first slice, values [z, …]),
        in the order of their slabs."""
        rescale = self._rescale
        for t, z, block in self._pieces(times, begin, stop):
            yield t, z, rescale.values(block, t * self._height + z) if rescale else block
            del block

    @property
    def times(self) -> int:
        """How many time points it has, along its first axis."""
        return self._times.points

    @property
    def seconds(self) -> float:
        """The time from one time point to the next; 0 where it is not known."""
        return self._facts.seconds if self._facts else 0.0

    @property
    def is_beside(self) -> bool:
        """Whether the time points of a slice are side by side, so that a slab has several of them."""
        return self._times.order in (Order.BESIDE, Order.TURNED)

    def save(
        self, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
    ) -> tuple[int, ...]:
        """Write its values as `.npy`, `.nii` or `.nii.gz`, by the suffix; `slices` are those of every time point."""
        from .series_files import save

        return save(self, target, slices, force=force)

    def to_sitk(self, *, geometry: bool = True) -> Any:
        """Return a SimpleITK.Image of four dimensions, x, y, z, t; see `images.to_sitk`."""
        from .series_files import to_sitk

        return to_sitk(self, geometry=geometry)

    def to_nibabel(self, *, geometry: bool = True) -> Any:
        """Return a nibabel.Nifti1Image [x, y, z, t] with values and affine; see `images.to_nibabel`."""
        from .series_files import to_nibabel

        return to_nibabel(self, geometry=geometry)

    def __getitem__(self, index: Any) -> Any:
        return take_times(index, self.shape, self.dtype, self._pieces)

    def __dask_tokenize__(self) -> Any:
        points = range(self._times.points if self._times.order == Order.APART else 1)
        digest = hashlib.sha256(b"".join(self._volume(t, 0).sha256 for t in points)).hexdigest()
        return "volcomp", digest, self._stored.section, self.shape, str(self.dtype)

    @property
    def _depth(self) -> int:
        return self._times.points * self._height

    @property
    def _height(self) -> int:
        """The slices of a time point."""
        depth = self._stored.layout.shape[0]
        return depth if self._times.order == Order.APART else depth // self._times.points

    @property
    def _wide(self) -> int:
        """The number of planes."""
        return self._place.planes if self._place else 1

    @cached_property
    def _geometry(self) -> Geometry:
        """Where the voxels of its first time point lie."""
        try:
            if self._facts:
                return geometry_of_facts(self._facts, self._depth)
            return geometry_of(self._frames_of(self._height))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self._name} has no place in space: {error}") from None

    @cached_property
    def _facts(self) -> Facts | None:
        """What the header of its one file states, if it is of another format than DICOM."""
        facts = self._files.facts(self._images[0]) if self._images else None
        voxels = self._depth * math.prod(self._stored.layout.shape[1:])
        return facts if facts and voxels in (facts.count, math.prod(facts.shape)) else None

    @cached_property
    def _joined(self) -> Joined:
        """Its slabs as samples, in the order of the file, where bits of these lie beside its planes."""
        ranges, depth = self._stored.layout.slabs, self._stored.layout.shape[0]
        volumes = self._times.points if self._times.order == Order.APART else 1

        def planes(k: int) -> list[np.ndarray]:
            t, k = divmod(k, len(ranges))
            of_t = [self._volume(t, plane) for plane in range(self._wide)]
            return next(found for _, found in self._planes_of_slabs(of_t, [k]))

        return Joined(
            self._samples, [(t * depth + a, t * depth + b) for t in range(volumes) for a, b in ranges], planes
        )

    def _number_of(self, t: int, plane: int) -> int:
        return self._number + plane + (t * self._wide if self._times.order == Order.APART else 0)

    def _volume(self, t: int, plane: int) -> Stored:
        """Return the volume of the archive that has a plane of a time point. Raises DamagedError."""
        number = self._number_of(t, plane)
        if number == self._number:
            return self._stored
        with contents_of(self._files.name):
            volume, first = read_volume(self._files.reader, number), self._stored
        if (volume.layout.shape, volume.layout.slabs) != (first.layout.shape, first.layout.slabs):
            raise DamagedError(f"{self._files.name}: volume {number} has another shape or other slabs than volume "
                               f"{self._number}, of the same series")  # fmt: skip
        if volume.layout.dtype.itemsize != first.layout.dtype.itemsize or volume.time_point != first.time_point:
            raise DamagedError(f"{self._files.name}: volume {number} is no time point of the same series")
        return volume

    def _pieces(self, times: range, begin: int, stop: int) -> Generator[tuple[int, int, np.ndarray]]:
        """Yield the slices `begin` to `stop` - 1 of time points as (t, first slice, samples [z, Y, X] or [z, Y, X, c]),
        and more of them."""
        self._files.check()
        height, points = self._height, self._times.points
        if any(isinstance(found, Apart) for found in self._samples):
            yield from self._numbers(times, begin, stop)
            return
        if self._times.order == Order.APART:
            for t in times:
                volumes = [self._volume(t, plane) for plane in range(self._wide)]
                for first, block in self._planes_of_slabs(volumes, volumes[0].slabs_of(begin, stop)):
                    yield from self._samples_of(t, first, block)
            return
        volumes = [self._volume(0, plane) for plane in range(self._wide)]
        if self._times.order == Order.AFTER:
            wanted = {k for t in times for k in volumes[0].slabs_of(t * height + begin, t * height + stop)}
            for first, block in self._planes_of_slabs(volumes, sorted(wanted)):
                for t in range(first // height, -(-(first + len(block[0])) // height)):
                    z = max(first - t * height, 0)
                    part = [one[t * height + z - first : (t + 1) * height - first] for one in block]
                    if t in times:
                        yield from self._samples_of(t, z, part)
            return
        places = np.add.outer(np.arange(begin, stop) * points, np.asarray(times, np.int64))
        for first, block in self._planes_of_slabs(volumes, np.unique(self._slab_numbers[places]).tolist()):
            for t in times:
                at = (t - first) % points
                if at < len(block[0]):
                    yield from self._samples_of(t, (first + at) // points, [one[at::points] for one in block])

    def _numbers(self, times: range, begin: int, stop: int) -> Generator[tuple[int, int, np.ndarray]]:
        """Yield as `_pieces` does, of numbers whose lower bits lie beside the volumes in the order of the file."""
        if self.is_beside:
            raise UnsupportedError(
                f"the lower bits of numbers of {self._name} lie in another order than its slices; "
                f"{spelled('volcomp.decompress_files')} gives the file itself"
            )
        ranges, height = self._stored.layout.slabs, self._height
        if self._times.order == Order.APART:
            runs = {t * len(ranges) + k: t for t in times for k in self._stored.slabs_of(begin, stop)}
        else:
            runs = {k: 0 for t in times for k in self._stored.slabs_of(t * height + begin, t * height + stop)}
        with contents_of(self._files.name):
            for k, slab in self._files.slabs.get(self._as_numbers, sorted(runs), self._joined.decode):
                first = runs[k] * height + ranges[k % len(ranges)][0]
                for t in range(first // height, -(-(first + len(slab)) // height)):
                    z = max(first - t * height, 0)
                    if t in times:
                        yield t, z, slab[t * height + z - first : (t + 1) * height - first]
                del slab

    @cached_property
    def _slab_numbers(self) -> np.ndarray:
        """The number of the slab that has each slice of the first volume."""
        heights = [b - a for a, b in self._stored.layout.slabs]
        return np.repeat(np.arange(len(heights)), heights)

    def _planes_of_slabs(self, volumes: list[Stored], numbers: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yield the planes [z, Y, X] of slabs, with their first slice."""
        ranges = volumes[0].layout.slabs
        if len(volumes) == 1:  # several at a time
            with contents_of(self._files.name), closing(self._slabs(volumes[0], list(numbers))) as slabs:
                for k, slab in slabs:
                    yield ranges[k][0], [slab.view(self._stored.layout.dtype)]
                    del slab
            return
        for k in numbers:
            planes: list[np.ndarray] = []
            for volume in volumes:
                with contents_of(self._files.name), closing(self._slabs(volume, [k])) as slabs:
                    planes += [slab for _, slab in slabs]
            yield ranges[k][0], planes

    def _samples_of(self, t: int, z: int, planes: list[np.ndarray]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the samples of slices of a time point, those that are made in one way together."""
        if not self._samples:
            yield t, z, planes[0]
            return
        at, done = t * self._height + z, 0
        for found, run in groupby(self._samples[at : at + len(planes[0])]):
            count = len(list(run))
            yield t, z + done, found.join([plane[done : done + count] for plane in planes], at + done)
            done += count


def times_of_array(reader: Reader, numbers: Sequence[int]) -> Times | None:
    """Return the time points of an array (t, z, y, x); None where the volumes of a file are something else."""
    with suppress(DamagedError):
        if numbers and read_volume(reader, numbers[0]).time_point:
            return Times(numbers[-1] + 1, Order.APART)
    return None
