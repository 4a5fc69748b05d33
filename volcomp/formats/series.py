"""Which images make a volume, and in which order: DICOM series into stacks of slices that predict each other."""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np

from .dicom import Image

# A volume of fewer slices pays more for its header than a cleaner stack saves.
_SMALLEST_SPLIT = 12
# Voxels of one volume are held in memory while it is coded; longer series become several volumes.
MAX_VOLUME_BYTES = 1 << 30


def volumes(images: Iterable[Image]) -> list[list[Image]]:
    """Group images into volumes of one matrix, pixel format and series, each ordered along its slice normal."""
    result: list[list[Image]] = []
    for group in _split(images, lambda i: (i.series, i.rows, i.columns, i.bits, i.signed)):
        for part in _split_if_large(group):
            result += _cut(_ordered(part))
    return result


def _split(images: Iterable[Image], key: Callable[[Image], Hashable]) -> list[list[Image]]:
    """Images with equal keys together, in the order in which the keys first occur."""
    groups: dict[Hashable, list[Image]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return list(groups.values())


def _split_if_large(images: list[Image]) -> list[list[Image]]:
    """Split by orientation, then by kind of image, each only where all parts are large enough to stand alone."""
    parts = [images]
    for key in (_rounded_orientation, lambda image: image.kind):
        finer: list[list[Image]] = []
        for part in parts:
            split = _split(part, key)
            finer += split if min(sum(i.frames for i in s) for s in split) >= _SMALLEST_SPLIT else [part]
        parts = finer
    return parts


def _rounded_orientation(image: Image) -> tuple[float, ...]:
    return tuple(round(c, 1) + 0.0 for c in image.orientation or ())


def _ordered(images: list[Image]) -> list[Image]:
    """Along the normal of the first image that has one, then by time and numbers; without geometry by number.

    What still ties stays as given, which is by name: the sorts are stable.
    """
    oriented = next((image.orientation for image in images if image.orientation), None)
    if oriented is None or any(image.position is None for image in images):
        return sorted(images, key=lambda i: i.order[::-1])
    normal = np.cross(oriented[:3], oriented[3:])

    def along(image: Image) -> float:
        # A hundredth of a millimetre: positions that differ by rounding alone are one.
        return round(float(np.dot(normal, np.array(image.position))), 2)

    return sorted(images, key=lambda i: (along(i), i.order))


def _cut(images: list[Image]) -> list[list[Image]]:
    """Pieces of at most MAX_VOLUME_BYTES; a single multi-frame file is never cut."""
    pieces: list[list[Image]] = []
    size = MAX_VOLUME_BYTES
    for image in images:
        if size + image.pixel_bytes > MAX_VOLUME_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(image)
        size += image.pixel_bytes
    return pieces
