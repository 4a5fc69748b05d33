"""Samples to wavelet coefficients and back, without loss (ITU-T T.800, Annexes F and G)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import entry, part


@part
def _lift_rows(plane: np.ndarray, y0: Any, x0: Any, h: Any, w: Any, odd: Any, sign: Any) -> None:
    """Lift rows of one kind from their neighbours above and below (Equations F-5, F-6, F-9 and F-10).

    `odd` is 1 for the rows at odd coordinates in the region, of which the sum is halved and taken away, and 0 for those
    at even ones, to which the sum is added. `sign` is -1 where that is undone.
    """
    shift = 1 if odd[1] else 2
    offset = 0 if odd[1] else 2
    direction = -sign if odd[1] else sign
    for y in range(odd[0], h, 2):
        up = y0 + (y - 1 if y else 1)
        down = y0 + (y + 1 if y + 1 < h else h - 2)
        for x in range(x0, x0 + w):
            plane[y0 + y, x] += direction * ((plane[up, x] + plane[down, x] + offset) >> shift)


@part
def _lift(line: np.ndarray, n: Any, begin: Any, high: Any, sign: Any) -> None:
    """Do the same along a line int32 [n]: to every other value from `begin` on, which is high-pass or not."""
    shift = 1 if high else 2
    offset = 0 if high else 2
    direction = -sign if high else sign
    if begin == 0:
        line[0] += direction * ((2 * line[1] + offset) >> shift)
        begin = 2
    for x in range(begin, n - 1, 2):
        line[x] += direction * ((line[x - 1] + line[x + 1] + offset) >> shift)
    if (n - 1 - begin) % 2 == 0 and n - 1 >= begin:
        line[n - 1] += direction * ((2 * line[n - 2] + offset) >> shift)


@part
def _forward_level(plane: np.ndarray, y0: Any, x0: Any, h: Any, w: Any, v: Any, u: Any, other: np.ndarray) -> None:
    """Transform a region whose first row and column have coordinates of parities v and u (F.4.2).

    other int32: scratch for as many coefficients
    """
    if h > 1:
        _lift_rows(plane, y0, x0, h, w, (1 - v, 1), 1)
        _lift_rows(plane, y0, x0, h, w, (v, 0), 1)
    elif v:
        for x in range(w):
            plane[y0, x0 + x] *= 2
    for y in range(h):
        line = plane[y0 + y, x0 : x0 + w]
        if w > 1:
            _lift(line, w, 1 - u, True, 1)
            _lift(line, w, u, False, 1)
        elif u:
            line[0] *= 2
        to = other[w * _place(y, h, v) :]
        low = (w + 1 - u) >> 1
        for x in range(low):
            to[x] = line[2 * x + u]
        for x in range(w - low):
            to[low + x] = line[2 * x + 1 - u]
    for y in range(h):
        for x in range(w):
            plane[y0 + y, x0 + x] = other[w * y + x]


@part
def _place(y: Any, h: Any, v: Any) -> Any:
    """Return where row y of a region goes, whose first row has parity v: those of even coordinates come first."""
    return y >> 1 if (y + v) & 1 == 0 else ((h + 1 - v) >> 1) + (y >> 1)


@part
def _inverse_level(plane: np.ndarray, y0: Any, x0: Any, h: Any, w: Any, v: Any, u: Any, other: np.ndarray) -> None:
    """Undo `_forward_level` (F.3.2)."""
    for y in range(h):
        for x in range(w):
            other[w * y + x] = plane[y0 + y, x0 + x]
    for y in range(h):
        line = plane[y0 + y, x0 : x0 + w]
        source = other[w * _place(y, h, v) :]
        low = (w + 1 - u) >> 1
        for x in range(low):
            line[2 * x + u] = source[x]
        for x in range(w - low):
            line[2 * x + 1 - u] = source[low + x]
        if w > 1:
            _lift(line, w, u, False, -1)
            _lift(line, w, 1 - u, True, -1)
        elif u:
            line[0] >>= 1
    if h > 1:
        _lift_rows(plane, y0, x0, h, w, (v, 0), -1)
        _lift_rows(plane, y0, x0, h, w, (1 - v, 1), -1)
    elif v:
        for x in range(w):
            plane[y0, x0 + x] >>= 1


@part
def _reduced(edge: Any, levels: Any) -> Any:
    """Return an edge of the grid after wavelet levels (Equation B-14)."""
    return -((-edge) >> levels)


@entry
def forward(rectangles: np.ndarray, y0: int, x0: int, other: np.ndarray, planes: np.ndarray) -> None:
    """Transform all tile-components of planes int32 [components, Y, X] in place.

    rectangles int64 [tile-components, 6]   see `Geometry`; the planes begin at (y0, x0) of the grid
    other int32                             scratch, as large as a plane
    """
    for n in range(rectangles.shape[0]):
        r = rectangles[n]
        for level in range(r[5]):
            top, left = _reduced(r[1], level), _reduced(r[2], level)
            h, w = _reduced(r[3], level) - top, _reduced(r[4], level) - left
            if h > 0 and w > 0:
                _forward_level(planes[r[0]], r[1] - y0, r[2] - x0, h, w, top & 1, left & 1, other)


@entry
def inverse(rectangles: np.ndarray, y0: int, x0: int, other: np.ndarray, planes: np.ndarray) -> None:
    """Undo `forward`. Values beyond 32 bits wrap."""
    for n in range(rectangles.shape[0]):
        r = rectangles[n]
        for level in range(r[5] - 1, -1, -1):
            top, left = _reduced(r[1], level), _reduced(r[2], level)
            h, w = _reduced(r[3], level) - top, _reduced(r[4], level) - left
            if h > 0 and w > 0:
                _inverse_level(planes[r[0]], r[1] - y0, r[2] - x0, h, w, top & 1, left & 1, other)


@entry
def from_samples(
    samples: np.ndarray, shift: int, tiles: np.ndarray, transformed: np.ndarray, planes: np.ndarray
) -> None:
    """Take the level shift from samples [components, Y, X], and transform components where a tile does (G.1, G.2)."""
    for c in range(samples.shape[0]):
        for y in range(samples.shape[1]):
            for x in range(samples.shape[2]):
                planes[c, y, x] = np.int64(samples[c, y, x]) - shift
    for t in range(tiles.shape[0]):
        if transformed[t]:
            for y in range(tiles[t, 0], tiles[t, 2]):
                for x in range(tiles[t, 1], tiles[t, 3]):
                    red, green, blue = planes[0, y, x], planes[1, y, x], planes[2, y, x]
                    planes[0, y, x] = (red + 2 * green + blue) >> 2
                    planes[1, y, x] = blue - green
                    planes[2, y, x] = red - green


@entry
def to_samples(
    planes: np.ndarray,
    shift: int,
    tiles: np.ndarray,
    transformed: np.ndarray,
    least: int,
    most: int,
    samples: np.ndarray,
) -> bool:
    """Undo `from_samples`; returns whether all samples are from `least` to `most`."""
    for t in range(tiles.shape[0]):
        if transformed[t]:
            for y in range(tiles[t, 0], tiles[t, 2]):
                for x in range(tiles[t, 1], tiles[t, 3]):
                    luma, blue, red = planes[0, y, x], planes[1, y, x], planes[2, y, x]
                    green = luma - ((blue + red) >> 2)
                    planes[0, y, x], planes[1, y, x], planes[2, y, x] = red + green, green, blue + green
    fits = True
    for c in range(samples.shape[0]):
        for y in range(samples.shape[1]):
            for x in range(samples.shape[2]):
                value = np.int64(planes[c, y, x]) + shift
                if value < least or value > most:
                    fits = False
                samples[c, y, x] = value
    return fits
