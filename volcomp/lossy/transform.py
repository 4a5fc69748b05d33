"""The wavelet transform: the irreversible 9/7 filters (A. Cohen, I. Daubechies, J.-C. Feauveau, 1992) by lifting, as in
ITU-T T.800, Annex F, but in integers, so that each machine gets the same bits.

Values are in 2^-FRACTION grey levels. Each lifting step adds a product that is rounded to an integer. The two scalings
by K at the end of the standard's procedure are left out: they would only round once more. Each band has a gain instead,
by which its quantisation step is divided (`GAINS`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import Int32s
from ..runtime.compiled import entry, part

FRACTION = 6  # bits
UNIT = 16  # bits of the lifting factors
# The four lifting factors of T.800, table F.4 (alpha, beta, gamma, delta), in 2^-UNIT.
ALPHA, BETA, GAMMA, DELTA = -103949, -3472, 57862, 29066
HALF = 1 << (UNIT - 1)


@part
def _lift_row(row: Any, n: Any, first: Any, factor: Any, sign: Any) -> None:
    """Add to every second value of a row, from `first` on, the product of a factor and the sum of both neighbours.

    Beyond an end the row continues mirrored about its last value (T.800, F.3.7). `sign` is −1 to subtract.
    """
    if n == 1:
        return
    if first == 0:
        row[0] += np.int32(sign * ((factor * 2 * np.int64(row[1]) + HALF) >> UNIT))
        first = 2
    for i in range(first, n - 1, 2):
        row[i] += np.int32(sign * ((factor * (np.int64(row[i - 1]) + np.int64(row[i + 1])) + HALF) >> UNIT))
    if (n - 1 - first) % 2 == 0:
        row[n - 1] += np.int32(sign * ((factor * 2 * np.int64(row[n - 2]) + HALF) >> UNIT))


@part
def _lift_rows(plane: Any, n: Any, width: Any, first: Any, factor: Any, sign: Any) -> None:
    """Do what `_lift_row` does, down all columns of the first `n` rows."""
    if n == 1:
        return
    for y in range(first, n, 2):
        above = y - 1 if y > 0 else 1
        below = y + 1 if y + 1 < n else n - 2
        for x in range(width):
            s = np.int64(plane[above, x]) + np.int64(plane[below, x])
            plane[y, x] += np.int32(sign * ((factor * s + HALF) >> UNIT))


@entry
def split(plane: Int32s) -> None:
    """Transform a plane int32 [y, x] by one level, in place: even rows and columns become the low band."""
    height, width = plane.shape
    _lift_rows(plane, height, width, 1, ALPHA, 1)
    _lift_rows(plane, height, width, 0, BETA, 1)
    _lift_rows(plane, height, width, 1, GAMMA, 1)
    _lift_rows(plane, height, width, 0, DELTA, 1)
    for y in range(height):
        row = plane[y]
        _lift_row(row, width, 1, ALPHA, 1)
        _lift_row(row, width, 0, BETA, 1)
        _lift_row(row, width, 1, GAMMA, 1)
        _lift_row(row, width, 0, DELTA, 1)


@entry
def join(plane: Int32s) -> None:
    """Undo `split` exactly: the same products are subtracted in reverse order."""
    height, width = plane.shape
    for y in range(height):
        row = plane[y]
        _lift_row(row, width, 0, DELTA, -1)
        _lift_row(row, width, 1, GAMMA, -1)
        _lift_row(row, width, 0, BETA, -1)
        _lift_row(row, width, 1, ALPHA, -1)
    _lift_rows(plane, height, width, 0, DELTA, -1)
    _lift_rows(plane, height, width, 1, GAMMA, -1)
    _lift_rows(plane, height, width, 0, BETA, -1)
    _lift_rows(plane, height, width, 1, ALPHA, -1)


def analyse(plane: Int32s, levels: int) -> tuple[Int32s, list[tuple[Int32s, Int32s, Int32s]]]:
    """Transform a plane int32 [y, x] of values in 2^-FRACTION grey levels.

    Returns:
        The low band, and the bands HL, LH and HH (high along x, along y, along both) of each level, the finest first.
    """
    bands = []
    low = plane
    for _ in range(levels):
        low = low.copy()
        split(low)
        bands.append((low[::2, 1::2].copy(), low[1::2, ::2].copy(), low[1::2, 1::2].copy()))
        low = low[::2, ::2]
    return low.copy(), bands


def synthesise(low: Int32s, bands: list[tuple[Int32s, Int32s, Int32s]]) -> Int32s:
    """Undo `analyse` exactly: int32 [y, x]. With the finest levels left out of `bands`, a smaller image results."""
    for horizontal, vertical, diagonal in reversed(bands):
        plane = np.empty((low.shape[0] + vertical.shape[0], low.shape[1] + horizontal.shape[1]), np.int32)
        plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2] = low, horizontal, vertical, diagonal
        join(plane)
        low = plane
    return low
