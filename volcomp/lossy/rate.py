"""Meet a budget of bytes: the step, and the weight of bits against distortion, that an image is quantised with.

The weight is a constant in squared steps per bit, so the step alone decides the size. It is searched for on a
logarithmic scale, where bytes fall nearly linearly with it, and the largest size within the budget is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..dtypes import Float32s, Int32s, UInt8s
from . import coder, coefficients
from .bands import FRAME, HEIGHT, START, STRIDE, Layout
from .network import Network
from .quantisation import LAST_STEP, MANTISSA, STEP, band_steps
from .transform import FRACTION

WEIGHT = 0.12  # squared steps per bit
EXPECTED = (0.05, 0.03, 0.02)  # shifts, in steps, before those of the image are known
COSTS = -np.log2(np.maximum(np.arange(4097), 0.5) / 4096).astype(np.float32)
CLOSE = 1 / 2048  # of a budget: what may be left when the search ends
PASSES = 20  # most
OCTAVE = 1 << MANTISSA  # codes


class Written(NamedTuple):
    """Coefficients that were quantised and written.

    code        of the step
    size        bytes of the payload
    payload     uint8, bytes of the coder; without meaning where they did not fit
    quantised   int32 [size]
    """

    code: int
    size: int
    payload: UInt8s
    quantised: Int32s


def scale(flat: Int32s, layout: Layout, code: int) -> Float32s:
    """Divide the coefficients int32 [size], in 2^-FRACTION grey levels, by the steps of their bands: float32."""
    scaled = np.zeros(layout.size, np.float32)
    for row, step in zip(layout.table, band_steps(layout, code), strict=True):
        start = int(row[START]) - FRAME * (int(row[STRIDE]) + 1)
        end = start + (int(row[HEIGHT]) + 2 * FRAME) * int(row[STRIDE])
        scaled[start:end] = flat[start:end].astype(np.float32) * np.float32(2.0 ** (STEP - FRACTION) / float(step))
    return scaled


def write(network: Network, layout: Layout, flat: Int32s, code: int, room: int, weight: float = WEIGHT) -> Written:
    """Quantise and write with one step. A payload of more than `room` bytes is cut: its size is what counts."""
    quantised, magnitudes = np.zeros(layout.size, np.int32), np.zeros(layout.size, np.uint8)
    state, out = coder.encoder(), np.zeros(room + 1, np.uint8)
    options = np.array([weight, *EXPECTED], np.float32)
    scaled = scale(flat, layout, code)
    model = coefficients.state(network, len(layout.table))
    coefficients.write(network, model, layout.table, scaled, options, COSTS, quantised, magnitudes, state, out)
    size = coder.finish(state, out)
    return Written(code, size, out[:size], quantised)


def search(network: Network, layout: Layout, flat: Int32s, budget: int, start: int) -> Written | None:
    """Find the step with which a payload is largest within `budget` bytes; None if none is small enough.

    `start` is the code of the step to begin with. Codes are nearly logarithms of steps, and the logarithm of the size
    is nearly a line over them, so the next code is interpolated, and now and then the middle is tried instead.
    """
    low, high = -1, LAST_STEP + 1  # the largest code with too large a payload, the smallest with one that fits
    too_large = fits = 0.0  # logarithms of their sizes
    best: Written | None = None
    target = np.log2(max(budget * (1 - CLOSE / 2), 1))
    code = start
    for tried in range(PASSES):
        written = write(network, layout, flat, code, budget)
        bits = float(np.log2(max(written.size, 1)))
        if written.size <= budget:
            if best is None or written.size >= best.size:
                best = written
            high, fits = code, bits
            if budget - written.size <= budget * CLOSE:
                break
        else:
            low, too_large = code, bits
        if high - low <= 1:
            break
        if low < 0 or high > LAST_STEP:
            stride = OCTAVE * (bits - target) * (1 + tried / 4)
            code += round(np.clip(stride, -6 * OCTAVE, 6 * OCTAVE)) or (1 if low == code else -1)
        elif tried % 4 == 3 or too_large <= fits:
            code = (low + high) // 2
        else:
            code = round(low + (high - low) * (too_large - target) / (too_large - fits))
        code = min(max(code, low + 1), high - 1)
    if best is None:  # the search ended above the budget
        roughest = write(network, layout, flat, LAST_STEP, budget)
        best = roughest if roughest.size <= budget else None
    return best
