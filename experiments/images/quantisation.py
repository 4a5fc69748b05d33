"""Uniform quantisers of transforms, and their integers."""

from __future__ import annotations

import numpy as np

from volcomp.dtypes import Float64s, Int32s

FRACTION = 8  # bits behind the point of a step, and of what is computed from it
LARGEST = 1 << 22  # of a coefficient in these multiples: no transform of 8-bit images reaches it


def steps(step: float) -> int:
    """Return a step in multiples of 2^-FRACTION, at least 1."""
    return max(1, round(step * (1 << FRACTION)))


def quantised(values: Float64s, step: float, deadzone: float = 0.0) -> Int32s:
    """Return values in steps, rounded towards 0 where the nearest integer is farther than ½ - `deadzone` away."""
    scaled = values * ((1 << FRACTION) / steps(step))
    return (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5 - deadzone)).astype(np.int32)


def numbers(plane: Int32s, step: float) -> Float64s:
    """Return quantised values in multiples of 2^-FRACTION, float64, whose sums are exact whatever a file holds."""
    return (plane.astype(np.float64) * steps(step)).clip(-LARGEST, LARGEST)


def shifted(x: Float64s, bits: int) -> Float64s:
    """Divide integers in float64 by 2^bits, and round halves up."""
    return np.asarray(np.floor((x + (1 << bits >> 1)) / (1 << bits)), np.float64)
