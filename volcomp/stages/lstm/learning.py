"""The head keeps learning while a slab is coded: the same integer steps on both sides, and nothing to send.

After each front every voxel says which way the two outputs should have been: the slope of its code length, looked up by
class and distance from the mean. Slope times what the head saw, summed over the voxels, is the gradient of the head. It
is multiplied by a fixed matrix, the *metric*: the inverse of the covariance of what a head sees, measured in training,
times the learning rate (natural gradient: Amari 1998). All sums are of integers, so their order does not matter.

Units: slopes are in 1/32 bit, a metric's entries in 2^-METRIC_BITS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...constants import CLASSES, QUARTERS
from ...runtime.compiled import REORDERED, entry, part
from ...runtime.scalars import larger, smaller

BINS = 64  # of distances, each an eighth of the scale of a class wide
FINEST = 20  # classes below have the bins of this one, a quarter of a grey level
ENOUGH = 256  # voxels that make a step
NOTHING = -(1 << 31)  # in place of a distance: a voxel that nothing is learned from
EXACT_BITS = 16
METRIC_BITS = 10
MEAN_BITS = 8  # fraction that is kept of the mean slope
# Eighths of a class's scale in a sixteenth of a grey level, in 2^-24.
RECIPROCALS = np.array([(1 << 39) // (QUARTERS[c & 3] << (c >> 2)) for c in range(CLASSES)], np.int64)
# From slope times input, in 1/32 and 1/128, and the metric to 1/65536 of a head's weight of 1/256.
STEP_SHIFT = METRIC_BITS + MEAN_BITS + 5 + 7 - 8 - EXACT_BITS


@part
def bin_of(missed: Any, c: Any) -> Any:
    """The bin of a voxel that lies `missed` sixteenths of a grey level from the mean, in class c."""
    return smaller((abs(np.int64(missed)) * RECIPROCALS[larger(c, FINEST)]) >> 24, BINS - 1)


@entry(both=True)
def collect(
    inputs: np.ndarray, lo: int, hi: int, unseen: int, missed: np.ndarray, classes: np.ndarray, slopes: np.ndarray,
    slope: np.ndarray, count: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add what the voxels of rows lo … hi-1 say to `slope` and `count` of a `State`.

    inputs int8 [r, …]   of the state, of which the head sees those from `unseen` on
    missed int32 [r]     voxel minus mean, in sixteenths of a grey level, or NOTHING
    classes uint8 [r]    as the network gave them
    slopes int8 [2, CLASSES, BINS]
    sums int32 [2, n]    room to work in
    """
    n = slope.shape[1]
    first, second = sums[0], sums[1]
    for begin in range(lo, hi, 1 << 16):  # so many products fit into 32 bits
        for j in range(n):
            first[j] = second[j] = 0
        for v in range(begin, smaller(begin + (1 << 16), hi)):
            if missed[v] == NOTHING:
                continue
            count[0] += 1
            c = classes[v]
            b = bin_of(missed[v], c)
            g = np.int32(slopes[0, c, b])
            g = np.int32(-g) if missed[v] > 0 else g
            s = np.int32(slopes[1, c, b])
            row = inputs[v, unseen:]
            for j in range(n):
                x = np.int32(row[j])
                first[j] += np.int32(g * x)
                second[j] += np.int32(s * x)
        for j in range(n):
            slope[0, j] += first[j]
            slope[1, j] += second[j]


@entry(fastmath=REORDERED, both=True)
def step(
    metric: np.ndarray, limit: int, exact: np.ndarray, head: np.ndarray, slope: np.ndarray, count: np.ndarray,
    mean: np.ndarray,
) -> None:  # fmt: skip
    """One step downhill, once ENOUGH voxels have been collected.

    metric float64 [n, n] holds integers, and its products with the mean slopes stay below 2^53; weights stay within
    ±limit. The other arrays are those of the `State`; `mean` float64 [n] is room to work in.
    """
    if count[0] < ENOUGH:
        return
    n = metric.shape[0]
    for k in range(2):
        for j in range(n):
            mean[j] = (slope[k, j] << MEAN_BITS) // count[0]
        for i in range(n):
            row, total = metric[i], 0.0
            for j in range(n):
                total += row[j] * mean[j]
            moved = exact[k, i] - (np.int64(total) >> STEP_SHIFT)
            exact[k, i] = smaller(larger(moved, -limit << EXACT_BITS), limit << EXACT_BITS)
            head[k, i] = (exact[k, i] + (1 << (EXACT_BITS - 1))) >> EXACT_BITS
    for j in range(n):
        slope[0, j] = slope[1, j] = 0
    count[0] = 0
