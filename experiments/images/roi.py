"""Region of interest: without loss inside a box, with loss outside, as the review's hybrids are.

The box has half the sides of the image and lies where the image has most detail: the sum of squared differences between
neighbours is the greatest of all boxes on a grid of GRID pixels. So it is found by a rule, the same everywhere, and not
by a reader. A file states its place; what is inside is coded by volcomp, by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from volcomp.dtypes import Float64s, UInt8s
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.wire.cursor import Cursor, varint

from .codec import SIDE, ImageCodec
from .delta import volcomp_bytes, volcomp_image

GRID = 8
MODEL = "fast"


class Box(NamedTuple):
    """Rows and columns of an image."""

    rows: slice
    columns: slice


def _places(side: int) -> int:
    """Return how many places of the grid a box has along a side."""
    return (side - side // 2) // GRID + 1


def _box(shape: tuple[int, ...], row: int, column: int) -> Box:
    """Return the box at a place of the grid."""
    first = GRID * row, GRID * column
    return Box(*(slice(at, at + side // 2) for at, side in zip(first, shape, strict=True)))


def region(image: UInt8s) -> tuple[int, int]:
    """Return the place of the box in an image uint8 [y, x], in steps of the grid: the first of the greatest detail."""
    x = image.astype(np.int64)
    detail = np.zeros_like(x)
    detail[1:] += np.diff(x, axis=0) ** 2
    detail[:, 1:] += np.diff(x, axis=1) ** 2
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    top, left = (GRID * np.arange(_places(side)) for side in image.shape)
    found = (sums[np.ix_(top + rows, left + columns)] - sums[np.ix_(top, left + columns)]
             - sums[np.ix_(top + rows, left)] + sums[np.ix_(top, left)])  # fmt: skip
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return int(row), int(column)


def box_of(image: UInt8s) -> Box:
    """Return the region of interest of an image."""
    return _box(image.shape, *region(image))


def smoothed_over(image: UInt8s, box: Box) -> UInt8s:
    """Return an image whose box is filled from the pixels around it (a Coons patch), so that it costs little.

    A box at the margin of the image takes the pixels of its other side there.
    """
    y0, y1, x0, x1 = box.rows.start - 1, box.rows.stop, box.columns.start - 1, box.columns.stop
    whole = image.astype(np.float64)
    top, bottom = y0 if y0 >= 0 else y1, y1 if y1 < len(image) else y0
    left, right = x0 if x0 >= 0 else x1, x1 if x1 < image.shape[1] else x0
    down = (np.arange(y1 - y0 - 1) + 1)[:, None] / (y1 - y0)
    across = (np.arange(x1 - x0 - 1) + 1)[None] / (x1 - x0)

    def between(first: Float64s | float, second: Float64s | float, share: Float64s) -> Float64s:
        return np.asarray((1 - share) * first + share * second, np.float64)

    rows = between(whole[box.rows, left][:, None], whole[box.rows, right][:, None], across)
    columns = between(whole[top, box.columns][None], whole[bottom, box.columns][None], down)
    above, below = (between(whole[y, left], whole[y, right], across) for y in (top, bottom))
    corners = between(above, below, down)
    filled = image.copy()
    filled[box] = (rows + columns - corners).round().clip(0, 255).astype(np.uint8)
    return filled


class Roi:
    """A codec outside, and volcomp inside.

    The bytes: the place of the box, the length of the lossy part, this part, and the bytes of volcomp.
    """

    def __init__(self, name: str, outside: ImageCodec) -> None:
        self.name, self._outside = name, outside

    def encode(self, image: UInt8s) -> bytes:
        """Return all bytes that a decoder needs; UnsupportedError for an image without a box."""
        if min(image.shape) < 2 or max(image.shape) > SIDE:
            raise UnsupportedError(f"an image with a region has 2 to {SIDE} rows and columns, not {image.shape}")
        row, column = region(image)
        box = _box(image.shape, row, column)
        outside = self._outside.encode(smoothed_over(image, box))
        inside = volcomp_bytes(np.ascontiguousarray(image[box]), None, MODEL)
        return b"".join((varint(row), varint(column), varint(len(outside)), outside, inside))

    def decode(self, data: bytes) -> UInt8s:
        """Return what comes back: the box as it was."""
        cursor = Cursor(data, "an image with a region")
        row, column = cursor.varints(2, SIDE // GRID)
        image = self._outside.decode(cursor.string()).copy()
        if image.ndim != 2 or row >= _places(image.shape[0]) or column >= _places(image.shape[1]):
            raise DamagedError("the region of an image is not inside it")
        inside = volcomp_image(cursor.rest(), None)
        box = _box(image.shape, row, column)
        if inside.shape != image[box].shape:
            raise DamagedError("the region of an image has another size than it states")
        image[box] = inside
        return image
