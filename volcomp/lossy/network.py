"""The network that states how likely each value of a coefficient is: its weights, and its steps in integers.

There is one for each kind of band (HL, LH, HH): INPUTS → FIRST → SECOND → FLAGS, with ReLU between them. The biases of
the first layer and of the outputs depend on the level. An output is the logit of a flag: whether the magnitude, known
to be in bucket j or above, is above it. Magnitudes 0 to 4 are buckets of their own; from 5 on each octave has two.

All sums fit into int32 whatever the inputs are, which `Network.check` proves of given weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Int32s, UInt8s
from ..runtime.compiled import part

KINDS, LEVELS = 3, 7
FLAGS = 15  # that the network has logits for; rarer flags, of magnitudes above 128, only adapt
ALL_FLAGS = 52
INPUT, WEIGHT, HIDDEN, LOGIT = 4, 10, 8, 8  # bits after the binary point
HIGHEST = 15 << HIDDEN  # of a hidden value
EDGE = 12 << LOGIT  # of a logit


def _bases() -> np.ndarray:
    bases = [0, 1, 2, 3, 4, 5]
    width = 2
    while len(bases) < ALL_FLAGS + 1:
        bases += [bases[-1] + width, bases[-1] + 2 * width]
        width *= 2
    return np.array(bases[: ALL_FLAGS + 1], np.int64)


BASES = _bases()  # the smallest magnitude of each bucket


class Network(NamedTuple):
    """The weights.

    magnitudes uint8 [256]              what the network sees of magnitude 0, 1, …, 255 and above
    first int32 [KINDS, INPUTS, F]      weights; first_bias int32 [KINDS, LEVELS, F]
    second int32 [KINDS, F, S]          weights; second_bias int32 [KINDS, S]
    third int32 [KINDS, FLAGS, S]       weights; third_bias int32 [KINDS, LEVELS, FLAGS]
    squash int32 [2·EDGE + 1]           the probability, in 2^-16, of each logit
    """

    magnitudes: UInt8s
    first: Int32s
    first_bias: Int32s
    second: Int32s
    second_bias: Int32s
    third: Int32s
    third_bias: Int32s
    squash: Int32s


@part
def _clipped(value: Any) -> Any:
    """Bring a hidden value into 0 … HIGHEST."""
    return min(max(value, 0), HIGHEST)


@part
def hidden(network: Any, kind: Any, level: Any, inputs: Any, first: Any, second: Any) -> None:
    """Compute the hidden values int32 [S] in `second` from inputs uint8 [INPUTS]; `first` int32 [F] is scratch."""
    weights, bias = network.first[kind], network.first_bias[kind, level]
    for j in range(first.shape[0]):
        first[j] = bias[j]
    for i in range(inputs.shape[0]):
        if inputs[i]:
            value, row = np.int32(inputs[i]), weights[i]
            for j in range(first.shape[0]):
                first[j] += value * row[j]
    weights, bias = network.second[kind], network.second_bias[kind]
    for j in range(second.shape[0]):
        second[j] = bias[j]
    for i in range(first.shape[0]):
        value = np.int32(_clipped(first[i] >> (INPUT + WEIGHT - HIDDEN)))
        if value:
            row = weights[i]
            for j in range(second.shape[0]):
                second[j] += value * row[j]
    for j in range(second.shape[0]):
        second[j] = _clipped(second[j] >> WEIGHT)


@part
def logit(network: Any, kind: Any, level: Any, second: Any, flag: Any) -> Any:
    """Compute the logit of a flag."""
    total = network.third_bias[kind, level, flag]
    row = network.third[kind, flag]
    for j in range(second.shape[0]):
        total += second[j] * row[j]
    return total >> (HIDDEN + WEIGHT - LOGIT)
