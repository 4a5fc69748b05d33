"""The contents of a file, read without decoding a voxel."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import DamagedError, SourceError, UnsupportedError
from ..options import check_type
from ..wording import spelled
from .layout import DESCRIPTION_BYTES, read_description
from .losses import Loss, read_losses
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
    key: int | None = None  # number of the volume that this one, a time point of a series, refers to
    times: int | None = None  # how many time points begin with this volume, or are in it; see `order`
    order: str | None = None  # of these: "apart" (volumes), "after" (in this one), "beside", "turned"


@dataclass(frozen=True)
class ParityReport:
    """The parity of a file, and what it repairs: see `volcomp.repair`."""

    share: float  # of the file that may be damaged in one stretch, wherever it begins
    stretch: int  # the same in bytes
    blocks: int  # of the whole file
    groups: int  # of blocks; neighbours are in different ones
    places: int  # how many blocks of every group may be damaged
    bytes: int  # of the parity


@dataclass(frozen=True)
class Report:
    """The contents of a `.vcz` file."""

    # 'file-exact' (an archive of files), 'voxel-exact' (arrays), or 'bounded-error' (files that are not the originals)
    promise: str
    volumes: tuple[VolumeReport, ...]
    size: int  # bytes of the whole file
    sections: dict[str, int]  # bytes by kind of section, of header and index as 'FRAME', and of parity as 'PARITY'
    parity: ParityReport | None = None
    losses: tuple[Loss, ...] = ()  # which files are not the originals, and how far they may differ


@contextmanager
def opened(data: bytes | bytearray | memoryview | os.PathLike[str] | str, *, salvage: bool = False) -> Iterator[Reader]:
    """Open a file, given as bytes or as a path, for reading its sections; `salvage` as in `Reader`.

    Raises ArgumentError for what is neither, and SourceError where the file cannot be opened.
    """
    check_type("data", data, (str, os.PathLike, bytes, bytearray, memoryview), "the bytes of a .vcz file, or its path")
    with ExitStack() as stack:
        if isinstance(data, str | os.PathLike):
            if isinstance(data, str) and "://" in data:
                raise UnsupportedError("data is a URL, which volcomp.open and volcomp.info read; download the file")
            try:
                file: BinaryIO = stack.enter_context(open(data, "rb"))
            except (OSError, ValueError) as error:  # of a NUL in the path
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise SourceError(f"{os.fsdecode(data)} cannot be read: {reason}", Path(os.fsdecode(data))) from error
        else:
            file = io.BytesIO(data)
        yield Reader(file, salvage=salvage)


def inspect(data: bytes | bytearray | memoryview | os.PathLike[str] | str) -> Report:
    """Describe the contents of a `.vcz` file.

    Parameters:
        data: the file, or its path.

    Returns:
        Shapes, types, models, sizes by section, promise.

    Raises:
        ArgumentError: `data` is neither.
        DamagedError: the file is damaged.
        UnsupportedError: the file cannot be read, or needs a later version.

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
    protection = _describe_parity(reader)
    sections["FRAME"] = reader.size - sum(sections.values()) - (protection.bytes if protection else 0)
    if protection:
        sections["PARITY"] = protection.bytes
    volumes = tuple(_describe(read_volume(reader, number), by_volume[number]) for number in numbers)
    of_files = any(section.tag in (LISTING, MANIFEST) for section in reader.places)
    losses = read_losses(reader)
    promise = "bounded-error" if losses else "file-exact" if of_files else "voxel-exact"
    return Report(promise, volumes, reader.size, sections, protection, losses)


def _describe_parity(reader: Reader) -> ParityReport | None:
    if reader.parity is None:
        return None
    layout = read_description(reader.end_of_parity(DESCRIPTION_BYTES))
    if layout is None:
        raise DamagedError(f"the description of the parity is damaged; {spelled('volcomp.repair')} restores it")
    blocks = layout.blocks + layout.parity_blocks
    share = layout.stretch / reader.size
    return ParityReport(share, layout.stretch, blocks, layout.groups, layout.parity, reader.size - layout.size)


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
        volume.key,
        volume.times.points if volume.times else None,
        volume.times.order.name.lower() if volume.times else None,
    )
