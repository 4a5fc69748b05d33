"""NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov), in one file or as a pair, and Analyze 7.5, in either byte order.

A `.nii` has header, extensions and voxels. Of a pair, the `.img` has the voxels, and the `.hdr` beside it is read for
their type and shape. An Analyze header is one of NIfTI-1 without its magic number.

Places and scaling are read in the order of precedence that nibabel has: the sform if its code is not 0, else the qform
if its code is not 0, else pixdim around the middle of the volume, x to the left. (ITK takes the qform where both have a
code and that of the sform is not 1.) An Analyze header is read as SPM writes it: a factor and an offset in the place
of NIfTI's, else from the calibrated range, and an origin in voxels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..dtypes import Float64s
from .facts import TO_LPS, UNKNOWN, Facts, Place, place_of
from .protocol import Description, Detached, Format, Image, NotCoded
from .uncompressed import Stated, image_of

_SIZE_1, _SIZE_2 = 348, 540  # bytes of a header, its first number
_SINGLE_1, _SINGLE_2 = (b"n+1\0", b"n+2\0")  # magic numbers of headers that are followed by voxels
_PAIR_1, _PAIR_2 = b"ni1\0", b"ni2\0"
_MOST_AXES = 7
# Data types: numpy's, and components.
_TYPES: dict[int, tuple[str, int]] = {
    2: ("u1", 1),
    4: ("i2", 1),
    8: ("i4", 1),
    16: ("f4", 1),
    32: ("c8", 1),
    64: ("f8", 1),
    128: ("u1", 3),
    256: ("i1", 1),
    512: ("u2", 1),
    768: ("u4", 1),
    1024: ("i8", 1),
    1280: ("u8", 1),
    1792: ("c16", 1),
    2304: ("u1", 4),
}
_UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}  # of lengths, mm
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}


class _Header(NamedTuple):
    """The fields that matter here."""

    endian: str
    magic: bytes
    size: int
    dim: tuple[int, ...]
    type: int
    bits: int
    spacing: tuple[float, ...]
    offset: float
    units: int
    description: bytes
    scaling: tuple[float, float]  # factor and offset
    codes: tuple[int, int]  # of qform and sform
    numbers: tuple[float, ...]  # of the qform: b, c, d of a quaternion, offsets x, y, z; of the sform: three rows
    ranges: tuple[float, float, float, float]  # of Analyze: cal_max, cal_min, glmax, glmin
    origin: tuple[int, int, int]  # of Analyze, as SPM has it, in voxels from 1 on

    @property
    def analyze(self) -> bool:
        """Return whether it has no fields of NIfTI."""
        return self.size == _SIZE_1 and self.magic not in (b"n+1\0", _PAIR_1)


def _header(head: bytes) -> _Header | None:
    """Read the header at the beginning of a file; None where there is none."""
    for endian in "<>":
        (size,) = struct.unpack_from(endian + "i", head) if len(head) >= 4 else (0,)
        if size == _SIZE_1 and len(head) >= _SIZE_1:
            dim = struct.unpack_from(endian + "8h", head, 40)
            kind, bits = struct.unpack_from(endian + "2h", head, 70)
            spacing = struct.unpack_from(endian + "8f", head, 76)
            offset, slope, inter = struct.unpack_from(endian + "3f", head, 108)
            qform, sform, *numbers = struct.unpack_from(endian + "2h18f", head, 252)
            ranges = struct.unpack_from(endian + "2f", head, 124) + struct.unpack_from(endian + "2i", head, 140)
            origin = struct.unpack_from(endian + "3h", head, 253)
            return _Header(
                endian, head[344:348], size, dim, kind, bits, spacing, offset, head[123], head[148:228], (slope, inter),
                (qform, sform), tuple(numbers), ranges, origin,
            )  # fmt: skip
        if size == _SIZE_2 and len(head) >= _SIZE_2:
            kind, bits = struct.unpack_from(endian + "2h", head, 12)
            dim = struct.unpack_from(endian + "8q", head, 16)
            spacing = struct.unpack_from(endian + "8d", head, 104)
            (offset,) = struct.unpack_from(endian + "q", head, 168)
            (units,) = struct.unpack_from(endian + "i", head, 500)
            scaling = struct.unpack_from(endian + "2d", head, 176)
            qform, sform, *numbers = struct.unpack_from(endian + "2i18d", head, 344)
            return _Header(
                endian, head[4:8], size, dim, kind, bits, spacing, offset, units, head[240:320], scaling,
                (qform, sform), tuple(numbers), (0, 0, 0, 0), (0, 0, 0),
            )  # fmt: skip
    return None


def _stated(header: _Header, first: int) -> Stated:
    """Return what a header states; `first`: the first byte that voxels may have. Raises NotCoded."""
    if not 1 <= header.dim[0] <= _MOST_AXES:
        raise NotCoded(f"its header states {header.dim[0]} dimensions")
    if header.type not in _TYPES:
        raise NotCoded(f"its header states the data type {header.type}")
    name, components = _TYPES[header.type]
    kind: np.dtype[Any] = np.dtype(header.endian + name)
    if header.bits != 8 * kind.itemsize * components:
        raise NotCoded("its header contradicts itself about the bits of a voxel")
    if not math.isfinite(header.offset) or header.offset != int(header.offset):
        raise NotCoded("its header does not say where its voxels begin")
    if header.offset < first:
        raise NotCoded("its header states voxels that begin within it" if first else "its voxels begin before it does")
    return Stated(
        int(header.offset), kind, header.dim[1 : 1 + header.dim[0]], components, colour=name == "u1" and components > 1
    )


class Nifti(Format):
    """A header that is followed by voxels, in a file of its own."""

    def sniff(self, head: bytes) -> bool:
        """Accept the size of a header, in either byte order."""
        sizes = (_SIZE_1, _SIZE_2)
        return int.from_bytes(head[:4], "little") in sizes or int.from_bytes(head[:4], "big") in sizes

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file."""
        header = _header(file.read(_SIZE_2))
        if header is None:
            raise NotCoded("its header is cut short")
        if header.magic not in (_SINGLE_1, _SINGLE_2):
            raise NotCoded("it is a header: the voxels are in the .img file beside it")
        # Extensions begin after four bytes that say whether there are any.
        return image_of(self, path, name, file, _stated(header, header.size + 4))

    def facts(self, header: bytes) -> Facts | None:
        """Return what a header states."""
        found = _header(header[:_SIZE_2])
        return _facts(found) if found and found.magic in (_SINGLE_1, _SINGLE_2) else None

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its header."""
        header = _header(headers[0])
        if header is None:
            return Description()
        text = header.description.split(b"\0")[0].decode("latin-1").strip()
        return Description(description=text)


class NiftiPair(Detached):
    """The voxels of a pair."""

    def sniff(self, head: bytes) -> bool:
        """Accept everything: the file has voxels alone."""
        return True

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in an `.img` file by the header beside it; None without one."""
        for beside in self.headers(path.name, ()):
            try:
                with path.with_name(beside).open("rb") as opened:
                    header = _header(opened.read(_SIZE_2))
            except OSError:
                continue
            if header and header.magic not in (_SINGLE_1, _SINGLE_2):
                return image_of(self, path, name, file, _stated(header, 0))
        return None

    def headers(self, name: str, others: Iterable[str]) -> list[str]:
        """Return the names that the header of a file may have."""
        stem, dot, suffix = name.rpartition(".")
        return [f"{stem}.hdr", f"{stem}.HDR"] if dot and suffix.lower() == "img" else []

    def facts_beside(self, header: bytes, name: str) -> Facts | None:
        """Return what the header of an `.img` file states."""
        found = _header(header[:_SIZE_2])
        return _facts(found) if found and found.magic not in (_SINGLE_1, _SINGLE_2) else None


def _facts(header: _Header) -> Facts | None:
    """Return what a header states; None for what cannot have been coded."""
    try:
        stated = _stated(header, 0)
    except NotCoded:
        return None
    slope, intercept = _scaling(header)
    step = header.spacing[4] if len(stated.shape) > 3 else 0.0
    seconds = step * _SECONDS.get(header.units & 56, 0.0)
    if stated.colour:  # which are not scaled
        slope, intercept = 1.0, 0.0
    with np.errstate(all="ignore"):
        place = _place(header)
    return Facts(
        stated.type, stated.shape, stated.components, place, slope, intercept,
        seconds if math.isfinite(seconds) and seconds > 0 else 0.0,
    )  # fmt: skip


def _scaling(header: _Header) -> tuple[float, float]:
    """Return factor and offset of values: 1 and 0 where there are none, or an offset that is no number."""
    slope, inter = header.scaling
    if slope and math.isfinite(slope):
        return slope, inter if math.isfinite(inter) else 0.0
    most, least, top, bottom = header.ranges
    if header.analyze and top != bottom and most != least and math.isfinite(most - least):
        slope = (most - least) / (top - bottom)
        return slope, least - slope * bottom
    return 1.0, 0.0


def _place(header: _Header) -> Place | str:
    """Return the place that a header states, or why there is none."""
    mm = _UNITS.get(header.units & 7, 1.0)
    ras, code = np.eye(4), UNKNOWN
    if header.analyze:
        mm = 1.0  # the unit is a text there
        ras = _around(header, header.origin)
    elif header.codes[1] > 0:
        ras[:3], code = np.reshape(header.numbers[6:], (3, 4)), header.codes[1]
    elif header.codes[0] > 0:
        rotation = _rotation(header.numbers[:3])
        sizes = np.array(header.spacing[1:4])
        if rotation is None:
            return "its header states a quaternion of a length above 1"
        if not (sizes > 0).all():
            return "its header states a qform and no size of voxels"
        sizes[2] *= -1.0 if header.spacing[0] < 0 else 1.0
        ras[:3, :3], ras[:3, 3], code = rotation * sizes, header.numbers[3:6], header.codes[0]
    else:
        ras = _around(header, (0, 0, 0))
    lps = TO_LPS @ ras * mm
    return place_of(lps[:3, :3], lps[:3, 3], code)


def _around(header: _Header, origin: tuple[int, int, int]) -> Float64s:
    """Return the matrix to RAS of sizes alone: x to the left, and 0 at an origin, or in the middle where it is none."""
    count = header.dim[0]
    sides = np.array([header.dim[1 + i] if i < count else 1 for i in range(3)], np.float64)
    sizes = np.array([header.spacing[1 + i] if i < count else 1.0 for i in range(3)]) * [-1, 1, 1]
    place = np.array(origin, np.float64)
    inside = place.any() and (place > -sides).all() and (place < 2 * sides).all()
    ras = np.diag([*sizes, 1.0])
    ras[:3, 3] = -sizes * (place - 1 if inside else (sides - 1) / 2)
    return ras


def _rotation(bcd: Sequence[float]) -> Float64s | None:
    """Return the rotation [3, 3] of a unit quaternion, whose first number is not stored; None where there is none."""
    b, c, d = bcd
    squares = b * b + c * c + d * d
    if not squares < 1 + 1e-5:  # rounded to 24 bits
        return None
    a = math.sqrt(max(0.0, 1 - squares))
    if squares > 1:
        b, c, d = (n / math.sqrt(squares) for n in (b, c, d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


NIFTI, NIFTI_PAIR = Nifti(), NiftiPair()
