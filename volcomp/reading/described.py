"""What headers say of a volume of an archive: its files, its series, and where it lies."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING

from ..archive.entry import Entry, Voxels
from ..archive.opening import contents_of
from ..container.volume import Volume as Stored
from ..container.volume import read_volume
from ..dtypes import Float64s
from ..errors import DamagedError, UnsupportedError
from ..formats.dicom import quiet
from ..formats.facts import Facts
from ..formats.frames import Frame, Header, parse, read_header
from ..formats.geometry import Geometry, Spacing, geometry_of, spacing_of
from ..formats.registry import format_of
from ..wording import spelled
from .shared import Files
from .stated import geometry_of_facts

if TYPE_CHECKING:
    import pydicom

_COUNT = itertools.count()


class Described:
    """A volume of an archive, as the headers of its files describe it; `Volume` has its voxels."""

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

    @cached_property
    def _stored(self) -> Stored:
        self._files.check()
        with contents_of(self._files.name):
            return read_volume(self._files.reader, self._number)

    @property
    def _depth(self) -> int:
        """The number of its slices, of all time points."""
        return self._stored.layout.shape[0]

    @property
    def _place(self) -> Voxels | None:
        place = self._images[0].place if self._images else None
        assert place is None or isinstance(place, Voxels)
        return place

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
                    f"no header that can be read describes {entry.name}; "
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
