"""Meet a budget of bytes: the step, and the weight of bits against distortion, that an image is quantised with.

The weight is a constant in squared steps per bit, so the step alone decides the size. It is searched for on a
logarithmic scale, where bytes fall nearly linearly with it, and the largest size within the budget is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..dtypes import Float32s, Int32s, UInt8s
from . import coder, coefficients
from .bands import Layout
from .network import Network
from .quantisation import LAST_STEP, SHIFT, STEP, band_steps

WEIGHT = 0.12  # squared steps per bit
EXPECTED = (0.05, 0.03, 0.02)  # shifts, in steps, before those of the image are known
COSTS = -np.log2(np.maximum(np.arange(4097), 0.5) / 4096).astype(np.float32)
CLOSE = 1 / 2048  # of a budget: what may be left when the search ends
PASSES = 14  # most


class Written(NamedTuple):
    """Coefficients that were quantised and written.

    code        of the step
    payload     uint8, bytes of the coder
    quantised   int32 [size]
    """

    code: int
    payload: UInt8s
    quantised: Int32s


def scale(flat: Int32s, layout: Layout, code: int) -> Float32s:
    """Divide the coefficients int32 [size], in 2^-FRACTION grey levels, by the steps of their bands: float32."""
    scaled = np.zeros(layout.size, np.float32)
    for row, step in zip(layout.table, band_steps(layout, code), strict=True):
        start = int(row[0]) - 3 * int(row[1]) - 3
        end = start + (int(row[2]) + 6) * int(row[1])
        scaled[start:end] = flat[start:end].astype(np.float32) * np.float32(2.0 ** (STEP - 6) / float(step))
    return scaled


def write(network: Network, layout: Layout, flat: Int32s, code: int, room: int, weight: float = WEIGHT) -> Written:
    """Quantise and write with one step. A payload of more than `room` bytes is cut: its size is what counts."""
    quantised, magnitudes = np.zeros(layout.size, np.int32), np.zeros(layout.size, np.uint8)
    state, out = coder.encoder(), np.zeros(room + 1, np.uint8)
    options = np.array([weight, *EXPECTED], np.float32)
    state_of_model = coefficients.state(network, len(layout.table))
    coefficients.write(
        network, state_of_model, layout.table, scale(flat, layout, code), options, COSTS, quantised, magnitudes, state, out
    )
    size = coder.finish(state, out)
    return Written(code, out[:size], quantised) if size <= room else Written(code, out, quantised)


def search(network: Network, layout: Layout, flat: Int32s, budget: int, start: int) -> Written | None:
    """Find the step with which a payload is largest within `budget` bytes; None if none is small enough.

    `start` is the code of the step to begin with. Codes are nearly logarithms of steps.
    """
    low, high = -1, LAST_STEP + 1  # low: too large a payload; high: one that fits
    best: Written | None = None
    code, stride = start, 1 << 9
    for _ in range(PASSES + 24):
        written = write(network, layout, flat, code, budget)
        if written.payload.size <= budget:
            if best is None or written.payload.size >= best.payload.size:
                best = written
            high = code
            if budget - written.payload.size <= budget * CLOSE:
                break
        else:
            low = code
        if high - low <= 1:
            break
        if high > LAST_STEP:
            code, stride = min(low + stride, LAST_STEP), 2 * stride
        elif low < 0:
            code, stride = max(high - stride, 0), 2 * stride
        else:
            code = (low + high) // 2
    return best
