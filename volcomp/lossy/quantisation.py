"""Quantisation steps, and what a quantised coefficient is restored as.

One step holds for the image; that of a band is the step times the band's gain, so that an error of one step costs the
same squared error in every band. A magnitude m above 0 is restored as m − shift, in steps. There are three shifts,
of magnitude 1, 2 and more, since coefficients are more often below the middle of their interval than above it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Float32s, Int32s, Int64s
from ..runtime.compiled import entry
from . import bands
from .bands import HEIGHT, KIND, LEVEL, START, STRIDE, WIDTH, Layout
from .transform import FRACTION

STEP = 16  # bits of a step after the binary point, in grey levels
MANTISSA = 11  # bits of a step's mantissa
LAST_STEP = (24 << MANTISSA) - 1
SHIFT = 5  # bits of a shift after the binary point
LOWEST_SHIFT = -4  # of 16 values
FARTHEST = 1 << 27  # a restored coefficient is brought into this range, in 2^-FRACTION grey levels


class Steps(NamedTuple):
    """How the image is quantised.

    code     of the step, 0 … LAST_STEP
    shifts   the three shifts in 2^-SHIFT steps, each LOWEST_SHIFT … LOWEST_SHIFT + 15
    """

    code: int
    shifts: tuple[int, int, int]


def step_of(code: int) -> int:
    """Return the step of a code in 2^-STEP grey levels: a mantissa of MANTISSA bits and a leading 1, shifted."""
    return ((1 << MANTISSA) + (code & ((1 << MANTISSA) - 1))) << (code >> MANTISSA)


def code_of(step: float) -> int:
    """Return the code of the step nearest to `step` grey levels."""
    units = min(max(step * 2**STEP, 2.0**MANTISSA), 2.0**MANTISSA * 2**24)
    exponent = int(np.floor(np.log2(units))) - MANTISSA
    return min(max((exponent << MANTISSA) + round(units / 2**exponent) - (1 << MANTISSA), 0), LAST_STEP)


def band_steps(layout: Layout, code: int) -> Int64s:
    """Return the step int64 [bands] of each band in 2^-STEP grey levels."""
    column = np.array([0, 1, 1, 2])[layout.table[:, KIND]]
    gains = bands.GAINS[np.maximum(layout.table[:, LEVEL], 1) - 1, column]
    if layout.levels == 0:
        gains = np.full(1, 1 << 16, np.int64)
    return np.maximum((step_of(code) * gains) >> 16, 1)


@entry
def restore(quantised: Int32s, table: Int64s, steps: Int64s, shifts: Int64s, out: Int32s) -> None:
    """Restore coefficients: int32 [size] in 2^-FRACTION grey levels. `shifts` int64 [4] begins with 0."""
    drop = np.int64(STEP + SHIFT - FRACTION)
    for band in range(table.shape[0]):
        low = table[band, KIND] == 0
        farthest = (np.int64(FARTHEST) << drop) // steps[band]  # in 2^-SHIFT steps
        for y in range(table[band, HEIGHT]):
            for x in range(table[band, WIDTH]):
                at = table[band, START] + y * table[band, STRIDE] + x
                value = np.int64(quantised[at])
                magnitude = abs(value)
                fine = magnitude << SHIFT
                if not low:
                    fine -= shifts[magnitude if magnitude < 3 else 3]
                restored = (min(fine, farthest) * steps[band] + (np.int64(1) << (drop - 1))) >> drop
                out[at] = -restored if value < 0 else restored


def shifts_of(scaled: Float32s, quantised: Int32s, layout: Layout) -> tuple[int, int, int]:
    """Return the shifts with the least squared error: the mean distance of each magnitude from what it stands for."""
    first = int(layout.table[1, START]) if len(layout.table) > 1 else layout.size
    magnitude, real = np.abs(quantised[first:]), np.abs(scaled[first:])
    result: list[Any] = []
    for chosen in (magnitude == 1, magnitude == 2, magnitude > 2):
        mean = float((magnitude[chosen] - real[chosen]).mean()) if chosen.any() else 0.0
        result.append(min(max(round(mean * 2**SHIFT), LOWEST_SHIFT), LOWEST_SHIFT + 15))
    return result[0], result[1], result[2]
