"""A volume of an archive as a lazy array."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import numpy as np

from ..archive.opening import contents_of
from ..codec import decode as codec
from ..codec import layer
from ..codec.decode import Slab
from ..container.sections import SLAB, SectionId
from ..container.volume import Volume as Stored
from ..container.volume import read_volume
from ..errors import DamagedError, UnsupportedError, VolcompError
from ..formats.registry import format_of
from ..options import check_integer
from ..wording import spelled
from .apart import Apart, Joined
from .described import Described
from .indexing import take
from .rescale import Values, rescale_of, scale_of
from .samples import Samples, is_coded, is_plain, samples_of
from .stated import type_of


class Volume(Described):
    """One volume of an archive: an array that decodes what is asked of it, and no more.

    Indexes are those of numpy: `volume[40]`, `volume[10:20, 100:200]`, `volume[::-1, None]`. What comes back is a new
    array, or a scalar. `np.asarray(volume)` decodes all of it. A slab that was decoded is held for the next access, see
    `volcomp.open`. Any number of threads may read at once.

    Values are those that the files have in their pixels: `rescaled` makes of them what the headers say that they
    mean. Colours are the last axis, [Z, Y, X, 3]; words of 32 bits are one voxel.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x), of colours (z, y, x, components), of a two-dimensional array (y, x)."""
        shape = self._stored.layout.shape
        if self._stored.two_dimensional:
            return shape[1:]
        components = self._samples[0].components if self._samples else 1
        return (*shape, components) if components > 1 else shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its voxels."""
        return self._samples[0].type if self._samples else self._stored.layout.dtype

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all of them."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of its pieces along each axis, as Dask has them: a slab is decoded as a whole."""
        if self._stored.two_dimensional:
            return tuple((length,) for length in self.shape)
        return (tuple(b - a for a, b in self._stored.layout.slabs), *((length,) for length in self.shape[1:]))

    @property
    def slab_bytes(self) -> list[int]:
        """How many bytes of the file each slab takes, of all its planes."""
        reader = self._files.reader
        slabs = range(len(self._stored.layout.slabs))
        return [sum(reader.payload_size(SectionId(SLAB, plane.number, k)) for plane in self._planes) for k in slabs]

    @property
    def model(self) -> str:
        """The name of the model that coded it."""
        return self._stored.layout.model.name

    @property
    def coded_as_it_is(self) -> bool:
        """Whether its voxels are the words that the archive codes, of the same type."""
        return all(is_coded(found, self._stored.layout.dtype) for found in self._samples)

    @property
    def has_preview(self) -> bool:
        """Whether the archive has a lossy layer of it, which `preview` shows; see `volcomp.compress_files`."""
        return self._stored.layered

    def preview(self, z: int = 0, reduce: int = 0) -> np.ndarray:
        """Return slice z as its lossy layer shows it, of which alone is read: [y, x], of colours [y, x, components].

        Parameters:
            z: the slice; negative ones count from the end.
            reduce: halve the sides so many times.

        Raises:
            UnsupportedError: where the volume has no preview, no such slice, or numbers of which words are a part.
            DamagedError: where the preview is damaged.
        """
        check_integer("z", z, "the number of a slice")
        check_integer("reduce", reduce, "how many times to halve the sides, as 1")
        depth = self._stored.layout.shape[0]
        if not self.has_preview:
            raise UnsupportedError(f"{self._name} has no preview; one is made with {spelled('preview=16')}")
        if not -depth <= z < depth:
            raise UnsupportedError(f"{self._name} has slices 0 to {depth - 1}, and no slice {z}")
        z %= depth
        self._files.check()
        with contents_of(self._files.name):
            planes = [layer.preview(self._files.reader, plane, z, reduce) for plane in self._planes]
        if not self._samples:
            return planes[0]
        found = self._samples[z]
        if found.planes > 1 and found.components != found.planes:
            raise UnsupportedError(f"{self._name} has no preview: its words are parts of numbers")
        if found.type.kind == "f":
            raise UnsupportedError(f"{self._name} has no preview: its words are no grey levels")
        return np.asarray(found.join([plane[None] for plane in planes], z)[0])

    def rescaled(self, index: Any = Ellipsis) -> Any:
        """Return `volume[index]` as values: slope and intercept of each slice's header applied, in float64.

        The type is the same for the whole volume: int16 or int32 where slopes and intercepts are whole numbers, else
        float32. The sign is that of the header, and bits beyond those stored do not count where they hold an overlay.
        Colours are as they are. `scl_slope` and `scl_inter` of NIfTI give float64, as nibabel applies them; without
        them, and of other formats than these, numbers are as they are.

        Parameters:
            index: as in `volume[index]`; a slice of slices for instance.

        Raises:
            UnsupportedError: where a table makes values of samples.
        """
        rescale = self._rescale
        if rescale is None:
            return self[index]

        def values(first: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
            for begin, block in self._blocks(first, end):
                low, high = max(first - begin, 0), min(end - begin, len(block))
                yield begin + low, rescale.values(block[low:high], begin + low)

        return take(index, self.shape, rescale.dtype, values)

    @property
    def rescaled_dtype(self) -> np.dtype[Any]:
        """The type of what `rescaled` returns."""
        return self._rescale.dtype if self._rescale else self.dtype

    @property
    def threads(self) -> int | None:
        """How many threads decode; None for one per core."""
        return self._files.options.threads

    def save(
        self, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
    ) -> tuple[int, ...]:
        """Write its values as NIfTI, NRRD, MetaImage, TIFF, `.npy` or `.zarr`, by the suffix; see `convert.save`."""
        from .convert import save

        return save(self, target, slices, force=force)

    def to_sitk(self, *, geometry: bool = True) -> Any:
        """Return a SimpleITK.Image with values, origin, spacing and direction; see `images.to_sitk`."""
        from .images import to_sitk

        return to_sitk(self, geometry=geometry)

    def to_nibabel(self, *, geometry: bool = True) -> Any:
        """Return a nibabel.Nifti1Image with values and affine; see `images.to_nibabel`."""
        from .images import to_nibabel

        return to_nibabel(self, geometry=geometry)

    def __getitem__(self, index: Any) -> Any:
        if self._stored.two_dimensional:
            return take(
                (0, *(index if isinstance(index, tuple) else (index,))), (1, *self.shape), self.dtype, self._blocks
            )
        return take(index, self.shape, self.dtype, self._blocks)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[z] for z in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array of a volume is always a copy: its voxels are decoded")
        found: np.ndarray = self[...]
        return found if dtype is None else found.astype(dtype, copy=False)

    def __repr__(self) -> str:
        if self._files.closed:
            return f"<volcomp.Volume {self._name!r}, closed>"
        try:
            return f"<volcomp.Volume {self._name!r}: {'×'.join(map(str, self.shape))} {self.dtype}>"
        except VolcompError as error:
            return f"<volcomp.Volume: {error}>"

    def __dask_tokenize__(self) -> Any:
        # Planes may be equal where tables, or bits beside them, are not.
        files = [entry.sha256.hex() for entry in self._images] if self._samples else []
        return "volcomp", self._stored.sha256.hex(), self._stored.section, self.shape, str(self.dtype), files

    def __reduce__(self) -> Any:
        from .archive import again

        if self._files.source is None:
            raise TypeError(
                f"a volume of {self._files.name} cannot be pickled: only a path or a URL can be opened again"
            )
        return again, (self._files.source, self._number, self._files.options)

    @cached_property
    def _planes(self) -> list[Stored]:
        """The volumes of the archive that it is made of."""
        place = self._place
        more = range(self._number + 1, self._number + (place.planes if place else 1))
        planes = [self._stored, *(read_volume(self._files.reader, number) for number in more)]
        for plane in planes:
            if (plane.layout.shape, plane.layout.slabs) != (self._stored.layout.shape, self._stored.layout.slabs):
                raise DamagedError(
                    f"{self._files.name}: volume {plane.number} has another shape or other slabs than the other planes"
                )
        return planes

    @cached_property
    def _samples(self) -> list[Samples]:
        """How the samples of each slice are made; empty where there is one plane, whose words are samples."""
        first = self._place
        places = [self._place_of(entry) for entry in self._images]
        if first is None:
            return []
        of_dicom = self._facts is None and format_of(self._files.kept(first).before) is None
        if of_dicom and first.planes == 1 and all(is_plain(place.body) for place in places):
            return []
        made: list[Samples] = []
        for entry, place in zip(self._images, places, strict=True):
            if place.end <= len(made):  # equal voxels in another file
                continue
            try:
                kept, words = self._files.kept(place), self._stored.layout.dtype
                if not of_dicom and place.planes == 1:
                    size = place.frames * math.prod(self._stored.layout.shape[1:]) * words.itemsize
                    words = type_of(self._facts, kept, entry.name, size, words)
                again = partial(lambda place: self._files.kept(place).side, place)
                found = samples_of(place.body, kept.side, place.first, words, again)
            except UnsupportedError as error:
                raise UnsupportedError(f"{self._name} is no array: {entry.name}: {error}") from None
            if place.planes != first.planes or found.planes != first.planes:
                raise DamagedError(f"{self._files.name}: {entry.name} has other planes than its kept bytes say")
            if made and (found.type, found.components) != (made[0].type, made[0].components):
                raise UnsupportedError(f"{self._name} has images of several types of samples, and is no array")
            made += [found] * (place.end - len(made))
        if len(made) < self._depth:
            raise DamagedError(f"{self._files.name}: volume {self._number} has more slices than its files")
        return made

    @cached_property
    def _rescale(self) -> Values | None:
        """How its samples become values; None where they are values already."""
        if self._facts:
            return scale_of(self._facts)
        if self._header is None or (self._samples and self._samples[0].components > 1):
            return None
        runs = self._stored.layout.runs
        bounds = None if self._samples else (int(runs[0, 0]), int(runs[-1, 1]) - 1)
        alone = any(found.picture_alone for found in self._samples)
        try:
            return rescale_of(self._frames, self._header, self.dtype, bounds, picture_alone=alone)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self._name} has no values: {error}") from None

    def _blocks(self, begin: int, stop: int) -> Generator[tuple[int, np.ndarray]]:
        """Yield blocks of samples [z, Y, X] or [z, Y, X, components] that hold the slices `begin` to `stop` - 1."""
        self._files.check()
        numbers = self._stored.slabs_of(begin, stop)
        ranges = self._stored.layout.slabs
        if any(isinstance(found, Apart) for found in self._samples):
            with contents_of(self._files.name):
                for k, slab in self._files.slabs.get(self._as_numbers, numbers, self._joined.decode):
                    yield ranges[k][0], slab
                    del slab
            return
        if not self._samples:
            with contents_of(self._files.name), closing(self._slabs(self._stored, numbers)) as slabs:
                for k, slab in slabs:
                    yield ranges[k][0], slab
                    del slab
            return
        for k in numbers:  # all planes of a slab together
            planes: list[np.ndarray] = []
            for plane in self._planes:
                with contents_of(self._files.name), closing(self._slabs(plane, [k])) as slabs:
                    planes += [slab for _, slab in slabs]
            at, end = ranges[k]
            for found, run in groupby(self._samples[at:end]):
                count = len(list(run))
                yield at, found.join([plane[at - ranges[k][0] :][:count] for plane in planes], at)
                at += count

    @cached_property
    def _joined(self) -> Joined:
        """Its slabs as samples, where bits of these lie beside its planes."""

        def planes(k: int) -> list[np.ndarray]:
            found: list[np.ndarray] = []
            for plane in self._planes:
                with closing(self._slabs(plane, [k])) as slabs:
                    found += [slab for _, slab in slabs]
            return found

        return Joined(self._samples, self._stored.layout.slabs, planes)

    def _slabs(self, plane: Stored, numbers: list[int]) -> Generator[tuple[int, np.ndarray]]:
        def decode(wanted: list[int]) -> Generator[Slab]:
            key = self._files.keys.of(plane)
            return codec.decode_volume(self._files.reader, plane, wanted, self._files.options, key=key)

        return self._files.slabs.get(plane.number, numbers, decode)
