"""Where the coefficients of each band lie in one array, and the gains of the bands.

All bands lie in one flat array, each in a frame of zeros, so that neighbours across an edge are zeros. The low band
comes first, then HL, LH and HH of every level, the coarsest first: the order in which they are coded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..dtypes import Int32s, Int64s

FRAME = 3  # zeros around each band, in coefficients
MOST_LEVELS = 7
SMALLEST = 6  # a low band is at least so long on its longer side before another level is made
LOW, HORIZONTAL, VERTICAL, DIAGONAL = 0, 1, 2, 3  # kinds of bands: LL, HL, LH, HH

# Columns of a row of the table of bands.
START, STRIDE, HEIGHT, WIDTH, LEVEL, KIND, PARENT, UNCLE = range(8)
# 2^16 over the norm of a basis function: of the low band after n levels (its column 0, n = 1 …), and of HL and LH, and
# HH of level n. The basis functions of `transform.synthesise` in real numbers, far from the edges.
GAINS = np.array(
    [
        [50447, 64805, 83248],
        [36405, 49666, 67758],
        [26982, 35875, 47697],
        [20292, 26611, 34898],
        [15329, 20019, 26144],
        [11594, 15124, 19729],
        [8771, 11439, 14918],
    ],
    np.int64,
)


class Layout(NamedTuple):
    """The bands of an image.

    levels          of the transform
    table int64     [bands, 8]: START (of the first coefficient), STRIDE, HEIGHT, WIDTH, LEVEL (1 is the finest), KIND,
                    PARENT (the row of the band of the same kind in the next coarser level, −1 for none), UNCLE (the
                    row of the first band, HL, of that level, −1 for none)
    size            coefficients with all frames
    """

    levels: int
    table: Int64s
    size: int


def levels_of(height: int, width: int) -> int:
    """Return how many levels an image is transformed by."""
    longest, levels = max(height, width), 0
    while levels < MOST_LEVELS and (longest + 1) // 2 >= SMALLEST // 2 and longest > SMALLEST:
        longest, levels = (longest + 1) // 2, levels + 1
    return levels


def layout(height: int, width: int) -> Layout:
    """Lay out the bands of an image [height, width]."""
    levels = levels_of(height, width)
    sizes = [(height, width)]
    for _ in range(levels):
        y, x = sizes[-1]
        sizes.append(((y + 1) // 2, (x + 1) // 2))
    rows: list[tuple[int, ...]] = []
    at = 0

    def add(size: tuple[int, int], level: int, kind: int, parent: int, uncle: int) -> None:
        nonlocal at
        stride = size[1] + 2 * FRAME
        rows.append((at + FRAME * stride + FRAME, stride, *size, level, kind, parent, uncle))
        at += (size[0] + 2 * FRAME) * stride

    add(sizes[levels], levels, LOW, -1, -1)
    for level in range(levels, 0, -1):
        (y, x), (low_y, low_x) = sizes[level - 1], sizes[level]
        uncle = len(rows) - 3 if level < levels else -1
        add((low_y, x - low_x), level, HORIZONTAL, uncle, uncle)
        add((y - low_y, low_x), level, VERTICAL, uncle + 1 if uncle > 0 else -1, uncle)
        add((y - low_y, x - low_x), level, DIAGONAL, uncle + 2 if uncle > 0 else -1, uncle)
    return Layout(levels, np.array(rows, np.int64), at)


def view(flat: Int32s, row: Int64s) -> Int32s:
    """View a band of the flat array as [y, x]."""
    start, stride, height, width = (int(n) for n in row[:4])
    whole = flat[start - FRAME : start - FRAME + height * stride] if height else flat[:0]
    return whole.reshape(height, stride)[:, FRAME : FRAME + width]
