"""The header of a volume: its shape, type, model, slabs and the values that occur; and the section that holds it.

The section is one byte of flags, the number of another volume if this one refers to it, 32 bytes of SHA-256 over the
voxels (little-endian, C order), then the header. The checksum of a slab covers the header.

A volume may be one time point of a series. It then either is a *key*, coded by itself, or refers to a key of the same
shape and slabs: a slab of it may be coded with the same slab of the key as context. In an archive of files, a volume
may also hold all time points of a series; its header, or that of the first time point, says so (`Times`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from .. import models
from ..errors import DamagedError, NewerError
from ..models import Catalogue, Model
from ..wire import rice, zigzag
from ..wire.cursor import Cursor, string, varint
from .sections import SLAB, VOLUME_HEADER, Reader, SectionId, Writer

SLAB_VOXELS = 1 << 26  # of one slab, at most. A slab takes about 25 bytes of memory per voxel
SLICE_VOXELS = 1 << 27
SLABS = 1 << 16
MOST_TIMES = 1 << 31
DTYPES = ("u1", "i1", "<u2", "<i2")
DIGEST = 8  # bytes of a SHA-256 that name a model, or check a slab
# Flags: the array was given as (y, x); the number of a key follows; the volume is a time point of a (t, z, y, x); the
# number of time points of files and their order follow; the file has a lossy layer of the volume.
_TWO_DIMENSIONAL, _REFERS, _TIME_POINT, _OF_TIMES, _LAYERED = 1, 2, 4, 8, 16
_SHA_BYTES = 32


class Order(IntEnum):
    """Where the time points of a series of files are; the numbers are part of the format.

    Z is the number of slices of a time point, T that of time points.
    """

    APART = 0  # each is a volume: time point t of a plane has the number of the first one, plus t times the planes
    AFTER = 1  # slice t · Z + z of the volume is slice z of time point t
    BESIDE = 2  # slice z · T + t is
    TURNED = 3  # as BESIDE; but the one file that holds all of them has slice t · Z + z there


class Times(NamedTuple):
    """The time points of a series of files."""

    points: int
    order: Order


@dataclass(frozen=True)
class VolumeHeader:
    """The contents of a volume's header."""

    shape: tuple[int, int, int]  # Z, Y, X
    dtype: np.dtype  # u1, i1, little-endian u2 or i2
    model: Model
    slabs: tuple[tuple[int, int], ...]  # first and past-the-end slice of every slab
    runs: np.ndarray  # of values that may occur: int64 [runs, 2] (first, past the last), ascending
    weight_delta: bytes = b""  # of the model that was fine-tuned to the volume, if one was

    @property
    def voxels(self) -> int:
        """Return the number of voxels of the volume."""
        z, y, x = self.shape
        return z * y * x

    def voxels_of(self, slab: int) -> int:
        """Return the number of voxels of a slab."""
        first, end = self.slabs[slab]
        return (end - first) * self.shape[1] * self.shape[2]

    def located(self, slab: int, error: DamagedError) -> DamagedError:
        """Add the number of a slab and its slices to an error."""
        first, end = self.slabs[slab]
        return DamagedError(f"slab {slab} (slices {first} to {end - 1}) is damaged: {error}")


def slab_ranges(depth: int, count: int) -> tuple[tuple[int, int], ...]:
    """Cut `depth` slices into `count` slabs of nearly equal height."""
    return tuple((depth * k // count, depth * (k + 1) // count) for k in range(count))


def write_header(header: VolumeHeader) -> bytes:
    """Encode a header."""
    runs = header.runs.ravel().tolist()
    first = runs[0]
    fields = [*header.shape, len(header.slabs), len(header.runs), zigzag.encode(first)]
    number = header.model.number + (models.FINE_TUNED if header.weight_delta else 0)
    head = (
        bytes([number, DTYPES.index(header.dtype.str.replace("|", ""))]) + bytes.fromhex(header.model.digest)[:DIGEST]
    )
    head += string(header.weight_delta) if header.weight_delta else b""
    return head + b"".join(varint(field) for field in fields) + rice.encode(np.diff(runs) - 1)


def read_header(data: bytes, catalogue: Catalogue = models.RELEASED) -> VolumeHeader:
    """Parse a header. DamagedError, or UnsupportedError for a model that the catalogue does not have.

    The weight delta of a model is not checked here: errors in it show when it is applied.
    """
    reader = Cursor(data, "the volume's header")
    number, code = reader.take(2)
    if code >= len(DTYPES):
        raise DamagedError(f"the volume's header has pixel type {code}; 0 to {len(DTYPES) - 1} are known")
    dtype = np.dtype(DTYPES[code])
    fine_tuned, number = divmod(number, models.FINE_TUNED)
    model = models.of_file(number, reader.take(DIGEST), catalogue)
    weight_delta = reader.string() if fine_tuned else b""
    z, y, x, slabs = (reader.varint() for _ in range(4))
    if not (0 < slabs <= min(z, SLABS) and z < 1 << 31 and 0 < y * x <= SLICE_VOXELS):
        raise DamagedError(f"the volume's header has an impossible shape: {z} × {y} × {x} in {slabs} slabs")
    ranges = slab_ranges(z, slabs)
    tallest = max(b - a for a, b in (ranges[0], ranges[-1]))
    if tallest > 255 or (tallest > 1 and tallest * y * x > 2 * SLAB_VOXELS):
        raise DamagedError(f"the volume's header has slabs of {tallest} × {y} × {x} voxels, more than a file may have")
    count = reader.varint()
    if not 0 < count <= 1 << 16:
        raise DamagedError(f"the volume's header maps {count} runs of values; 1 to 65536 are possible")
    folded = reader.varint()
    lengths = rice.decode(reader.rest(), 2 * count - 1) + 1
    first = zigzag.decode(folded)
    info = np.iinfo(dtype)
    if lengths.min() < 1 or first < info.min or first + int(lengths.sum()) > info.max + 1:
        raise DamagedError(f"the volume's header maps values that {dtype} does not have")
    runs = np.cumsum([first, *lengths.tolist()]).reshape(count, 2)
    return VolumeHeader((z, y, x), dtype, model, ranges, runs, weight_delta)


def slab_checksum(section: bytes, k: int, voxels: np.ndarray) -> bytes:
    """Compute the checksum of slab k, which is before its payload. It covers the header and the number, so that a slab
    of another volume, a slab in the place of another, and a slab under an altered header all count as damaged."""
    sha = hashlib.sha256(section + varint(k))
    sha.update(np.ascontiguousarray(voxels).data)
    return sha.digest()[:DIGEST]


@dataclass(frozen=True)
class Volume:
    """The contents of the header section of a volume."""

    number: int
    section: bytes  # the header, undecoded; `layout` is the same decoded
    layout: VolumeHeader
    sha256: bytes  # of the voxels, little-endian in C order
    two_dimensional: bool
    key: int | None = None  # number of the volume that slabs of this one may refer to
    time_point: bool = False  # of a 4-D array, whose time points are the volumes of the file in order
    times: Times | None = None  # of a series of files; of volumes APART, only the first one of each plane has it

    layered: bool = False  # the file has a lossy layer of the volume, which slabs may refer to

    @property
    def voxels(self) -> int:
        """Return the number of voxels of the volume."""
        return self.layout.voxels

    @property
    def refers(self) -> bool:
        """Return whether slabs may refer to something else in the file."""
        return self.key is not None or self.layered

    def slabs_of(self, first: int, end: int) -> list[int]:
        """Return the numbers of the slabs that hold any of the slices `first` to `end - 1`."""
        return [k for k, (a, b) in enumerate(self.layout.slabs) if a < end and b > first]


def write_volume_header(writer: Writer, volume: Volume) -> None:
    """Append the section."""
    flags = _TWO_DIMENSIONAL if volume.two_dimensional else 0
    flags |= (0 if volume.key is None else _REFERS) | (_TIME_POINT if volume.time_point else 0)
    flags |= _LAYERED if volume.layered else 0
    head = b"" if volume.key is None else varint(volume.key)
    if volume.times:
        flags |= _OF_TIMES
        head += varint(volume.times.points) + bytes([volume.times.order])
    head = bytes([flags]) + head
    writer.add(SectionId(VOLUME_HEADER, volume.number), head + volume.sha256 + volume.section)


def read_volume(reader: Reader, number: int, catalogue: Catalogue = models.RELEASED) -> Volume:
    """Parse the header section of a volume, without reading its slabs."""
    payload = reader.read(SectionId(VOLUME_HEADER, number))
    if len(payload) <= 1 + _SHA_BYTES:
        raise DamagedError(f"the header of volume {number} is damaged: it is too short")
    flags = payload[0]
    if flags & ~(_TWO_DIMENSIONAL | _REFERS | _TIME_POINT | _OF_TIMES | _LAYERED):
        raise NewerError(f"volume {number} has the unknown flags {flags:#04x}; upgrade volcomp")
    cursor = Cursor(payload[1:], f"the header of volume {number}")
    key = cursor.varint() if flags & _REFERS else None
    times = _read_times(cursor) if flags & _OF_TIMES else None
    sha256, section = cursor.take(_SHA_BYTES), cursor.rest()
    layout = read_header(section, catalogue)
    two_dimensional, time_point = bool(flags & _TWO_DIMENSIONAL), bool(flags & _TIME_POINT)
    if two_dimensional and (layout.shape[0] != 1 or time_point):
        raise DamagedError(f"volume {number} has {layout.shape[0]} slices and is called two-dimensional")
    if times and (two_dimensional or time_point or (times.order != Order.APART and layout.shape[0] % times.points)):
        raise DamagedError(f"volume {number} has {layout.shape[0]} slices of {times.points} time points")
    slabs = reader.slabs_of(number)
    if slabs != len(layout.slabs) and reader.damage is None:  # so the size of the file bounds a false shape
        raise DamagedError(f"volume {number} has {slabs} slabs where its header says {len(layout.slabs)}")
    layered = bool(flags & _LAYERED)
    if layered and key is not None:
        raise DamagedError(f"volume {number} refers to a preview and to another volume")
    return Volume(number, section, layout, sha256, two_dimensional, key, time_point, times, layered)


def _read_times(cursor: Cursor) -> Times:
    count, order = cursor.varint(limit=MOST_TIMES), cursor.take(1)[0]
    if not count or order > max(Order):
        raise cursor.damaged()
    return Times(count, Order(order))


def read_key(reader: Reader, volume: Volume, catalogue: Catalogue = models.RELEASED) -> Volume:
    """Parse the header section of the key of a volume that refers to one. DamagedError if it is none, or has another
    shape or other slabs."""
    assert volume.key is not None
    key = read_volume(reader, volume.key, catalogue)
    if key.key is not None:
        raise DamagedError(f"volume {volume.number} refers to volume {key.number}, which refers to another one itself")
    if (key.layout.shape, key.layout.slabs) != (volume.layout.shape, volume.layout.slabs):
        raise DamagedError(f"volume {volume.number} refers to volume {key.number}, which has another shape")
    return key


def volume_numbers(reader: Reader) -> list[int]:
    """Return the numbers of the volumes that have a header or a slab, in increasing order."""
    return sorted({section.major for section in reader.places if section.tag in (VOLUME_HEADER, SLAB)})
