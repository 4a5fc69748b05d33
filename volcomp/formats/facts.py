"""What the header of a whole volume states besides shape and type: where its voxels lie, and what its numbers mean.

Axes are those of the file, the fastest first. Matrices take (i, j, k, 1), indexes of the first three axes, to mm in
LPS, DICOM's coordinates: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Float64s

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # of RAS; its own inverse
UNKNOWN, SCANNER = 0, 1  # codes of NIfTI: of no patient; of the scanner


class Place(NamedTuple):
    """Where the voxels of a file lie."""

    lps: Float64s  # [4, 4]
    code: int = (
        SCANNER  # as NIfTI numbers coordinates; UNKNOWN where the header states no patient, only an order of axes
    )


@dataclass(frozen=True, eq=False)
class Facts:
    """What a header states."""

    type: np.dtype[Any]  # of the numbers
    shape: tuple[int, ...]  # without components
    components: int = 1
    place: Place | str = "its format has no coordinates"  # else why there is none, for a sentence
    slope: float = 1.0
    intercept: float = 0.0
    seconds: float = 0.0  # from one time point to the next; 0 where that is not known

    @property
    def scaled(self) -> bool:
        """Return whether numbers are no values yet."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def count(self) -> int:
        """Return how many numbers there are, those of components too."""
        return math.prod(self.shape) * self.components

    @property
    def axes(self) -> tuple[int, int, int] | None:
        """Return the axes of the file along which columns, rows and slices follow each other; None for no volume.

        Axes of length 1 are left out (`uncompressed.image_of`), so rows and columns are the first two others.
        """
        long = [number for number, length in enumerate(self.shape) if length > 1]
        if len(long) < 2 or long[1] > 2:
            return None
        columns, rows = long[:2]
        return columns, rows, 3 - columns - rows

    @property
    def depth(self) -> int:
        """Return how many slices one volume has."""
        return self.shape[self.axes[2]] if self.axes and self.axes[2] < len(self.shape) else 1

    @property
    def times(self) -> int:
        """Return how many volumes follow each other."""
        return math.prod(self.shape[3:])

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Return the distances of voxels along z, y, x of the volume in mm, rounded to 9 digits; None for no place."""
        if isinstance(self.place, str) or self.axes is None:
            return None
        sizes = np.linalg.norm(self.place.lps[:3, :3], axis=0)
        x, y, z = (float(f"{sizes[axis]:.9g}") for axis in self.axes)
        return z, y, x


def place_of(directions: Float64s, origin: Sequence[float] | Float64s, code: int = SCANNER) -> Place | str:
    """Return a place, or why there is none.

    Parameters:
        directions: [3, 3], whose columns are the steps along i, j, k in mm of LPS.
        origin: of the first voxel's centre, mm of LPS.
        code: see `Place`.
    """
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = directions, origin
    if not np.isfinite(lps).all() or np.abs(lps).max() > 1e9:
        return "its header states directions or an origin that are no numbers, or beyond 1000 km"
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    if sizes.min() < 1e-9 or abs(np.linalg.det(lps[:3, :3] / sizes)) < 1e-6:
        return "its header states axes that do not span a space"
    return Place(lps, code)
