"""NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov), in one file or as a pair, and Analyze 7.5, in either byte order.

A `.nii` has header, extensions and voxels. Of a pair, the `.img` has the voxels, and the `.hdr` beside it is read for
their type and shape. An Analyze header is one of NIfTI-1 without its magic number.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .protocol import Description, Format, Image, NotCoded
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


def _header(head: bytes) -> _Header | None:
    """Read the header at the beginning of a file; None where there is none."""
    for endian in "<>":
        (size,) = struct.unpack_from(endian + "i", head) if len(head) >= 4 else (0,)
        if size == _SIZE_1 and len(head) >= _SIZE_1:
            dim = struct.unpack_from(endian + "8h", head, 40)
            kind, bits = struct.unpack_from(endian + "2h", head, 70)
            spacing = struct.unpack_from(endian + "8f", head, 76)
            (offset,) = struct.unpack_from(endian + "f", head, 108)
            return _Header(endian, head[344:348], size, dim, kind, bits, spacing, offset, head[123], head[148:228])
        if size == _SIZE_2 and len(head) >= _SIZE_2:
            kind, bits = struct.unpack_from(endian + "2h", head, 12)
            dim = struct.unpack_from(endian + "8q", head, 16)
            spacing = struct.unpack_from(endian + "8d", head, 104)
            (offset,) = struct.unpack_from(endian + "q", head, 168)
            (units,) = struct.unpack_from(endian + "i", head, 500)
            return _Header(endian, head[4:8], size, dim, kind, bits, spacing, offset, units, head[240:320])
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

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its header."""
        header = _header(headers[0])
        if header is None:
            return Description()
        mm = _UNITS.get(header.units & 7, 1.0)
        spacing = [round(abs(mm * n), 6) if math.isfinite(n) and n else None for n in header.spacing[1:4]]
        text = header.description.split(b"\0")[0].decode("latin-1").strip()
        return Description(description=text, spacing_mm=(spacing[2], spacing[1], spacing[0]))


class NiftiPair(Format):
    """The voxels of a pair."""

    def sniff(self, head: bytes) -> bool:
        """Accept everything: the file has voxels alone."""
        return True

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in an `.img` file by the header beside it; None without one."""
        if path.suffix.lower() != ".img":
            return None
        for suffix in (".hdr", ".HDR"):
            try:
                with path.with_suffix(suffix).open("rb") as beside:
                    head = beside.read(_SIZE_2)
            except OSError:
                continue
            header = _header(head)
            if header and header.magic not in (_SINGLE_1, _SINGLE_2):
                return image_of(self, path, name, file, _stated(header, 0))
        return None


NIFTI, NIFTI_PAIR = Nifti(), NiftiPair()
