"""The bytes of one file of an archive, of what is kept of it and the slices of its volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from ..bodies.protocol import Kept, Planes
from ..bodies.registry import body
from ..errors import DamagedError, NewerError
from . import gzip_packing, jpeg_packing
from .entry import AS_IT_IS, INFLATED, JPEG_XL, Stored, Voxels
from .header_reader import Blobs
from .run import Run, Slices
from .writing import Bytes

if TYPE_CHECKING:
    from .run import Decode


def unpacked(place: Stored, blobs: Blobs) -> Iterator[Bytes]:
    """Yield the bytes of a file that is kept whole."""
    pieces = blobs.pieces(place.start, place.start + place.size)
    if place.packing == AS_IT_IS:
        yield from pieces
    elif place.packing == JPEG_XL:
        if place.size > jpeg_packing.MOST_BYTES:
            raise DamagedError("its JPEG frames are packed in more bytes than are possible")
        yield jpeg_packing.unpack(b"".join(pieces))
    elif place.packing == INFLATED:
        if place.size > gzip_packing.MOST_BYTES:
            raise DamagedError("its gzip members are packed in more bytes than are possible")
        yield from gzip_packing.unpack(b"".join(pieces))
    else:
        raise NewerError(f"it is packed in the unknown way {place.packing}; upgrade volcomp")


def made(place: Voxels, kept: Kept, decoded: list[Slices]) -> Iterator[Bytes]:
    """Yield the bytes of an image. `decoded` has the slices of every plane."""
    yield from body(place.body).write(kept, planes_of(place.first, place.end, decoded))


def planes_of(first: int, end: int, decoded: list[Slices]) -> Iterator[Planes]:
    """Yield the slices `first` to `end` - 1 of all planes, a block for each slab."""
    sources = [plane.blocks(first, end) for plane in decoded]
    while True:
        planes = [part for part in (next(source, None) for source in sources) if part is not None]
        if not planes:
            break
        yield planes
        planes = []  # or their slabs would stay in memory until the next ones come


def turned(run: Run, place: Voxels, kept: Kept, decode: Decode) -> Iterator[Bytes]:
    """Yield the bytes of an image whose slices lie in another order in their volume. Raises DamagedError."""
    check_turned(run, place)
    with closing(run.turned(decode)) as blocks:
        yield from body(place.body).write(kept, blocks)


def check_turned(run: Run, place: Voxels) -> None:
    """Raise DamagedError unless an image has all slices of a run that is turned."""
    if (place.first, place.end) != (0, run.end):
        raise DamagedError("it has some of the slices alone of a volume that holds those of one file")
