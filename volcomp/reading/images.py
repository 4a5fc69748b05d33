"""Volumes as images of SimpleITK and nibabel: values, and where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError
from ..formats.geometry import Geometry

if TYPE_CHECKING:
    from .volume import Volume

INSTALL = "pip install 'volcomp[images]'"


def to_sitk(volume: Volume, *, geometry: bool = True) -> Any:
    """Return a `SimpleITK.Image` of the values (`Volume.rescaled`), with origin, spacing and direction in LPS.

    Parameters:
        volume: the volume; all of it is decoded.
        geometry: without it voxels are 1 mm wide and begin at 0, whatever headers say.

    Raises:
        UnsupportedError: SimpleITK is not installed, the volume has no place in space (see `Volume.geometry`), or its
            axes are not at right angles, as after a gantry tilt, which SimpleITK cannot say.
    """
    place, values = volume.geometry if geometry else None, _solid(volume, "SimpleITK")
    return sitk_image(values, place, volume.seconds, volume.name, colours=volume.ndim == 4)


def sitk_image(values: np.ndarray, place: Geometry | None, seconds: float, name: str, *, colours: bool) -> Any:
    """Return an image of values [z, y, x], [t, z, y, x] or with colours behind. Raises UnsupportedError."""
    try:
        import SimpleITK
    except ImportError as error:
        raise UnsupportedError(f"to_sitk needs SimpleITK: {INSTALL}") from error
    if place and place.shear:
        raise UnsupportedError(
            f"the {place.shear} in {name}, which SimpleITK cannot say; to_nibabel can, or take to_sitk(geometry=False)"
        )
    image = SimpleITK.GetImageFromArray(values, isVector=colours)
    if place:
        axes = image.GetDimension()
        origin, spacing, direction = np.zeros(axes), np.ones(axes), np.eye(axes)
        origin[:3] = place.lps[:3, 3]
        spacing[:3], direction[:3, :3] = directions(place)
        if axes > 3 and seconds:
            spacing[3] = seconds
        image.SetOrigin(origin.tolist())
        image.SetSpacing(spacing.tolist())
        image.SetDirection(direction.ravel().tolist())
    return image


def _values(volume: Volume, library: str) -> np.ndarray:
    """Return the values of a volume. Raises UnsupportedError for a type that neither library has."""
    if volume.rescaled_dtype == np.float16:
        raise UnsupportedError(f"{volume.name} has floating-point numbers of 16 bits, which {library} has not; take "
                               "np.asarray(volume).astype(np.float32)")  # fmt: skip
    return np.asarray(volume.rescaled())


def _solid(volume: Volume, library: str) -> np.ndarray:
    """Return values [z, y, x], with [t, …] before where there are several times, and […, c] behind for colours."""
    values = _values(volume, library)
    if volume.ndim == 2:
        return values[None]
    return values.reshape(volume.times, -1, *values.shape[1:]) if volume.times > 1 else values


def to_nibabel(volume: Volume, *, geometry: bool = True) -> Any:
    """Return a `nibabel.Nifti1Image` of the values (`Volume.rescaled`), indexed (x, y, z), with their affine to RAS mm.

    Rows and columns are as in the files, not turned. The affine is the sform, with the code 1 (scanner), or that of a
    NIfTI file, or 0 where headers state no patient; the qform is the same, but has the code 0 where the affine is
    sheared. Time points are the fourth axis. Colours are the type RGB24 of NIfTI.

    Parameters:
        volume: the volume; all of it is decoded.
        geometry: without it the affine is that of 1 mm, and both codes are 0.

    Raises:
        UnsupportedError: nibabel is not installed, or the volume has no place in space (see `Volume.geometry`).
    """
    place = volume.geometry if geometry else None
    values = _solid(volume, "nibabel")
    return nibabel_image(colours(values) if volume.ndim == 4 else values, place, volume.seconds)


def nibabel_image(values: np.ndarray, place: Geometry | None, seconds: float) -> Any:
    """Return an image of values [z, y, x] or [t, z, y, x]. Raises UnsupportedError."""
    try:
        import nibabel
    except ImportError as error:
        raise UnsupportedError(f"to_nibabel needs nibabel: {INSTALL}") from error
    wide = {} if values.dtype.itemsize < 8 or values.dtype.kind not in "iu" else {"dtype": values.dtype}
    image = nibabel.Nifti1Image(
        values.T, place.affine if place else np.eye(4), **wide
    )  # which warns of 64-bit integers
    image.header.set_xyzt_units("mm", "sec" if seconds else None)
    if seconds:
        image.header["pixdim"][4] = seconds
    code = place.code if place else 0
    image.set_sform(image.affine, code, update_affine=False)
    image.set_qform(image.affine, 0 if place and place.sheared else code, update_affine=False)
    return image


def directions(place: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return spacing [x, y, z] in mm and unit vectors in LPS, the columns of [3, 3]."""
    spacing = np.linalg.norm(place.lps[:3, :3], axis=0)
    return spacing, place.lps[:3, :3] / spacing


def colours(values: np.ndarray) -> np.ndarray:
    """Return [z, y, x, 3] as [z, y, x] of NIfTI's RGB24. Raises UnsupportedError for what it cannot hold."""
    if values.dtype != np.uint8 or values.shape[-1] != 3:
        raise UnsupportedError(f"NIfTI holds colours of three bytes, not of {values.shape[-1]} × {values.dtype}")
    return np.ascontiguousarray(values).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
