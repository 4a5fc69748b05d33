"""The headers of image files: NIfTI-1, NRRD and MetaImage. Voxels follow, x fastest, in little-endian order.

Each header is made of the shape of the values (z, y, x), with the number of colours behind it if there are some, their
type, and their place in space. The layouts are those of nifti1.h, of the NRRD format (version 4) and of MetaIO.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from .geometry import Geometry

_NIFTI = struct.Struct("<i35xB8h14xhh2x8ff2f3xB24x80s24shh6f12f16s4s")
_NIFTI_BYTES = 348
_NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
_RGB24 = 128
_MM = 2  # of the field xyzt_units
_SCANNER = 1  # of qform_code and sform_code: coordinates of the scanner
_NRRD_TYPES = {"f4": "float", "f8": "double"}
_META_TYPES = {
    "u1": "UCHAR", "i1": "CHAR", "u2": "USHORT", "i2": "SHORT", "u4": "UINT", "i4": "INT", "f4": "FLOAT",
    "f8": "DOUBLE",
}  # fmt: skip


def nifti(shape: tuple[int, ...], dtype: np.dtype[Any], place: Geometry) -> bytes:
    """Return the header of a NIfTI-1 file of one part (`.nii`), up to its voxels.

    The sform is the affine; so is the qform, but where a gantry tilt shears the affine its code is 0.
    """
    z, y, x = shape[:3]
    if max(shape) >= 1 << 15:
        raise UnsupportedError(f"NIfTI holds 32767 voxels along an axis, not {max(shape)}")
    kind, bits = _NIFTI_TYPES.get(dtype.str[1:], 0), 8 * dtype.itemsize
    if len(shape) > 3:
        if dtype != np.uint8 or shape[3] != 3:
            raise UnsupportedError(f"NIfTI holds colours of three bytes, not of {shape[3]} × {dtype}")
        kind, bits = _RGB24, 24
    affine = place.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    handed, quaternion = _quaternion(affine[:3, :3] / spacing)
    fields = _NIFTI.pack(
        _NIFTI_BYTES,
        0,
        *(3, x, y, z, 1, 1, 1, 1),
        kind,
        bits,
        *(handed, *spacing, 0, 0, 0, 0),
        _NIFTI_BYTES + 4,
        *(1, 0),  # values are as they are
        _MM,
        b"volcomp",
        b"",
        0 if place.sheared else _SCANNER,
        _SCANNER,
        *quaternion,
        *affine[:3, 3],
        *affine[:3].ravel(),
        b"",
        b"n+1",
    )
    return fields + bytes(4)  # no extension


def _quaternion(rotation: np.ndarray) -> tuple[float, tuple[float, float, float]]:
    """Return −1 where the axes are left-handed, else 1; and b, c, d of the unit quaternion of a rotation, a ≥ 0."""
    handed = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = (rotation * [1, 1, handed]).T
    # Its eigenvector of the largest eigenvalue is the quaternion, of the nearest rotation where this is none.
    symmetric = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(symmetric)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return handed, (sign * b, sign * c, sign * d)


def nrrd(shape: tuple[int, ...], dtype: np.dtype[Any], place: Geometry) -> bytes:
    """Return the header of an NRRD file, whose voxels follow as one gzip stream."""
    sizes, kinds, directions = [*shape[2::-1]], ["domain"] * 3, [_vector(column) for column in place.lps[:3, :3].T]
    if len(shape) > 3:
        sizes, directions = [shape[3], *sizes], ["none", *directions]
        kinds = ["RGB-color" if shape[3] == 3 else "list", *kinds]
    name = dtype.str[1:]
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES.get(name) or dtype.name}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, sizes)),
        "space directions: " + " ".join(directions),
        "kinds: " + " ".join(kinds),
        "endian: little",
        "encoding: gzip",
        "space origin: " + _vector(place.lps[:3, 3]),
        'space units: "mm" "mm" "mm"',
    ]
    return "\n".join([*lines, "", ""]).encode()


def meta_image(shape: tuple[int, ...], dtype: np.dtype[Any], place: Geometry) -> bytes:
    """Return the header of a MetaImage file (`.mha`). Raises UnsupportedError for what a gantry tilt shears."""
    if place.sheared:
        raise UnsupportedError(
            f"its slices are sheared by {place.tilt:.2f} degrees (gantry tilt), which a MetaImage cannot say; .nii and "
            ".nrrd can"
        )
    spacing = np.linalg.norm(place.lps[:3, :3], axis=0)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = " + _numbers((place.lps[:3, :3] / spacing).T.ravel()),
        "Offset = " + _numbers(place.lps[:3, 3]),
        "CenterOfRotation = 0 0 0",
        "ElementSpacing = " + _numbers(spacing),
        "DimSize = " + " ".join(map(str, shape[2::-1])),
        *([f"ElementNumberOfChannels = {shape[3]}"] if len(shape) > 3 else []),
        "ElementType = MET_" + _META_TYPES[dtype.str[1:]],
        "ElementDataFile = LOCAL",
    ]
    return "\n".join([*lines, ""]).encode()


def _vector(numbers: np.ndarray) -> str:
    return "(" + ",".join(map(repr, numbers.tolist())) + ")"


def _numbers(numbers: np.ndarray) -> str:
    return " ".join(map(repr, numbers.tolist()))
