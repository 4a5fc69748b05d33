"""Write a volume as a file of another format, by its suffix: slab after slab, so that memory stays small."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from ..archive.files import new_file, new_tree
from ..errors import TargetError, UnsupportedError
from ..progress import progress_bar
from ..runtime.cpus import cores
from . import image_files
from .geometry import Geometry

if TYPE_CHECKING:
    from .volume import Volume

INSTALL = "pip install 'volcomp[zarr]'"
_ZARR_CHUNK = (32, 256, 256)
_LEVEL = 6  # of gzip


@dataclass(frozen=True)
class _Kind:
    """A format: what its file begins with, and whether a part of it is compressed."""

    header: Callable[[tuple[int, ...], np.dtype[Any], Geometry], bytes]
    all_packed: bool = False
    voxels_packed: bool = False


_KINDS = {
    ".nii.gz": _Kind(image_files.nifti, all_packed=True),
    ".nii": _Kind(image_files.nifti),
    ".nrrd": _Kind(image_files.nrrd, voxels_packed=True),
    ".mha": _Kind(image_files.meta_image),
}
NPY, ZARR = ".npy", ".zarr"
SUFFIXES = (*_KINDS, NPY, ZARR)


def suffix_of(path: str | os.PathLike[str]) -> str | None:
    """Return which of SUFFIXES a name ends with, or None."""
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def save(
    volume: Volume, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
) -> tuple[int, ...]:
    """Write the values of a volume (`Volume.rescaled`) to a file that gets its name when it is complete.

    Parameters:
        volume: the volume.
        target: the file. Its suffix says which format: `.nii.gz`, `.nii`, `.nrrd` and `.mha` have the volume's place in
            space as well; `.npy` has the array alone; `.zarr` is a folder, with affine and spacing as attributes where
            there are some (`pip install 'volcomp[zarr]'`).
        slices: which slices, in steps of one.
        force: overwrite an existing file; an existing `.zarr` is never overwritten.

    Returns:
        The shape of what was written.

    Raises:
        UnsupportedError: for another suffix, no slices, a format that cannot hold the volume, or a volume without a
            place in space where the format has one.
        TargetError: `target` exists, or cannot be written.
        DamagedError: the archive is damaged; nothing has been written.
    """
    path, suffix = Path(target), suffix_of(target)
    if suffix is None:
        raise UnsupportedError(f"{path} has none of the suffixes {', '.join(SUFFIXES)}, which say the format")
    wanted = _wanted(volume, slices)
    shape = (len(wanted), *volume.shape[1:]) if volume.ndim > 2 else volume.shape
    dtype = volume.rescaled_dtype.newbyteorder("<")
    if suffix == ZARR:
        _save_zarr(volume, path, wanted, dtype)
        return shape
    kind = _KINDS.get(suffix)
    if kind is None:
        header = _npy_header(shape, dtype)
    else:
        solid = shape if len(shape) > 2 else (1, *shape)
        try:
            header = kind.header(solid, dtype, volume.geometry.shifted(wanted.start))
        except UnsupportedError as error:
            raise UnsupportedError(f"{error}; .npy and .zarr hold voxels without their place") from None
    with new_file(path, force=force) as (file, _), _packed(file, kind is not None and kind.all_packed) as outer:
        outer.write(header)
        with _packed(outer, kind is not None and kind.voxels_packed) as inner:
            for _, block in blocks(volume, wanted):
                inner.write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data)
    return shape


def blocks(volume: Volume, wanted: range) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the values of slices as (first slice, [z, …]), in order: as many slabs at a time as are decoded at once."""
    if volume.ndim == 2:
        yield 0, volume.rescaled()
        return
    heights = volume.chunks[0]
    ends = np.cumsum(heights).tolist()
    step = volume.threads or cores()
    with progress_bar("decoding", len(wanted) * math.prod(volume.shape[1:])) as progress:
        cuts = sorted({wanted.start, wanted.stop, *(end for end in ends if wanted.start < end < wanted.stop)})
        bounds = [*cuts[:-1:step], cuts[-1]]
        for first, end in pairwise(bounds):
            block = volume.rescaled(slice(first, end))
            yield first, block
            progress(block.size)
            del block


def _wanted(volume: Volume, slices: slice) -> range:
    """Return the slices to write. Raises UnsupportedError for none, or steps."""
    if volume.ndim == 2 and slices != slice(None):
        raise UnsupportedError("slices were asked of a two-dimensional array, which has none")
    depth = volume.shape[0] if volume.ndim > 2 else 1
    if slices.step not in (None, 1):
        raise UnsupportedError(f"slices in steps of {slices.step} were asked for; take those without a step")
    wanted = range(depth)[slices]
    if not wanted:
        raise UnsupportedError(f"{volume.name} has slices 0 to {depth - 1}, and none of those that were asked for")
    return wanted


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    from io import BytesIO

    file = BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


@contextmanager
def _packed(file: BinaryIO, packed: bool) -> Iterator[BinaryIO]:
    """Yield what to write to: the file, or a gzip stream in it, without name and time, so that bytes are the same."""
    if not packed:
        yield file
        return
    with gzip.GzipFile("", "wb", _LEVEL, file, 0) as stream:
        yield cast(BinaryIO, stream)


def _save_zarr(volume: Volume, target: Path, wanted: range, dtype: np.dtype[Any]) -> None:
    """Write a folder of Zarr format 3, in zarr's default codecs."""
    try:
        import zarr
    except ImportError as error:
        raise UnsupportedError(f".zarr needs zarr: {INSTALL}") from error
    if os.path.lexists(target):
        raise TargetError(f"{target} exists; remove it, or take another name, since a Zarr array is a folder")
    shape = (len(wanted), *volume.shape[1:]) if volume.ndim > 2 else volume.shape
    axes = ("z", "y", "x", "colour") if volume.ndim > 2 else ("y", "x")
    chunk = (*_ZARR_CHUNK[-len(shape) :], *shape[3:]) if len(shape) != 2 else _ZARR_CHUNK[1:]
    with new_tree(target, force=False) as folder:
        array = zarr.create_array(
            store=str(folder),
            shape=shape,
            dtype=dtype,
            chunks=tuple(min(a, b) for a, b in zip(chunk, shape, strict=True)),
            dimension_names=axes[: len(shape)],
            attributes=_attributes(volume, wanted.start),
        )
        for first, block in blocks(volume, wanted):
            if volume.ndim == 2:
                array[...] = block
            else:
                array[first - wanted.start : first - wanted.start + len(block)] = block


def _attributes(volume: Volume, first: int) -> dict[str, Any]:
    """Return what is known of a volume: its series, and its place in space if it has one."""
    facts: dict[str, Any] = {"series": volume.series, "modality": volume.modality, "description": volume.description}
    try:
        place = volume.geometry.shifted(first)
    except UnsupportedError:
        return facts
    return facts | {"spacing_mm": list(place.spacing), "affine_ras_mm": place.affine.tolist()}
