"""A volume of an archive as a lazy array."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..archive.entry import Entry, Voxels
from ..archive.opening import contents_of
from ..codec import decode as codec
from ..codec.decode import Slab
from ..container.sections import SLAB, SectionId
from ..container.volume import Volume as Stored
from ..container.volume import read_volume
from ..dtypes import Float64s
from ..errors import DamagedError, UnsupportedError, VolcompError
from ..formats.dicom import quiet
from ..formats.facts import Facts
from ..formats.frames import Frame, Header, parse, read_header
from ..formats.geometry import Geometry, Spacing, geometry_of, spacing_of
from ..formats.registry import format_of
from ..wording import spelled
from .apart import Apart, Joined
from .indexing import take
from .rescale import Values, rescale_of, scale_of
from .samples import Samples, is_coded, is_plain, samples_of
from .shared import Files
from .stated import geometry_of_facts, type_of

if TYPE_CHECKING:
    import pydicom

_COUNT = itertools.count()


class Volume:
    """One volume of an archive: an array that decodes what is asked of it, and no more.

    Indexes are those of numpy: `volume[40]`, `volume[10:20, 100:200]`, `volume[::-1, None]`. What comes back is a new
    array, or a scalar. `np.asarray(volume)` decodes all of it. A slab that was decoded is held for the next access, see
    `volcomp.open`. Any number of threads may read at once.

    Values are those that the files have in their pixels: `rescaled` makes of them what the headers say that they
    mean. Colours are the last axis, [Z, Y, X, 3]; words of 32 bits are one voxel.
    """

    def __init__(self, files: Files, number: int, name: str, images: list[Entry]) -> None:
        """Use `volcomp.open`.

        Parameters:
            files: the archive.
            number: of the first of its volumes.
            name: of the volume.
            images: the files that lie in it, in the order of their slices; none in an archive of arrays.
        """
        self._files, self._number, self._name, self._images = files, number, name, images
        self._as_numbers = -1 - next(_COUNT)  # in the place of a volume's number, among the slabs that are held

    @property
    def name(self) -> str:
        """The folder of its files, or the file that it is; "volume 0" in an archive of arrays."""
        return self._name

    @property
    def number(self) -> int:
        """Its number, as `volcomp info` shows it: that of its first plane, where it has several."""
        return self._number

    @property
    def files(self) -> list[str]:
        """The names of the files that lie in it, in the order of their slices."""
        return [entry.name for entry in self._images]

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
    def headers(self) -> list[pydicom.Dataset]:
        """The DICOM headers of its files, in the order of their slices, without pixels; parsed at every access.

        Raises UnsupportedError where a file is no DICOM file.
        """
        return [self._parsed(entry) for entry in self._images]

    @property
    def series(self) -> str:
        """The SeriesInstanceUID of its first file; empty where there is none."""
        return self._header.series if self._header else ""

    @property
    def modality(self) -> str:
        """The modality of its first file; empty where there is none."""
        return self._header.modality if self._header else ""

    @property
    def description(self) -> str:
        """The SeriesDescription of its first file; empty where there is none."""
        return self._header.description if self._header else ""

    @property
    def coded_as_it_is(self) -> bool:
        """Whether its voxels are the words that the archive codes, of the same type."""
        return all(is_coded(found, self._stored.layout.dtype) for found in self._samples)

    @property
    def times(self) -> int:
        """How many volumes follow each other along its slices, as the time points of a 4-D file do; 1 of all others."""
        facts = self._facts
        return facts.times if facts and facts.depth * facts.times == self._stored.layout.shape[0] else 1

    @property
    def seconds(self) -> float:
        """The time from one of these to the next; 0 where it is not known."""
        return self._facts.seconds if self._facts and self.times > 1 else 0.0

    @property
    def geometry(self) -> Geometry:
        """Where its voxels lie, by the headers of all its slices.

        Of a file of another format than DICOM it is the place that its header states, of the first time point where it
        has several. Raises UnsupportedError where there is no such place: missing or unequal headers, uneven spacing,
        several images at one place.
        """
        return self._geometry

    @property
    def affine(self) -> Float64s:
        """The matrix [4, 4] that takes (column, row, slice, 1) to mm in RAS, NIfTI's coordinates.

        Indexes are in the opposite order to those of the array: `affine @ (x, y, z, 1)` is the place of `volume[z, y,
        x]`. Raises as `geometry`.
        """
        return self._geometry.affine

    @property
    def spacing(self) -> Spacing:
        """The distances of neighbouring voxels along z, y, x in mm; None for what headers do not say, or unevenly."""
        if self._facts:
            return self._facts.spacing or (None, None, None)
        try:
            return spacing_of(self._frames)
        except UnsupportedError:  # some headers cannot be read
            in_plane = self._header.frames[0].spacing if self._header else None
            return (None, *in_plane) if in_plane else (None, None, None)  # type: ignore[return-value]

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
    def _stored(self) -> Stored:
        self._files.check()
        with contents_of(self._files.name):
            return read_volume(self._files.reader, self._number)

    @property
    def _depth(self) -> int:
        """The number of its slices, of all time points."""
        return self._stored.layout.shape[0]

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

    @property
    def _place(self) -> Voxels | None:
        place = self._images[0].place if self._images else None
        assert place is None or isinstance(place, Voxels)
        return place

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
    def _facts(self) -> Facts | None:
        """What the header of a whole volume of another format than DICOM states."""
        facts = self._files.facts(self._images[0]) if self._images else None
        voxels = math.prod(self._stored.layout.shape)
        return facts if facts and voxels in (facts.count, math.prod(facts.shape)) else None

    @cached_property
    def _header(self) -> Header | None:
        """The header of its first image."""
        return self._header_of(self._images[0]) if self._images else None

    @cached_property
    def _frames(self) -> list[Frame]:
        """What headers say of each slice, that of the first file where several share one. Raises UnsupportedError."""
        return self._frames_of(self._depth)

    def _frames_of(self, depth: int) -> list[Frame]:
        """What headers say of the first slices; see `_frames`."""
        frames: list[Frame | None] = [None] * depth
        for entry in self._images:
            place = self._place_of(entry)
            if place.first >= depth:
                continue
            if frames[place.first] is not None:  # of a copy
                continue
            header = self._header_of(entry)
            if header is None:
                raise UnsupportedError(
                    f"{entry.name} has no DICOM header that can be read, and no other header is; "
                    f"{spelled('volcomp.decompress_files')} gives the file itself"
                )
            frames[place.first : place.end] = header.frames[: depth - place.first]
        if not self._images or None in frames:
            raise UnsupportedError(f"{self._name} has no DICOM headers")
        return [frame for frame in frames if frame]

    @cached_property
    def _geometry(self) -> Geometry:
        try:
            if self._facts:
                return geometry_of_facts(self._facts, self._stored.layout.shape[0])
            return geometry_of(self._frames)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self._name} has no place in space: {error}") from None

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

    def _header_of(self, entry: Entry) -> Header | None:
        place = self._place_of(entry)
        before = self._files.kept(place).before
        return read_header(before, place.frames) if format_of(before) is None else None

    def _place_of(self, entry: Entry) -> Voxels:
        """Return where an image is, within the slices that there are."""
        place = entry.place
        assert isinstance(place, Voxels)
        if place.end > self._depth:
            raise DamagedError(f"{self._files.name}: volume {self._number} has fewer slices than its files")
        return place

    def _parsed(self, entry: Entry) -> pydicom.Dataset:
        assert isinstance(entry.place, Voxels)
        before = self._files.kept(entry.place).before
        if format_of(before):
            raise UnsupportedError(f"{entry.name} is no DICOM file")
        with quiet():
            try:
                return parse(before)
            except Exception as error:  # pydicom answers broken files with almost any exception
                raise UnsupportedError(f"{entry.name} has no DICOM header that can be read") from error

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
