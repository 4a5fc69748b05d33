"""The contents of a file, read without decoding a voxel."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .sections import LISTING, MANIFEST, SLAB, VOLUME_HEADER, Reader
from .volume import Volume, read_volume, volume_numbers


@dataclass(frozen=True)
class VolumeReport:
    """One volume of an archive, as its header and the index describe it."""

    shape: tuple[int, ...]  # (z, y, x), or (y, x) of a two-dimensional array
    dtype: str  # u1, i1, u2 or i2
    model: str
    slabs: int
    bytes: int  # header and slabs in the file
    bits_per_voxel: float
    sha256: str  # of the voxels, little-endian in C order


@dataclass(frozen=True)
class Report:
    """The contents of a `.vcz` file."""

    promise: str  # 'file-exact' (an archive of files) or 'voxel-exact' (arrays)
    volumes: tuple[VolumeReport, ...]
    size: int  # bytes of the whole file
    sections: dict[str, int]  # bytes by kind of section, and of header and index as 'FRAME'


@contextmanager
def opened(data: bytes | os.PathLike[str] | str, *, salvage: bool = False) -> Iterator[Reader]:
    """Open a file, given as bytes or as a path, for reading its sections; `salvage` as in `Reader`."""
    if isinstance(data, str | os.PathLike):
        with open(data, "rb") as file:
            yield Reader(file, salvage=salvage)
    else:
        yield Reader(io.BytesIO(data), salvage=salvage)


def inspect(data: bytes | os.PathLike[str] | str) -> Report:
    """Describe the contents of a `.vcz` file.

    Parameters:
        data: the file, or its path.

    Returns:
        Shapes, types, models, sizes by section, promise.

    Raises:
        DamagedError: the file is damaged.
        UnsupportedError: the file needs a later version.

    Example:
        >>> import numpy as np, volcomp
        >>> report = volcomp.inspect(volcomp.compress(np.zeros((3, 4, 5), np.uint8)))
        >>> report.volumes[0].shape, report.promise
        ((3, 4, 5), 'voxel-exact')
    """
    with opened(data) as reader:
        return report(reader)


def report(reader: Reader) -> Report:
    """Describe an open file; see `inspect`."""
    sections: dict[str, int] = {}
    by_volume: dict[int, int] = {}
    numbers = volume_numbers(reader)
    for section, place in reader.places.items():
        tag = section.tag.decode("ascii", "replace")
        sections[tag] = sections.get(tag, 0) + place.length
        if section.tag in (VOLUME_HEADER, SLAB):
            by_volume[section.major] = by_volume.get(section.major, 0) + place.length
    sections["FRAME"] = reader.size - sum(sections.values())
    volumes = tuple(_describe(read_volume(reader, number), by_volume[number]) for number in numbers)
    of_files = any(section.tag in (LISTING, MANIFEST) for section in reader.places)
    promise = "file-exact" if of_files else "voxel-exact"
    return Report(promise, volumes, reader.size, sections)


def _describe(volume: Volume, size: int) -> VolumeReport:
    shape = volume.layout.shape[1:] if volume.two_dimensional else volume.layout.shape
    return VolumeReport(
        shape,
        volume.layout.dtype.str[1:],
        volume.layout.model.name,
        len(volume.layout.slabs),
        size,
        8 * size / volume.voxels,
        volume.sha256.hex(),
    )
