"""Series in time as files and as images of other libraries, with time as the fourth axis."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..archive.files import new_tree, temporary_file
from ..errors import TargetError, UnsupportedError
from ..formats.facts import TO_LPS, UNKNOWN
from ..formats.geometry import Geometry
from ..options import image_suffix
from ..progress import progress_bar
from . import convert, images
from .image_files import Grid

if TYPE_CHECKING:
    from .series import Series

_ZARR_CHUNK = (1, 32, 256, 256)


def save(
    volume: Series, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
) -> tuple[int, ...]:
    """Write the values of a series (`Volume.rescaled`), time point by time point; see `convert.save`.

    `.npy` and `.zarr` have the array (t, z, y, x), or with colours behind; NIfTI and the others have (x, y, z, t).
    Without a place in space, as of an array that was compressed, they say voxels of 1 mm.
    """
    path = Path(target)
    if image_suffix(path.name) not in convert.OF_TIMES:
        raise UnsupportedError(f"{path}: a series in time, {volume.name}, is written as {', '.join(convert.OF_TIMES)}")
    if slices.step not in (None, 1):
        raise UnsupportedError(f"slices in steps of {slices.step} were asked for; take those without a step")
    wanted = range(volume.shape[1])[slices]
    if not wanted:
        raise UnsupportedError(f"{volume.name} has slices 0 to {volume.shape[1] - 1}, and none of those asked for")
    shape = (volume.shape[0], len(wanted), *volume.shape[2:])
    dtype = volume.rescaled_dtype.newbyteorder("<")
    if image_suffix(path.name) == ".zarr":
        _save_zarr(volume, path, shape, dtype, wanted)
        return shape

    def grid() -> Grid:
        # An array that was compressed has no place.
        place = volume.geometry.shifted(wanted.start) if volume.files else Geometry(TO_LPS, UNKNOWN)
        components = shape[4] if len(shape) > 4 else 1
        return Grid((shape[1], shape[2], shape[3]), dtype, place, components, shape[0], volume.seconds)

    convert.write(path, convert.header_of(path, shape, dtype, grid), _reported(volume, wanted), dtype, force=force)
    return shape


def to_nibabel(volume: Series, *, geometry: bool = True) -> Any:
    """Return a `nibabel.Nifti1Image` of all values, indexed (x, y, z, t); see `images.to_nibabel`.

    Raises UnsupportedError: nibabel is not installed, or the volume has no place in space, or has colours.
    """
    _check_colours(volume)
    return images.nibabel_image(
        np.asarray(volume.rescaled()), volume.geometry if geometry else None, volume.seconds
    )  # fmt: skip


def to_sitk(volume: Series, *, geometry: bool = True) -> Any:
    """Return a `SimpleITK.Image` of all values, of four dimensions x, y, z, t; see `images.to_sitk`.

    Raises UnsupportedError: SimpleITK is not installed, or the volume has no place in space, or has colours.
    """
    _check_colours(volume)
    place = volume.geometry if geometry else None
    return images.sitk_image(np.asarray(volume.rescaled()), place, volume.seconds, volume.name, colours=False)


def _check_colours(volume: Series) -> None:
    if volume.ndim > 4:
        raise UnsupportedError(f"{volume.name} has colours at several times; take volume[t]")


def _reported(volume: Series, wanted: range) -> Iterator[np.ndarray]:
    """Yield all values in their order, and report progress."""
    size = volume.shape[0] * len(wanted) * math.prod(volume.shape[2:])
    with progress_bar("decoding", size) as progress:
        for block in _blocks(volume, wanted):
            yield block
            progress(block.size)


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
        raise UnsupportedError(f".zarr needs zarr: {convert.INSTALL}") from error
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
        blocks = _reported(volume, wanted)
        for t in range(shape[0]):
            point = np.empty(shape[1:], dtype)
            flat, done = point.reshape(-1), 0
            while done < flat.size:
                block = next(blocks)
                flat[done : done + block.size] = block.reshape(-1)
                done += block.size
            array[t] = point
