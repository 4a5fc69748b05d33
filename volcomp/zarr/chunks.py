"""A chunk of an array ⇄ its payload, whatever the format of Zarr.

Where a chunk has 8- or 16-bit integers, its payload is what `volcomp.compress` makes of it as a volume. `volume_shape`
chooses the volume; voxels and elements have the same order, so that a decoder needs the number of elements alone.
Booleans and 16-bit floating-point numbers are coded as the integers of their bits. All else is `wrapped`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import compress, decompress
from ..container.inspection import VolumeReport, inspect
from ..container.volume import SLICE_VOXELS
from ..errors import DamagedError
from . import wrapped
from .settings import Settings

Shape = tuple[int, ...]

# Slices of fewer voxels or narrower ones take ten times as long a voxel, since a front of them has few.
_SLICE, _SIDE = 256, 8
_SMALL = 1 << 12  # voxels of a chunk whose shape does not matter
_DEPTH = 1 << 20  # slices
_THREADS, _DEVICE = 1, "cpu"  # Zarr and Dask work on several chunks at a time


def volume_shape(shape: Shape) -> Shape | None:
    """Choose the volume, (z, y, x) or (y, x), of a chunk; None where volcomp would take long for what it gains.

    Dimensions of length 1 are left out. The last two others are y and x, all before them are z. Where slices would be
    tiny or narrow, and for one dimension, the elements are laid in rows, as many as a row is long if that divides.
    """
    sides = [side for side in shape if side != 1]
    count = math.prod(sides)
    if not count:
        return None
    if len(sides) >= 2:
        depth, height, width = math.prod(sides[:-2]), *sides[-2:]
        large = min(height, width) >= _SIDE and height * width >= _SLICE
        if (large or count <= _SMALL) and height * width <= SLICE_VOXELS and depth <= _DEPTH:
            return (height, width) if len(sides) == 2 else (depth, height, width)
    if count > SLICE_VOXELS:
        return None
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    return (rows, count // rows) if rows >= _SIDE or count <= _SMALL else None


def encode(array: np.ndarray, settings: Settings) -> bytes:
    """Encode an array of any shape, order and type but `object`. Its values count, not their byte order.

    Raises UnsupportedError for an effort that needs torch where there is none, and VerificationError.
    """
    shape = volume_shape(array.shape)
    items = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    kind, size = items.dtype.kind, items.dtype.itemsize
    stored = _stored(items.dtype)
    if stored is not None and shape:
        return _compress(items.view(stored), shape, settings)
    if kind == "c":
        items = items.view(f"<f{size // 2}")
    elif kind == "U" and size:
        items = items.view("<u4")
    payload = wrapped.planes(items) if items.dtype.itemsize else wrapped.planes(np.empty(0, np.uint8))
    if shape and kind in "iufMm" and size in (4, 8):
        tabled = wrapped.table(items, lambda ranks: _compress(ranks, shape, settings))
        payload = min(tabled, payload, key=len) if tabled else payload
    return payload


def decode(payload: bytes, shape: Shape, dtype: np.dtype, needed: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a chunk of a shape and type. Of a `.vcz` file only the slabs are decoded that hold elements `needed`
    (first, past the last, in C order), if that is stated; other elements are 0.

    Raises DamagedError, also where the payload is of another shape or type, and UnsupportedError.
    """
    count, little = math.prod(shape), dtype.newbyteorder("<")
    if payload.startswith(wrapped.SIGNATURE):
        items = _wrapped(payload, count * little.itemsize)
    else:
        items = _voxels(payload, count, _stored(little), needed)
    if items.nbytes != count * little.itemsize:
        raise DamagedError(f"the chunk has {items.nbytes} bytes where one of the array has {count * little.itemsize}")
    flat = items.view(np.uint8).view(little) if little.itemsize else np.zeros(count, little)
    return flat.astype(dtype, copy=False).reshape(shape)


def decode_memory(payload: bytes) -> np.ndarray:
    """Decode a chunk of unknown shape and type: the bytes of its elements [n], as an encoder had them in memory."""
    if not payload.startswith(wrapped.SIGNATURE):
        return _voxels(payload, None, None, None).view(np.uint8)
    head = len(wrapped.SIGNATURE) + 1
    if payload[head - 1 : head] != bytes([wrapped.SWAPPED]):
        return _wrapped(payload, None).view(np.uint8)
    inner = payload[head:]
    is_wrapped = inner.startswith(wrapped.SIGNATURE)
    items = _wrapped(inner, None) if is_wrapped else _voxels(inner, None, None, None)
    return np.ascontiguousarray(items.view(np.uint8).reshape(len(items), -1)[:, ::-1]).reshape(-1)


def span(selection: Any, shape: Shape) -> tuple[int, int] | None:
    """Return the first element, and that past the last, in C order, of those that a selection of a chunk needs; None
    for all. It has an index, a slice or an array of indices for every axis."""
    if not isinstance(selection, tuple) or len(selection) != len(shape) or not shape:
        return None
    low = high = 0
    for one, side in zip(selection, shape, strict=True):
        if isinstance(one, slice):
            indices = range(*one.indices(side))
            first, last = (min(indices[0], indices[-1]), max(indices[0], indices[-1])) if indices else (0, 0)
        elif isinstance(one, int | np.integer):
            first = last = int(one)
        elif isinstance(one, np.ndarray) and one.dtype.kind in "iu" and one.size:
            first, last = int(one.min()), int(one.max())
        else:
            return None
        if not 0 <= first <= last < side:
            return None
        low, high = low * side + first, high * side + last
    return low, high + 1


def _stored(dtype: np.dtype) -> np.dtype | None:
    """Return the type of the voxels that stand for elements of a little-endian type; None where there is none."""
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return dtype
    return np.dtype("u1") if dtype.kind == "b" else np.dtype("<u2") if dtype == np.dtype("<f2") else None


def _compress(items: np.ndarray, shape: Shape, settings: Settings) -> bytes:
    return compress(
        items.reshape(shape),
        settings.model,
        effort=settings.effort,
        verify=settings.verify,
        threads=_THREADS,
        device=_DEVICE,
    )


def _wrapped(payload: bytes, size: int | None) -> np.ndarray:
    """Decode what is no `.vcz` file: raw items [n], of `size` bytes together if that is known."""

    def ranks(data: bytes) -> np.ndarray:
        found = _voxels(data, None, None, None)
        if found.dtype.kind != "u":
            raise DamagedError(f"the chunk has a table, and ranks of type {found.dtype}")
        return found

    return wrapped.decode(payload, size, ranks)


def _voxels(payload: bytes, count: int | None, dtype: np.dtype | None, needed: tuple[int, int] | None) -> np.ndarray:
    """Decode a `.vcz` file: voxels [n]. What the array is known to have is compared before any voxel is decoded."""
    volume = _only_volume(payload)
    found = math.prod(volume.shape)
    if count is not None and (found != count or dtype is None or np.dtype("<" + volume.dtype) != dtype):
        raise DamagedError(
            f"the chunk holds {found} voxels of type {volume.dtype}, where one of the array has {count} of "
            f"{'another type' if dtype is None else dtype.str[1:]}"
        )
    if needed is None or len(volume.shape) == 2 or needed == (0, found):
        return decompress(payload, threads=_THREADS, device=_DEVICE).reshape(-1)
    voxels = np.zeros(found, "<" + volume.dtype)  # of which the system gives only pages that are written to
    of_slice = found // volume.shape[0]
    first, end = needed[0] // of_slice, -(-needed[1] // of_slice)
    slices = decompress(payload, slice(first, end), threads=_THREADS, device=_DEVICE)
    voxels[first * of_slice : end * of_slice] = slices.reshape(-1)
    return voxels


def _only_volume(payload: bytes) -> VolumeReport:
    volumes = inspect(payload).volumes
    if len(volumes) != 1:
        raise DamagedError(f"the chunk holds {len(volumes)} volumes instead of one")
    return volumes[0]
