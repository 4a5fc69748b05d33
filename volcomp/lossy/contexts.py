"""What the network sees of a coefficient's surroundings: magnitudes of coefficients that are known before it.

They are 16 neighbours in the band, the 3×3 coefficients at the same place in each band of the same level that is coded
earlier, the 3×3 around the parent (the coefficient of the same kind at this place in the next coarser level, as in
J. M. Shapiro's zerotrees, 1993), the two others at the parent's place, and the grandparent. The 3×3 around the parent
are mirrored, so that those nearest to the coefficient always have the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import Int64s, UInt8s
from ..runtime.compiled import entry, part
from .bands import HEIGHT, KIND, PARENT, START, STRIDE, UNCLE, WIDTH

# Neighbours in the band as (dy, dx), known in the order of coding.
CAUSAL = np.array(
    [
        *[(0, -1), (0, -2), (0, -3), (-1, 0), (-1, -1), (-1, 1), (-1, -2), (-1, 2), (-1, -3), (-1, 3)],
        *[(-2, 0), (-2, -1), (-2, 1), (-2, -2), (-2, 2), (-3, 0)],
    ],
    np.int64,
)
AROUND = np.array(
    [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)], np.int64
)  # as (dy, dx)
BESIDE = len(CAUSAL)  # the first input of the bands of the same level
ABOVE = BESIDE + 2 * len(AROUND)  # the first of the parent's
INPUTS = ABOVE + len(AROUND) + 3


@part
def gather(magnitudes: Any, table: Any, band: Any, y: Any, x: Any, inputs: Any) -> None:
    """Gather the inputs uint8 [INPUTS] of the coefficient [y, x] of a band from the flat array of magnitudes."""
    stride = table[band, STRIDE]
    at = table[band, START] + y * stride + x
    for i in range(BESIDE):
        inputs[i] = magnitudes[at + CAUSAL[i, 0] * stride + CAUSAL[i, 1]]
    kind = table[band, KIND]
    for k in range(2):
        first = BESIDE + 9 * k
        if k < kind - 1:
            other = band - kind + 1 + k
            step = table[other, STRIDE]
            at = table[other, START] + y * step + x
            for i in range(9):
                inputs[first + i] = magnitudes[at + AROUND[i, 0] * step + AROUND[i, 1]]
        else:
            for i in range(9):
                inputs[first + i] = 0
    parent = table[band, PARENT]
    if parent < 0:
        for i in range(ABOVE, INPUTS):
            inputs[i] = 0
        return
    step = table[parent, STRIDE]
    at = table[parent, START] + (y >> 1) * step + (x >> 1)
    down, right = (2 * (y & 1) - 1) * step, 2 * (x & 1) - 1
    for i in range(9):
        inputs[ABOVE + i] = magnitudes[at + AROUND[i, 0] * down + AROUND[i, 1] * right]
    n = ABOVE + 9
    for k in range(3):
        other = table[band, UNCLE] + k
        if other != parent:
            inputs[n] = magnitudes[table[other, START] + (y >> 1) * table[other, STRIDE] + (x >> 1)]
            n += 1
    parent = table[parent, PARENT]
    inputs[n] = 0
    if parent >= 0:
        inputs[n] = magnitudes[table[parent, START] + (y >> 2) * table[parent, STRIDE] + (x >> 2)]


@entry
def gather_band(magnitudes: UInt8s, table: Int64s, band: int, out: UInt8s) -> None:
    """Gather the inputs uint8 [height·width, INPUTS] of all coefficients of a band, for training."""
    n = 0
    for y in range(table[band, HEIGHT]):
        for x in range(table[band, WIDTH]):
            gather(magnitudes, table, band, y, x, out[n])
            n += 1
