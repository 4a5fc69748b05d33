"""Series in time as files and as images of nibabel: `.npy`, and NIfTI with time as its fourth axis."""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from ..archive.files import new_file, new_tree, temporary_file
from ..errors import TargetError, UnsupportedError
from ..progress import progress_bar
from . import image_files, images
from .convert import INSTALL, ZARR, suffix_of
from .geometry import TO_RAS, Geometry

if TYPE_CHECKING:
    from .series import Series

_LEVEL = 6  # of gzip
# In the header of a NIfTI-1 file: eight i16, eight f32, two i16 that say of which space coordinates are.
_DIM, _PIXDIM, _CODES = 40, 76, 252
_SUFFIXES = (".npy", ".nii", ".nii.gz", ZARR)
_ZARR_CHUNK = (1, 32, 256, 256)


def save(
    volume: Series, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
) -> tuple[int, ...]:
    """Write the values of a series (`Volume.rescaled`), time point by time point; see `convert.save`.

    `.npy` and `.zarr` have the array (t, z, y, x), or with colours behind; NIfTI has (x, y, z, t). Without a place in
    space, as of an array that was compressed, NIfTI says voxels of 1 mm, and states no coordinates.
    """
    path, suffix = Path(target), suffix_of(target)
    if suffix not in _SUFFIXES:
        raise UnsupportedError(f"{path}: a series in time, {volume.name}, is written as {', '.join(_SUFFIXES)}")
    if slices.step not in (None, 1):
        raise UnsupportedError(f"slices in steps of {slices.step} were asked for; take those without a step")
    wanted = range(volume.shape[1])[slices]
    if not wanted:
        raise UnsupportedError(f"{volume.name} has slices 0 to {volume.shape[1] - 1}, and none of those asked for")
    shape = (volume.shape[0], len(wanted), *volume.shape[2:])
    dtype = volume.rescaled_dtype.newbyteorder("<")
    if suffix == ZARR:
        _save_zarr(volume, path, shape, dtype, wanted)
        return shape
    header = _npy(shape, dtype) if suffix == ".npy" else _nifti(volume, shape, dtype, wanted.start)
    with new_file(path, force=force) as (file, _), ExitStack() as stack:
        inner: BinaryIO = file
        if suffix == ".nii.gz":
            inner = cast(BinaryIO, stack.enter_context(gzip.GzipFile("", "wb", _LEVEL, file, 0)))
        inner.write(header)
        with progress_bar("decoding", math.prod(shape)) as progress:
            for block in _blocks(volume, wanted):
                inner.write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data)
                progress(block.size)
    return shape


def to_nibabel(volume: Series, *, geometry: bool = True) -> Any:
    """Return a `nibabel.Nifti1Image` of all values, indexed (x, y, z, t); see `images.to_nibabel`.

    Raises UnsupportedError: nibabel is not installed, or the volume has no place in space, or has colours.
    """
    try:
        import nibabel
    except ImportError as error:
        raise UnsupportedError(f"to_nibabel needs nibabel: {images.INSTALL}") from error
    if volume.ndim > 4:
        raise UnsupportedError(f"{volume.name} has colours at several times; take volume[t]")
    place = volume.geometry if geometry else None
    image = nibabel.Nifti1Image(np.asarray(volume.rescaled()).T, place.affine if place else np.eye(4))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1 if place else 0, update_affine=False)
    image.set_qform(image.affine, 1 if place and not place.sheared else 0, update_affine=False)
    return image


def _blocks(volume: Series, wanted: range) -> Iterator[np.ndarray]:
    """Yield all values in their order: a time point at a time, or pieces of a temporary file to which slabs went that
    have all time points. So memory does not grow with their number."""
    chosen = slice(wanted.start, wanted.stop)
    if not volume.is_beside:
        for t in range(volume.shape[0]):
            yield volume.rescaled((t, chosen))
        return
    dtype, frame = volume.rescaled_dtype, math.prod(volume.shape[2:])
    with temporary_file() as spool:
        for t, first, block in volume.values(range(volume.shape[0]), wanted.start, wanted.stop):
            begin, end = max(first, wanted.start), min(first + len(block), wanted.stop)
            for z in range(begin, end):
                spool.seek((t * len(wanted) + z - wanted.start) * frame * dtype.itemsize)
                spool.write(np.ascontiguousarray(block[z - first], dtype).reshape(-1).view(np.uint8).data)
            del block
        spool.seek(0)
        for _ in range(volume.shape[0] * len(wanted)):
            yield np.frombuffer(spool.read(frame * dtype.itemsize), dtype)


def _save_zarr(volume: Series, target: Path, shape: tuple[int, ...], dtype: np.dtype[Any], wanted: range) -> None:
    """Write a folder of Zarr format 3, a time point at a time."""
    try:
        import zarr
    except ImportError as error:
        raise UnsupportedError(f".zarr needs zarr: {INSTALL}") from error
    if os.path.lexists(target):
        raise TargetError(f"{target} exists; remove it, or take another name, since a Zarr array is a folder")
    chunk = (*_ZARR_CHUNK, *shape[4:])
    with new_tree(target, force=False) as folder:
        array = zarr.create_array(
            store=str(folder),
            shape=shape,
            dtype=dtype,
            chunks=tuple(min(a, b) for a, b in zip(chunk, shape, strict=True)),
            dimension_names=("t", "z", "y", "x", "colour")[: len(shape)],
        )
        blocks = _blocks(volume, wanted)
        for t in range(shape[0]):
            point = np.empty(shape[1:], dtype)
            flat, done = point.reshape(-1), 0
            while done < flat.size:
                block = next(blocks)
                flat[done : done + block.size] = block.reshape(-1)
                done += block.size
            array[t] = point


def _npy(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    file = BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


def _nifti(volume: Series, shape: tuple[int, ...], dtype: np.dtype[Any], first: int) -> bytes:
    """Return the header of a NIfTI-1 file of four dimensions, up to its voxels."""
    if shape[0] >= 1 << 15:
        raise UnsupportedError(f"NIfTI holds 32767 time points, not {shape[0]}; .npy holds them")
    placed = bool(volume.files)  # an array that was compressed has no place
    place = volume.geometry.shifted(first) if placed else Geometry(TO_RAS)
    header = bytearray(image_files.nifti(shape[1:], dtype, place))
    struct.pack_into("<h", header, _DIM, 4)
    struct.pack_into("<h", header, _DIM + 8, shape[0])
    struct.pack_into("<f", header, _PIXDIM + 16, 1.0)  # between time points; of no unit
    if not placed:
        struct.pack_into("<2h", header, _CODES, 0, 0)
    return bytes(header)
