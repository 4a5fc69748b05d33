"""The only door from floats to integers: a trainee's weights, head and distributions become a released model."""

from __future__ import annotations

import pathlib

import numpy as np

from .. import entropy, residual
from ..lstm.weights import Weights
from .density import Shape
from .model import HEAD_UNIT, Trainee
from .network import quantise

BIAS_ORIGIN = np.array([1 << 4, 1 << 10], np.int32)  # halves, so that the shifts after the head round


def table(shape: Shape, number: int) -> np.ndarray:
    """Counts uint32 [2 · reach + 1] of one table: every token, then the escape; they sum to 2^20."""
    c = int(residual.CLASS_OF_TABLE[number])
    shift = (number - residual.FIRST_TABLE[c]) / residual.SHIFTS[c]  # of the mean above the nearest grey level
    width, reach = 1 << residual.LOW_BITS[c], residual.REACH[c]
    first = np.arange(-reach, reach) * width  # lowest residual of every token
    probability = shape.interval(first - 0.5 - shift, first + width - 0.5 - shift, residual.class_log_scale(c))
    total = 1 << entropy.TABLE_BITS
    probability = np.append(probability, max(1 - probability.sum(), 0))
    counts = 1 + np.floor(probability / probability.sum() * (total - probability.size)).astype(np.int64)
    counts[counts.argmax()] += total - counts.sum()
    return counts.astype(np.uint32)


def integers(trainee: Trainee) -> Weights:
    """The model as the codec uses it."""
    weights, shift = quantise(trainee.lstm.weights.detach())
    head = np.rint(trainee.head.detach().numpy().T * HEAD_UNIT).astype(np.int16)
    bias = np.rint(trainee.bias.detach().numpy().astype(np.float64) * HEAD_UNIT * 128).astype(np.int32)
    bias += BIAS_ORIGIN
    counts = [table(trainee.shape, k) for k in range(residual.TABLES)]
    sizes = np.array([len(c) for c in counts], np.int64)
    return Weights(
        trainee.name, weights.numpy(), shift.numpy(), head, bias, np.concatenate(counts), sizes
    )


def write(trainee: Trainee, path: pathlib.Path) -> None:
    """Write the released form, .npz."""
    integers(trainee).save(path)
