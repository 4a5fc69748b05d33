"""The header section of a volume <-> its shape, type, model, slabs and mapping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..stages import weight_delta, histogram_packing
from .. import models
from ..wire import rice
from ..wire.cursor import Cursor, string, varint
from ..errors import DamagedError
from ..stages.lstm.weights import Weights
from ..pipelines.paper import weights as published

SLAB_VOXELS = 1 << 26  # of one slab, at most: it takes about 25 bytes of memory per voxel, whatever a header says
SLICE_VOXELS = 1 << 27
SLABS = 1 << 16
DTYPES = ("u1", "i1", "<u2", "<i2")
DIGEST = 8  # bytes of a SHA-256 that name a model, or check a slab


@dataclass(frozen=True)
class VolumeHeader:
    """What the header section of a volume says."""

    shape: tuple[int, int, int]  # Z, Y, X
    dtype: np.dtype  # u1, i1, little-endian u2 or i2
    model: str  # name of the released model, as "base-1"
    number: int  # its number in the file
    slabs: tuple[tuple[int, int], ...]  # first and past-the-end slice of every slab
    mapping: histogram_packing.Mapping
    differences: bytes = b""  # of the model that was fitted to the volume, if one was


@lru_cache(maxsize=8)
def weights_of(number: int, changed: bytes) -> Weights | published.Weights:
    """A released model, or what differences make of it; DamagedError where these are not sound."""
    if number in models.PUBLISHED and not changed:
        return models.paper(number)
    released = models.weights(number)
    return weight_delta.apply(released, weight_delta.from_bytes(changed, released)) if changed else released


def slab_ranges(depth: int, count: int) -> tuple[tuple[int, int], ...]:
    """`count` slabs as equal as can be."""
    return tuple((depth * k // count, depth * (k + 1) // count) for k in range(count))


def write_header(
    shape: tuple[int, ...], dtype: np.dtype, number: int, changed: bytes, slabs: int, found: histogram_packing.Mapping
) -> bytes:
    runs = found.runs.ravel().tolist()
    first = runs[0]
    fields = [*shape, slabs, len(found.runs), -2 * first - 1 if first < 0 else 2 * first]
    model = number + (models.FITTED if changed else 0)
    head = bytes([model, DTYPES.index(dtype.str.replace("|", ""))]) + models.digest(number)[:DIGEST]
    head += string(changed) if changed else b""
    return head + b"".join(varint(field) for field in fields) + rice.encode(np.diff(runs) - 1)


def read_header(data: bytes) -> VolumeHeader:
    """Parse a header section; raises DamagedError, or UnsupportedError for a model that this version does not know."""
    reader = Cursor(data, "the volume's header")
    number, code = reader.take(2)
    if code >= len(DTYPES):
        raise DamagedError(f"the volume's header has pixel type {code}; 0 to {len(DTYPES) - 1} are known")
    dtype = np.dtype(DTYPES[code])
    fitted, number = divmod(number, models.FITTED)
    models.check(number, reader.take(DIGEST))
    changed = reader.string() if fitted else b""
    if fitted:
        weights_of(number, changed)  # so that a file with an unsound model is refused here
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
    zigzag = reader.varint()
    lengths = rice.decode(reader.rest(), 2 * count - 1) + 1
    first = -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2
    info = np.iinfo(dtype)
    if lengths.min() < 1 or first < info.min or first + int(lengths.sum()) > info.max + 1:
        raise DamagedError(f"the volume's header maps values that {dtype} does not have")
    runs = np.cumsum([first, *lengths.tolist()]).reshape(count, 2)
    return VolumeHeader((z, y, x), dtype, models.RELEASED[number], number, ranges, histogram_packing.Mapping(runs), changed)
