"""Where voxels lie: an affine of the positions that the slices' headers state, or a sentence why there is none.

DICOM's coordinates are LPS: x to the patient's left, y to the back (posterior), z to the head (superior), in mm.
NIfTI's are RAS, with the first two turned round. Indexes are (x, y, z) = (column, row, slice) in both matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..dtypes import Float64s
from ..errors import UnsupportedError
from .facts import SCANNER, TO_LPS, UNKNOWN
from .frames import Frame, Vector, cross

# How far the positions of slices may be from an even spacing: writers round them to hundredths of a millimetre.
_EVEN, _EVEN_SHARE = 0.02, 0.02  # mm, and of the spacing
_SAME_DIRECTION = 1e-3  # of each cosine
_SHEARED = 1e-3  # tangent of the angle between the normal and the way from slice to slice
_SKEW = 1e-2  # cosine of the angle between rows and columns, as much as DICOM's headers may have


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume lie."""

    lps: Float64s  # [4, 4]: (column, row, slice, 1) to mm in LPS
    code: int = (
        SCANNER  # of the coordinates, as NIfTI numbers them: 1 scanner, 2 aligned, 3 Talairach, 4 MNI; 0 unknown
    )

    @property
    def affine(self) -> Float64s:
        """Return [4, 4]: (column, row, slice, 1) to mm in RAS, as NIfTI has it."""
        return TO_LPS @ self.lps  # which is its own inverse

    @property
    def known(self) -> bool:
        """Return whether headers state a place in the patient; without it an order of axes was taken for one."""
        return self.code != UNKNOWN

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Return the distances of neighbouring voxels along z, y, x in mm; along z on the way from slice to slice."""
        x, y, z = np.linalg.norm(self.lps[:3, :3], axis=0).tolist()
        return z, y, x

    @property
    def tilt(self) -> float:
        """Return the angle between the slices' normal and the way from one to the next, in degrees: gantry tilt."""
        x, y, z = self.lps[:3, :3].T
        normal = np.cross(x, y)
        return math.degrees(math.atan2(np.linalg.norm(np.cross(normal, z)), abs(float(normal @ z))))

    @property
    def sheared(self) -> bool:
        """Return whether the axes are not at right angles, as after a gantry tilt."""
        return self.shear is not None

    @property
    def shear(self) -> str | None:
        """Return which axes are not at right angles, for a sentence; None where all are."""
        if math.tan(math.radians(self.tilt)) > _SHEARED:
            return f"slices are sheared by {self.tilt:.2f} degrees (gantry tilt)"
        x, y, _ = self.lps[:3, :3].T / np.linalg.norm(self.lps[:3, :3], axis=0)[:, None]
        if abs(float(x @ y)) > _SKEW:
            return f"rows and columns meet at {math.degrees(math.acos(np.clip(x @ y, -1, 1))):.2f} degrees"
        return None

    def shifted(self, first: int) -> Geometry:
        """Return the geometry of the slices from this one on."""
        lps = self.lps.copy()
        lps[:3, 3] += first * lps[:3, 2]
        return Geometry(lps, self.code)


def geometry_of(frames: Sequence[Frame]) -> Geometry:
    """Return the geometry of slices, in their order in the volume.

    A single slice is as high as its header says: SpacingBetweenSlices, else SliceThickness, else 1 mm.

    Raises:
        UnsupportedError: where places are not stated, or slices are not parallel, at one place, or not evenly spaced.
    """
    first = frames[0]
    missing = [
        name
        for name, there in (
            ("ImagePositionPatient", first.position),
            ("ImageOrientationPatient", first.orientation),
            ("PixelSpacing", first.spacing),
        )
        if there is None
    ]
    if missing:
        raise UnsupportedError(f"its headers lack {' and '.join(missing)}, or it makes no sense there")
    assert first.position and first.orientation and first.spacing
    for i, frame in enumerate(frames):
        if not _same(frame.orientation, first.orientation, _SAME_DIRECTION):
            raise UnsupportedError(f"slices 0 and {i} are not parallel, so that no one matrix places them")
        if not _same(frame.spacing, first.spacing, 1e-4):
            raise UnsupportedError(f"slices 0 and {i} have different PixelSpacing")
    lps = np.eye(4)
    lps[:3, 0] = np.multiply(first.orientation[:3], first.spacing[1])
    lps[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
    lps[:3, 2] = _step(frames, np.array(cross(first.orientation)))
    lps[:3, 3] = first.position
    return Geometry(lps)


Spacing = tuple[float | None, float | None, float | None]


def spacing_of(frames: Sequence[Frame]) -> Spacing:
    """Return the distances of voxels along z, y, x in mm, as `geometry_of` has them.

    Of slices at one position, as many at each, as of several times, the first counts. Where slices have no one place,
    as where one is missing, z is None; y and x are those of the first slice, None where it does not say them.
    """
    at_places: dict[Vector, list[Frame]] = {}
    for frame in frames:
        at_places.setdefault(tuple(round(mm, 2) for mm in frame.position or ()), []).append(frame)
    counts = {len(found) for found in at_places.values()}
    try:
        if len(counts) > 1 or len(at_places) == 1 < len(frames):
            raise UnsupportedError("some slices are at one place, or all")
        z, y, x = geometry_of([found[0] for found in at_places.values()]).spacing
    except UnsupportedError:
        in_plane = frames[0].spacing
        return (None, in_plane[0], in_plane[1]) if in_plane else (None, None, None)
    return float(f"{z:.9g}"), float(f"{y:.9g}"), float(f"{x:.9g}")


def _step(frames: Sequence[Frame], normal: Float64s) -> Float64s:
    """Return the way from slice to slice in mm. Raises UnsupportedError where there is not one."""
    if len(frames) == 1:
        return normal * frames[0].height
    lost = next((i for i, frame in enumerate(frames) if frame.position is None), None)
    if lost is not None:
        raise UnsupportedError(f"the header of slice {lost} lacks ImagePositionPatient")
    places = np.array([frame.position for frame in frames])
    steps = np.diff(places, axis=0)
    sizes = np.linalg.norm(steps, axis=1)
    if sizes.min() < _EVEN / 2:
        i = int(sizes.argmin())
        raise UnsupportedError(
            f"slices {i} and {i + 1} are at one place: the volume holds several times, kinds or copies of its slices"
        )
    step = (places[-1] - places[0]) / (len(frames) - 1)
    size = float(np.linalg.norm(step))
    tolerance = max(_EVEN, _EVEN_SHARE * size)
    even = places[0] + np.arange(len(frames))[:, None] * step
    off = max(np.linalg.norm(places - even, axis=1).max(), np.linalg.norm(steps - step, axis=1).max())
    if off > tolerance:
        i = int(np.linalg.norm(steps - np.median(steps, axis=0), axis=1).argmax())
        raise UnsupportedError(
            f"its slices are not evenly spaced: {sizes[i]:.4g} mm lie between slices {i} and {i + 1}, and mostly "
            f"{np.median(sizes):.4g} mm"
        )
    if abs(float(step @ normal)) < 0.1 * size:
        raise UnsupportedError("its slices follow each other within their own plane")
    return np.asarray(step, np.float64)


def _same(one: Vector | None, other: Vector, tolerance: float) -> bool:
    return one is not None and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))
