"""Write a volume as a file of another format, by its suffix: slab after slab, so that memory stays small."""

from __future__ import annotations

import gzip
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from ..archive.files import new_file, new_tree
from ..errors import TargetError, UnsupportedError
from ..formats.geometry import Geometry
from ..options import IMAGE_SUFFIXES, check_folder, image_suffix
from ..progress import progress_bar
from ..runtime.cpus import cores
from . import image_files, tiff_file
from .image_files import Grid

if TYPE_CHECKING:
    from .volume import Volume

INSTALL = "pip install 'volcomp[zarr]'"
_ZARR_CHUNK = (32, 256, 256)
_LEVEL = 6  # of gzip


@dataclass(frozen=True)
class _Kind:
    """A format: what its file begins with, and whether a part of it is compressed."""

    header: Callable[[Grid, str | None], bytes]
    all_packed: bool = False
    voxels_packed: bool = False
    data: str = ""  # suffix of a file of its own with the voxels
    upright: bool = False  # SimpleITK reads none whose axes are sheared


_NIFTI_PAIR = _Kind(image_files.nifti, data=".img", upright=True)
_KINDS = {
    ".nii.gz": _Kind(image_files.nifti, all_packed=True, upright=True),
    ".nii": _Kind(image_files.nifti, upright=True),
    ".hdr": _NIFTI_PAIR,
    ".img": _NIFTI_PAIR,
    ".nrrd": _Kind(image_files.nrrd, voxels_packed=True),
    ".nhdr": _Kind(image_files.nrrd, data=".raw"),
    ".mha": _Kind(image_files.meta_image),
    ".mhd": _Kind(image_files.meta_image, data=".raw"),
}
_TIFF, _OME = (".tiff", ".tif"), ".ome.zarr"
OF_TIMES = (*_KINDS, ".npy", ".zarr")  # that hold series in time


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """Return the header and the voxels of a format that has a file for each; None for another."""
    suffix = image_suffix(path.name)
    kind = _KINDS.get(suffix or "")
    if not kind or not kind.data or not suffix:
        return None
    stem = path.name[: -len(suffix)]
    ending = ".hdr" if kind is _NIFTI_PAIR else path.name[-len(suffix) :]
    return path.with_name(stem + ending), path.with_name(stem + kind.data)


def save(
    volume: Volume, target: str | os.PathLike[str], slices: slice = slice(None), *, force: bool = False
) -> tuple[int, ...]:
    """Write the values of a volume (`Volume.rescaled`) to a file that gets its name when it is complete.

    Parameters:
        volume: the volume.
        target: the file. Its suffix says which format. `.nii.gz`, `.nii`, `.nrrd` and `.mha` have the volume's place in
            space as well, and so have `.hdr` with `.img`, `.nhdr` and `.mhd` with `.raw`, of which both files are
            written. `.tif` and `.tiff` have the spacing of pixels; `.npy` has the array alone. `.zarr` is a folder,
            with affine and spacing as attributes where there are some, and `.ome.zarr` one of OME-Zarr 0.5, with the
            spacing (`pip install 'volcomp[zarr]'`). Both have zarr's own codecs, so that any reader reads them.
        slices: which slices, in steps of one.
        force: overwrite an existing file; an existing `.zarr` is never overwritten.

    Returns:
        The shape of what was written.

    Raises:
        UnsupportedError: for another suffix, no slices, a format that cannot hold the volume, or a volume without a
            place in space where the format has one.
        TargetError: `target` exists, or cannot be written.
        DamagedError: the archive is damaged; nothing has been written.

    A UserWarning tells of a NIfTI file with sheared axes, which SimpleITK does not read.
    """
    path, suffix = Path(target), image_suffix(Path(target).name)
    if suffix is None:
        check_folder(str(path))
        raise UnsupportedError(f"{path} has none of the suffixes {', '.join(IMAGE_SUFFIXES)}, which say the format")
    wanted = _wanted(volume, slices)
    shape = (len(wanted), *volume.shape[1:]) if volume.ndim > 2 else volume.shape
    dtype = volume.rescaled_dtype.newbyteorder("<")
    if suffix.endswith(".zarr"):
        return _save_zarr(volume, path, wanted, dtype, ome=suffix == _OME)
    if suffix in _TIFF:
        header = tiff_file.header(_grid(volume, wanted, dtype, placed=False), volume.spacing)
    else:
        header = header_of(path, shape, dtype, lambda: _grid(volume, wanted, dtype))
    write(path, header, (block for _, block in blocks(volume, wanted)), dtype, force=force)
    return shape


def header_of(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], grid_of: Callable[[], Grid]) -> bytes:
    """Return what the file of an array begins with, by its suffix.

    Raises UnsupportedError for a format that cannot hold the voxels; warns of NIfTI that SimpleITK does not read.
    """
    kind, pair = _KINDS.get(image_suffix(path.name) or ""), pair_of(path)
    if kind is None:
        return _npy_header(shape, dtype)
    try:
        grid = grid_of()
        header = kind.header(grid, pair[1].name if pair else None)
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}; .npy and .zarr hold voxels without their place") from None
    if kind.upright and grid.place.shear:
        sentence = f"{path}: its {grid.place.shear}; nibabel reads that in NIfTI, and SimpleITK only in .nrrd"
        warnings.warn(sentence, UserWarning, stacklevel=3)
    return header


def write(
    path: Path, header: bytes, values: Iterable[np.ndarray], dtype: np.dtype[Any], *, force: bool
) -> None:  # fmt: skip
    """Write the file, or the two files, of an array: its header, and its values in order."""
    kind, pair = _KINDS.get(image_suffix(path.name) or ""), pair_of(path)
    with ExitStack() as stack:
        file, _ = stack.enter_context(new_file(pair[0] if pair else path, force=force))
        outer = stack.enter_context(_packed(file, kind is not None and kind.all_packed))
        outer.write(header)
        if pair:
            outer, _ = stack.enter_context(new_file(pair[1], force=force))
        inner = stack.enter_context(_packed(outer, kind is not None and kind.voxels_packed))
        for block in values:
            inner.write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data)


def _grid(volume: Volume, wanted: range, dtype: np.dtype[Any], *, placed: bool = True) -> Grid:
    """Return the voxels of slices, with time points where they are several whole ones. Raises UnsupportedError."""
    components = volume.shape[3] if volume.ndim > 3 else 1
    rows, columns = volume.shape[1:3] if volume.ndim > 2 else volume.shape
    depth = volume.shape[0] // volume.times if volume.ndim > 2 else 1
    if not placed:
        return Grid((len(wanted), rows, columns), dtype, Geometry(np.eye(4)), components)
    first, end = wanted.start, wanted.stop
    if (end - 1) // depth == first // depth:
        place = volume.geometry.shifted(first % depth)
        return Grid((end - first, rows, columns), dtype, place, components)
    if first % depth or end % depth:
        raise UnsupportedError(
            f"slices {first} to {end - 1} lie in several time points of {depth} slices and fill them only in part"
        )
    return Grid((depth, rows, columns), dtype, volume.geometry, components, (end - first) // depth, volume.seconds)


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


def _save_zarr(
    volume: Volume, target: Path, wanted: range, dtype: np.dtype[Any], *, ome: bool
) -> tuple[int, ...]:  # fmt: skip
    """Write a folder of Zarr format 3, in zarr's default codecs; return the shape of the array."""
    try:
        import zarr
    except ImportError as error:
        raise UnsupportedError(f".zarr needs zarr: {INSTALL}") from error
    if os.path.lexists(target):
        raise TargetError(f"{target} exists; remove it, or take another name, since a Zarr array is a folder")
    shape = (len(wanted), *volume.shape[1:]) if volume.ndim > 2 else volume.shape
    axes = ["z", "y", "x", "colour"][: len(shape)] if volume.ndim > 2 else ["y", "x"]
    chunk = (*_ZARR_CHUNK[-len(shape) :], *shape[3:]) if len(shape) != 2 else _ZARR_CHUNK[1:]
    if ome and len(shape) > 3:  # channels come before space there
        shape, chunk, axes = (shape[3], *shape[:3]), (1, *chunk[:3]), ["c", "z", "y", "x"]
    attributes = _attributes(volume, wanted.start)
    with new_tree(target, force=False) as folder:
        if ome:
            zarr.create_group(store=str(folder), attributes={"ome": _multiscales(volume, axes), **attributes})
        array = zarr.create_array(
            store=str(folder),
            name="0" if ome else None,
            shape=shape,
            dtype=dtype,
            chunks=tuple(min(a, b) for a, b in zip(chunk, shape, strict=True)),
            dimension_names=axes,
            attributes=None if ome else attributes,
        )
        for first, block in blocks(volume, wanted):
            at = slice(first - wanted.start, first - wanted.start + len(block))
            if volume.ndim == 2:
                array[...] = block
            elif axes[0] == "c":
                array[:, at] = np.moveaxis(block, -1, 0)
            else:
                array[at] = block
    return shape


def _multiscales(volume: Volume, axes: list[str]) -> dict[str, Any]:
    """Return the metadata of OME-Zarr 0.5 of one resolution. It has spacing, and no directions."""
    spacing = dict(zip("zyx", volume.spacing, strict=True))
    known = {axis: {"unit": "millimeter"} if spacing.get(axis) else {} for axis in axes}
    scale = [spacing.get(axis) or 1.0 for axis in axes]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": volume.name,
                "axes": [{"name": axis, "type": "channel" if axis == "c" else "space", **known[axis]} for axis in axes],
                "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
            }
        ],
    }


def _attributes(volume: Volume, first: int) -> dict[str, Any]:
    """Return what is known of a volume: its series, and its place in space if it has one."""
    facts: dict[str, Any] = {"series": volume.series, "modality": volume.modality, "description": volume.description}
    try:
        place = volume.geometry.shifted(first)
    except UnsupportedError:
        return facts
    return facts | {"spacing_mm": list(place.spacing), "affine_ras_mm": place.affine.tolist()}
