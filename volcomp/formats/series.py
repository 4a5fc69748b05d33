"""Group images into volumes and order them, so that neighbouring slices predict each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from .protocol import Image

# Slices. Smaller parts stay in one volume, one after another: a separate volume would cost more than it saves.
_SMALLEST_SPLIT = 32
# A volume must fit into memory as one array (`arrays.decompress`). Longer series become several volumes.
MAX_VOLUME_BYTES = 1 << 30
_MOST_IMAGES = 1 << 15  # of a volume, so that one list of files names them all
_NUMBERS = 2  # of `Image.order`: numbers of time points, and strengths of diffusion, are the same at every position


def volumes(images: Iterable[Image]) -> list[list[Image]]:
    """Group images into volumes of one format, series, matrix and pixel type, each ordered along its slice normal."""
    result: list[list[Image]] = []
    groups = _split(images, lambda image: (image.series, *_matrix(image)))
    alone = [group[0] for group in groups if len(group) == 1 and group[0].frames == 1]
    groups = [group for group in groups if len(group) > 1 or group[0].frames > 1]
    # Some writers give each slice a series of its own.
    groups += _split(alone, lambda image: (PurePosixPath(image.name).parent, image.orientation, *_matrix(image)))
    for group in groups:
        for part in _split_if_large(group):
            ordered = _ordered(part)
            result += _cut(ordered, time_points(ordered) if len(ordered) > 1 else 1)
    return result


def time_points(images: Sequence[Image]) -> int:
    """Return the number of time points of the images of a volume, in their order; 1 where it is no series in time.

    A single image says so itself. Of several, each is a slice, those at one position follow each other, and every
    position has as many; where they are numbered, the numbers are the same everywhere. Images at one position may also
    be directions of diffusion, echoes or other repetitions: whatever it is, they are alike.
    """
    if len(images) == 1:
        image = images[0]
        return image.times if image.times < image.frames and image.frames % image.times == 0 else 1
    first = images[0]
    if first.orientation is None or any(i.frames > 1 or not i.position or i.kind != first.kind for i in images):
        return 1
    places = [tuple(round(mm, 2) for mm in image.position or ()) for image in images]
    count = places.count(places[0])
    if count < 2 or count == len(images) or len(images) % count or any(_plane(i) != _plane(first) for i in images):
        return 1
    found = [set(places[at : at + count]) for at in range(0, len(images), count)]
    if any(len(one) > 1 for one in found) or len(set.union(*found)) < len(found):
        return 1
    columns = [images[at : at + count] for at in range(0, len(images), count)]
    numbers = [[image.order[:_NUMBERS] for image in column] for column in columns]
    return count if all(column == numbers[0] for column in numbers) else 1


def _matrix(image: Image) -> tuple[Any, ...]:
    """Return what all images of a volume have in common beside their series."""
    return image.format, image.rows, image.columns, image.bits, image.signed, image.planes


def _split(images: Iterable[Image], key: Callable[[Image], Hashable]) -> list[list[Image]]:
    """Group images by key, in the order in which the keys first occur."""
    groups: dict[Hashable, list[Image]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return list(groups.values())


def _split_if_large(images: list[Image]) -> list[list[Image]]:
    """Split by plane, then by kind of image; each time only if all parts are large enough for a volume."""
    parts = [images]
    for key in (_plane, lambda image: image.kind):
        finer: list[list[Image]] = []
        for part in parts:
            split = _split(part, key)
            finer += split if min(sum(i.frames for i in s) for s in split) >= _SMALLEST_SPLIT else [part]
        parts = finer
    return parts


def along_normal(orientation: tuple[float, ...], position: tuple[float, float, float]) -> float:
    """Return the coordinate of a position along the normal of an orientation (row cosines, column cosines), mm."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return sum(n * p for n, p in zip(normal, position, strict=True))


def _plane(image: Image) -> tuple[int, ...]:
    """Return the axes that rows and columns mostly follow. They differ between planes of a localizer, not with tilt.

    Cosines are rounded first, so that noise does not decide at 45 degrees.
    """
    cosines = [abs(round(cosine, 1)) for cosine in image.orientation or ()]
    return tuple(half.index(max(half)) for half in (cosines[:3], cosines[3:]) if half)


def _ordered(images: list[Image]) -> list[Image]:
    """Sort by plane and kind, along the normal, then by time and numbers; without geometry by number.

    Ties keep their order, which is by name: the sorts are stable. All images are measured along one normal, so that a
    tilt that changes from slice to slice does not shuffle them.
    """
    oriented = next((image.orientation for image in images if image.orientation), None)
    if oriented is None or any(image.position is None for image in images):
        return sorted(images, key=lambda i: (i.kind, i.order[::-1]))

    def key(image: Image) -> tuple[Any, ...]:
        # In hundredths of a millimetre, because equal positions may differ by rounding.
        along = round(along_normal(oriented, image.position), 2) if image.position else 0.0
        return (_plane(image), image.kind, along, image.order)

    return sorted(images, key=key)


def _cut(images: list[Image], times: int) -> list[list[Image]]:
    """Cut into pieces of at most MAX_VOLUME_BYTES; a single multi-frame file is never cut, nor are so many `times`, if
    all of a position fit."""
    if times > _MOST_IMAGES or times * images[0].pixel_bytes > MAX_VOLUME_BYTES:
        times = 1
    pieces: list[list[Image]] = []
    size = MAX_VOLUME_BYTES
    for at in range(0, len(images), times):
        together = images[at : at + times]
        more = sum(image.pixel_bytes for image in together)
        if size + more > MAX_VOLUME_BYTES or len(pieces[-1]) + times > _MOST_IMAGES:
            pieces.append([])
            size = 0
        pieces[-1] += together
        size += more
    return pieces
