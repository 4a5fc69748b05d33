"""Learning of the head while a slab is coded: encoder and decoder take the same integer steps, and nothing is sent.

After each front every voxel has two slopes, one for each output of the head: how its code length changes with the
output. They are looked up by class and distance from the mean. The sum over voxels of slope times inputs of the head is
the gradient. It is multiplied by a fixed matrix, the *metric*: the inverse of the covariance of the head's inputs,
measured in training, times the learning rate (natural gradient: Amari 1998). All sums are of integers, so their order
does not matter.

Units: slopes are in 1/32 bit, a metric's entries in 2^-METRIC_BITS.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...constants import CLASSES, QUARTERS
from ...dtypes import Float64s, Int8s, Int16s, Int32s, Int64s, UInt8s
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


class Rule(NamedTuple):
    """How the head of a model learns.

    metric float64 [n, n]            integers, whose products with mean slopes stay below 2^53; empty if it does not
    slopes int8 [2, CLASSES, BINS]
    unseen                           the head sees the inputs from this one on
    limit                            weights of the head stay within ±limit
    """

    metric: Float64s
    slopes: Int8s
    unseen: int
    limit: int


class Head(NamedTuple):
    """A head that learns.

    weights int16 [2, n]    begin as the model's
    exact int64 [2, n]      the weights in 1/65536
    slope int64 [2, n]      their summed slopes, over the voxels since the last step of learning
    collected int64 [1]     the number of these voxels
    sums int32 [2, n], mean float64 [n]   scratch
    """

    weights: Int16s
    exact: Int64s
    slope: Int64s
    collected: Int64s
    sums: Int32s
    mean: Float64s


@part
def bin_of(error: Any, c: Any) -> Any:
    """Return the bin of a voxel that lies `error` sixteenths of a grey level from its mean, in class c."""
    return smaller((abs(np.int64(error)) * RECIPROCALS[larger(c, FINEST)]) >> 24, BINS - 1)


@entry(both=True)
def collect(lo: int, hi: int, inputs: Int8s, error: Int32s, classes: UInt8s, rule: Rule, head: Head) -> None:
    """Add the slopes of the voxels of rows lo … hi-1 to those of the head.

    inputs int8 [r, …]   of the `State`
    error int32 [r]      voxel minus mean, in sixteenths of a grey level, or NOTHING
    classes uint8 [r]    from the network, before correction
    """
    slopes, unseen, slope, count = rule.slopes, rule.unseen, head.slope, head.collected
    n = slope.shape[1]
    first, second = head.sums[0], head.sums[1]
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
def step(rule: Rule, head: Head) -> None:
    """Take one step downhill if ENOUGH voxels have been collected."""
    metric, limit = rule.metric, rule.limit
    weights, exact, slope, count, _, mean = head
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
            weights[k, i] = (exact[k, i] + (1 << (EXACT_BITS - 1))) >> EXACT_BITS
    for j in range(n):
        slope[0, j] = slope[1, j] = 0
    count[0] = 0
