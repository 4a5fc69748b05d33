"""The headers of image files: NIfTI-1, NRRD and MetaImage. Voxels follow, x fastest, in little-endian order.

The layouts are those of nifti1.h, of the NRRD format (version 4) and of MetaIO. Of a header in a file of its own the
name of that with the voxels is `data`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..formats.geometry import Geometry

_NIFTI = struct.Struct("<i35xB8h14xhh2x8ff2f3xB24x80s24shh6f12f16s4s")
_NIFTI_BYTES = 348
_NIFTI_TYPES = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280,
}  # fmt: skip
_RGB24 = 128
_MM, _SECONDS = 2, 8  # of the field xyzt_units
_NRRD_TYPES = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32", "u8": "uint64",
    "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip
_META_TYPES = {
    "u1": "UCHAR", "i1": "CHAR", "u2": "USHORT", "i2": "SHORT", "u4": "UINT", "i4": "INT", "f4": "FLOAT",
    "f8": "DOUBLE", "i8": "LONG_LONG", "u8": "ULONG_LONG",
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """The voxels of an image, and where they lie."""

    shape: tuple[int, int, int]  # z, y, x
    dtype: np.dtype[Any]
    place: Geometry
    components: int = 1
    times: int = 1
    seconds: float = 0.0  # from one time point to the next; 0 where that is not known


def nifti(grid: Grid, data: str | None = None) -> bytes:
    """Return the header of a NIfTI-1 file up to its voxels, or that of a pair, whose voxels are an `.img` file.

    The sform is the affine; so is the qform, but where the axes are sheared its code is 0.
    """
    z, y, x = grid.shape
    if max(*grid.shape, grid.times) >= 1 << 15:
        raise UnsupportedError(f"NIfTI holds 32767 voxels along an axis, not {max(*grid.shape, grid.times)}")
    kind, bits = int(_type_of(grid, _NIFTI_TYPES, "NIfTI")), 8 * grid.dtype.itemsize
    if grid.components > 1:
        if grid.dtype != np.uint8 or grid.components != 3:
            raise UnsupportedError(f"NIfTI holds colours of three bytes, not of {grid.components} × {grid.dtype}")
        kind, bits = _RGB24, 24
    affine, code = grid.place.affine, grid.place.code
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    handed, quaternion = _quaternion(affine[:3, :3] / spacing)
    fields = _NIFTI.pack(
        _NIFTI_BYTES,
        0,
        *(3 if grid.times == 1 else 4, x, y, z, grid.times, 1, 1, 1),
        kind,
        bits,
        *(handed, *spacing, grid.seconds, 0, 0, 0),
        0 if data else _NIFTI_BYTES + 4,
        *(1, 0),  # values are as they are
        _MM | (_SECONDS if grid.seconds else 0),
        b"volcomp",
        b"",
        0 if grid.place.sheared else code,
        code,
        *quaternion,
        *affine[:3, 3],
        *affine[:3].ravel(),
        b"",
        b"ni1" if data else b"n+1",
    )
    return fields + bytes(4)  # no extension


def _type_of(grid: Grid, names: dict[str, Any], what: str) -> Any:
    """Return the name of the type of voxels. Raises UnsupportedError for one that a format has not."""
    name = grid.dtype.str[1:]
    if name not in names:
        raise UnsupportedError(f"{what} has no numbers of type {grid.dtype.name}")
    return names[name]


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


def nrrd(grid: Grid, data: str | None = None) -> bytes:
    """Return the header of an NRRD file, whose voxels follow as one gzip stream, or are bare in a file of their own."""
    sizes, kinds = [*grid.shape[::-1]], ["domain"] * 3
    steps = [_vector(column) for column in grid.place.lps[:3, :3].T]
    if grid.times > 1:
        sizes, steps, kinds = [*sizes, grid.times], [*steps, "none"], [*kinds, "list"]
    if grid.components > 1:
        sizes, steps = [grid.components, *sizes], ["none", *steps]
        kinds = ["RGB-color" if grid.components == 3 else "list", *kinds]
    space = "left-posterior-superior" if grid.place.known else None
    lines = [
        "NRRD0004",
        f"type: {_type_of(grid, _NRRD_TYPES, 'NRRD')}",
        f"dimension: {len(sizes)}",
        f"space: {space}" if space else "space dimension: 3",
        "sizes: " + " ".join(map(str, sizes)),
        "space directions: " + " ".join(steps),
        "kinds: " + " ".join(kinds),
        "endian: little",
        f"encoding: {'raw' if data else 'gzip'}",
        "space origin: " + _vector(grid.place.lps[:3, 3]),
        'space units: "mm" "mm" "mm"',
        *([f"data file: {data}"] if data else []),
    ]
    return "\n".join([*lines, "", ""][: None if data is None else -1]).encode()


def meta_image(grid: Grid, data: str | None = None) -> bytes:
    """Return the header of a MetaImage file. Raises UnsupportedError where axes are sheared."""
    if grid.place.shear:
        raise UnsupportedError(f"its {grid.place.shear}, which a MetaImage cannot say; .nii and .nrrd can")
    axes = 3 if grid.times == 1 else 4
    spacing, matrix, origin = np.ones(axes), np.eye(axes), np.zeros(axes)
    spacing[:3] = np.linalg.norm(grid.place.lps[:3, :3], axis=0)
    matrix[:3, :3], origin[:3] = (grid.place.lps[:3, :3] / spacing[:3]).T, grid.place.lps[:3, 3]
    if axes > 3 and grid.seconds:
        spacing[3] = grid.seconds
    lines = [
        "ObjectType = Image",
        f"NDims = {axes}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = " + _numbers(matrix.ravel()),
        "Offset = " + _numbers(origin),
        "CenterOfRotation = " + " ".join("0" * axes),
        "ElementSpacing = " + _numbers(spacing),
        "DimSize = " + " ".join(map(str, [*grid.shape[::-1], grid.times][:axes])),
        *([f"ElementNumberOfChannels = {grid.components}"] if grid.components > 1 else []),
        f"ElementType = MET_{_type_of(grid, _META_TYPES, 'a MetaImage')}",
        f"ElementDataFile = {data or 'LOCAL'}",
    ]
    return "\n".join([*lines, ""]).encode()


def _vector(numbers: np.ndarray) -> str:
    return "(" + ",".join(map(repr, numbers.tolist())) + ")"


def _numbers(numbers: np.ndarray) -> str:
    return " ".join(map(repr, numbers.tolist()))
