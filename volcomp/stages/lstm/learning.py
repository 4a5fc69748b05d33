"""Learning of the head while a slab is coded: encoder and decoder take the same integer steps, and nothing is sent.

After each front every voxel has two slopes, one for each output of the head: how its code length changes with the
output. They are looked up by class and distance from the mean. The sum over voxels of slope times inputs of the head is
the gradient. It is multiplied by a fixed matrix, the *metric*: the inverse of the covariance of the head's inputs,
measured in training, times the learning rate (natural gradient: Amari 1998). All sums are of integers, so their order
does not matter.

Units: slopes are in 1/32 bit, a metric's entries in 2^-METRIC_BITS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...constants import CLASSES, QUARTERS
from ...runtime.compiled import REORDERED, entry, part
from ...runtime.scalars import larger, smaller

BINS = 64  # of distances; a bin is an eighth of the scale of a class wide
FINEST = 20  # classes below this one have its bins, for a scale of a quarter of a grey level
ENOUGH = 256  # voxels before a step
NOTHING = -(1 << 31)  # instead of an error: nothing is learned from this voxel
EXACT_BITS = 16
METRIC_BITS = 10
MEAN_BITS = 8  # of the fraction of the mean slope
# A sixteenth of a grey level in eighths of the scale of a class, in 2^-24.
RECIPROCALS = np.array([(1 << 39) // (QUARTERS[c & 3] << (c >> 2)) for c in range(CLASSES)], np.int64)
# Converts slope (1/32) times input (1/128) times metric to 1/65536 of the unit of a head's weight, which is 1/256.
STEP_SHIFT = METRIC_BITS + MEAN_BITS + 5 + 7 - 8 - EXACT_BITS


@part
def bin_of(error: Any, c: Any) -> Any:
    """Return the bin of a voxel that lies `error` sixteenths of a grey level from its mean, in class c."""
    return smaller((abs(np.int64(error)) * RECIPROCALS[larger(c, FINEST)]) >> 24, BINS - 1)


@entry(both=True)
def collect(
    inputs: np.ndarray, lo: int, hi: int, unseen: int, error: np.ndarray, classes: np.ndarray, slopes: np.ndarray,
    slope: np.ndarray, count: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add the slopes of the voxels of rows lo … hi-1 to `slope` and `count` of a `State`.

    inputs int8 [r, …]   of the state; the head sees those from `unseen` on
    error int32 [r]      voxel minus mean, in sixteenths of a grey level, or NOTHING
    classes uint8 [r]    from the network, before correction
    slopes int8 [2, CLASSES, BINS]
    sums int32 [2, n]    scratch
    """
    n = slope.shape[1]
    first, second = sums[0], sums[1]
    for begin in range(lo, hi, 1 << 16):  # the sum of 2^16 products fits into 32 bits
        for j in range(n):
            first[j] = second[j] = 0
        for v in range(begin, smaller(begin + (1 << 16), hi)):
            if error[v] == NOTHING:
                continue
            count[0] += 1
            c = classes[v]
            b = bin_of(error[v], c)
            g = np.int32(slopes[0, c, b])
            g = np.int32(-g) if error[v] > 0 else g
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
    """Take one step downhill if ENOUGH voxels have been collected.

    `metric` float64 [n, n] holds integers, and its products with the mean slopes stay below 2^53. Weights stay within
    ±limit. The other arrays are those of the `State`; `mean` float64 [n] is scratch.
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
