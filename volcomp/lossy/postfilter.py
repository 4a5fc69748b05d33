"""The filter after the transform: a small convolutional network that adds to each pixel a correction, in integers.

It sees the restored image in units of the quantisation step, so one network serves all qualities and bit depths. Blocks
of 2×2 pixels are its positions: 4 → C → … → C → 4 values by 3×3 convolutions. The weights of each filter of the first
layer sum to 0, so that grey levels as such do not count. Beyond its edges the image continues with its last pixels.

Sums are integers that float64 (the first layer) or float32 (the others) holds exactly, whatever the order of summation:
`check` proves the bounds of given weights. So products of matrices by any library give the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..dtypes import Int32s, Int64s
from ..errors import DamagedError
from .quantisation import MANTISSA, step_of
from .transform import FRACTION

WEIGHT = 10  # bits of the weights after the binary point
ACTIVE = 5  # bits of an activation, in steps, after the binary point
HIGHEST = 255  # of an activation
FINE = 8  # bits of the first layer's biases beyond those of an activation
POSITIONS = 1 << 15  # that are computed at once
MIDDLE_STEP = 8 << MANTISSA  # the code of a step of 8 grey levels: the reference of `by_step`


class Filter(NamedTuple):
    """The weights; taps in the order (dy, dx, input).

    first int32 [36, C]          bias int32 [C] and by_step int32 [C], which is per doubling of the step
    middle int32 [n, 9·C, C]     biases int32 [n, C]
    last int32 [9·C, 4]          last_bias int32 [4]
    """

    first: Int32s
    bias: Int32s
    by_step: Int32s
    middle: Int32s
    biases: Int32s
    last: Int32s
    last_bias: Int32s

    @property
    def reach(self) -> int:
        """How many positions beyond a position matter."""
        return len(self.middle) + 2


def check(weights: Filter) -> None:
    """Raise DamagedError if a sum could leave the integers that its type holds exactly."""
    for matrix, bias in [*zip(weights.middle, weights.biases, strict=True), (weights.last, weights.last_bias)]:
        most = HIGHEST * np.abs(matrix.astype(np.int64)).sum(axis=0) + np.abs(bias.astype(np.int64)) + (1 << WEIGHT)
        if most.max() >= 1 << 24:
            raise DamagedError("the weights of the filter are too large")
    if np.abs(weights.first.astype(np.int64)).sum(axis=0).max() >= 1 << 20 or weights.first.sum(axis=0).any():
        raise DamagedError("the weights of the filter's first layer are too large, or do not sum to 0")


def improve(plane: Int32s, weights: Filter, code: int) -> Int32s:
    """Correct an image int32 [y, x] in 2^-FRACTION grey levels that was quantised with the step of `code`."""
    height, width = plane.shape
    reach = weights.reach
    positions = _positions(plane, reach)  # [Y + 2·reach, X + 2·reach, 4]
    high, wide = positions.shape[0] - 2 * reach, positions.shape[1] - 2 * reach
    rows = max(POSITIONS // (wide + 2 * reach), 1)
    step = step_of(code)
    out = np.empty((high, wide, 4), np.int32)
    for y in range(0, high, rows):
        part = positions[y : min(y + rows, high) + 2 * reach]
        sums = _sums(part, weights, code)
        correction = (sums * step + (1 << (25 - 1))) >> (16 + WEIGHT + ACTIVE - FRACTION)
        out[y : y + rows] = part[reach:-reach, reach:-reach] + correction
    whole = out.reshape(high, wide, 2, 2).transpose(0, 2, 1, 3).reshape(2 * high, 2 * wide)
    return np.ascontiguousarray(whole[:height, :width])


def _positions(plane: Int32s, reach: int) -> Int32s:
    """Arrange an image as positions [Y, X, 4] of 2×2 pixels, with `reach` more on all sides."""
    height, width = plane.shape
    edges = [(2 * reach, 2 * reach + n % 2) for n in (height, width)]
    padded = np.pad(plane, edges, mode="edge")
    y, x = padded.shape[0] // 2, padded.shape[1] // 2
    return np.ascontiguousarray(padded.reshape(y, 2, x, 2).transpose(0, 2, 1, 3).reshape(y, x, 4))


def _sums(positions: Int32s, weights: Filter, code: int) -> Int64s:
    """Compute the outputs int64 [Y, X, 4], in 2^-(WEIGHT + ACTIVE) steps, of positions with their surroundings."""
    sums = (_windows(positions.astype(np.float64)) @ weights.first.astype(np.float64)).astype(np.int64)
    # In 2^-(ACTIVE + FINE) steps.
    scaled = (sums << (16 + ACTIVE + FINE - WEIGHT - FRACTION)) // step_of(code)
    bias = weights.bias + ((weights.by_step.astype(np.int64) * (code - MIDDLE_STEP)) >> MANTISSA)
    active = np.clip((scaled + bias + (1 << (FINE - 1))) >> FINE, 0, HIGHEST).astype(np.float32)
    for matrix, biases in zip(weights.middle, weights.biases, strict=True):
        total = _windows(active) @ matrix.astype(np.float32)
        total += (biases + (1 << (WEIGHT - 1))).astype(np.float32)
        active = np.clip(np.floor(total * np.float32(2.0**-WEIGHT)), 0, HIGHEST)
    return (_windows(active) @ weights.last.astype(np.float32)).astype(np.int64) + weights.last_bias


def _windows(values: np.ndarray) -> np.ndarray:
    """Gather the 3×3 surroundings of each inner position: [Y, X, C] becomes [Y − 2, X − 2, 9·C]."""
    y, x = values.shape[0] - 2, values.shape[1] - 2
    return np.concatenate([values[dy : y + dy, dx : x + dx] for dy in range(3) for dx in range(3)], axis=2)
