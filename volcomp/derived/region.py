"""The region of a volume that stays exact: a box, or a mask in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..archive.tree import source_errors
from ..dtypes import Bools
from ..errors import UnsupportedError
from ..formats.protocol import NotCoded
from ..formats.registry import read_image
from .voxels import voxels_of

Shape = tuple[int, int, int]  # Z, Y, X
_RANGE = re.compile(r"(\d*):(\d*)")


class Region(Protocol):
    """Voxels of a volume."""

    def inside(self, shape: Shape, first: int, end: int) -> Bools:
        """Return which voxels of the slices `first` to `end - 1` of a volume Z, Y, X are inside: an array that
        broadcasts to [z, Y, X]. Raises UnsupportedError for a volume that the region does not fit."""
        ...


@dataclass(frozen=True)
class Box:
    """A box: first and past-the-end voxel along z, y, x; None for the end of the volume."""

    ranges: tuple[tuple[int, int | None], ...]

    def inside(self, shape: Shape, first: int, end: int) -> Bools:
        """See `Region.inside`."""
        axes = []
        for (begin, stop), size in zip(self.ranges, shape, strict=True):
            if begin >= size:
                raise UnsupportedError(
                    f"the region {self} begins at {begin} of an axis with {size} voxels (z × y × x of the volume: "
                    f"{' × '.join(map(str, shape))}); give one inside"
                )
            places = np.arange(size)
            axes.append((places >= begin) & (places < (size if stop is None else stop)))
        z, y, x = axes
        return z[first:end, None, None] & y[:, None] & x

    def __str__(self) -> str:
        parts = [f"{name}{a}:{'' if b is None else b}" for name, (a, b) in zip("zyx", self.ranges, strict=True)]
        return ",".join(parts[::-1])


@dataclass(frozen=True, eq=False)
class Mask:
    """The voxels of a file that are not 0."""

    name: str
    voxels: Bools  # [Z, Y, X]

    def inside(self, shape: Shape, first: int, end: int) -> Bools:
        """See `Region.inside`."""
        if shape != self.voxels.shape:
            raise UnsupportedError(
                f"the mask {self.name} has {' × '.join(map(str, self.voxels.shape))} voxels (z × y × x), and a volume "
                f"has {' × '.join(map(str, shape))}; give a mask of the same grid"
            )
        return self.voxels[first:end]

    def __str__(self) -> str:
        return self.name


def region_of(text: str) -> Region:
    """Read a region: 'x0:x1,y0:y1,z0:z1', of which ends may be left out, or the path of a mask.

    A mask is any file that volcomp reads as one image: NIfTI, NRRD, MetaImage, npy, TIFF, DICOM; slices in its order.

    Raises:
        UnsupportedError: for anything else.
    """
    parts = [
        _RANGE.fullmatch(re.sub(rf"^{axis}", "", part)) for axis, part in zip("xyz", text.split(","), strict=False)
    ]
    if len(parts) == 3 and text.count(",") == 2 and all(parts):
        ranges = [(int(part[1] or 0), int(part[2]) if part[2] else None) for part in parts if part]
        if any(stop is not None and stop <= begin for begin, stop in ranges):
            raise UnsupportedError(f"the region {text} is empty: give ends that are larger than the beginnings")
        return Box(tuple(ranges[::-1]))
    path = Path(text)
    with source_errors(path):
        if not path.is_file():
            raise UnsupportedError(
                f"{text!r} is no region and no file: give x0:x1,y0:y1,z0:z1, as in 100:200,50:150,10:40, or a mask"
            )
        try:
            image = read_image(path, path.name)
        except NotCoded as error:
            raise UnsupportedError(f"the mask {text} cannot be read: {error}") from None
    voxels = None if image is None else voxels_of(image)
    if voxels is None or voxels.ndim != 3:
        raise UnsupportedError(
            f"the mask {text} is no image of one integer a voxel; give NIfTI, NRRD, MetaImage or npy"
        )
    return Mask(path.name, voxels != 0)
