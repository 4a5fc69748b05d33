"""Export: the only conversion of a trainee's weights, head and distributions to the integers of a released model."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import numpy as np
import torch

from ..constants import CLASSES, TABLE_BITS
from ..dtypes import Int8s, UInt32s
from ..learn.density import Shape
from ..learn.head import BIAS_ORIGIN, HEAD_UNIT
from ..learn.row_lstm import quantise
from ..stages import symbols
from ..stages.lstm import learning
from ..stages.lstm.weights import LstmWeights, head_limit
from .model import RowTrainee

RATE = 0.015  # at which the head learns during coding
RIDGE = 1e-2  # of the covariance, relative to its mean diagonal


def table(shape: Shape, number: int) -> UInt32s:
    """Make the counts uint32 [2 · reach + 1] of one table: every token, then the escape; they sum to 2^20."""
    c = int(symbols.CLASS_OF_TABLE[number])
    shift = (number - symbols.FIRST_TABLE[c]) / symbols.SHIFTS[c]  # of the mean above the nearest grey level
    width, reach = 1 << symbols.LOW_BITS[c], symbols.REACH[c]
    first = np.arange(-reach, reach) * width  # lowest residual of every token
    probability = shape.interval(first - 0.5 - shift, first + width - 0.5 - shift, symbols.class_log_scale(c))
    total = 1 << TABLE_BITS
    probability = np.append(probability, max(1 - probability.sum(), 0))
    counts = 1 + np.floor(probability / probability.sum() * (total - probability.size)).astype(np.int64)
    counts[counts.argmax()] += total - counts.sum()
    return counts.astype(np.uint32)


def slopes(shape: Shape) -> Int8s:
    """Compute the slopes of the code length, int8 [2, classes, bins] in 1/32 bit.

    The first are per scale of distance from the mean, the second per octave of scale.
    """
    classes = np.arange(CLASSES)
    width = np.array([symbols.class_log_scale(c) for c in np.maximum(classes, learning.FINEST)])[:, None]
    error = torch.from_numpy((np.arange(learning.BINS) + 0.5) / 8 * 2.0**width).float().requires_grad_()
    scale = torch.tensor([symbols.class_log_scale(int(c)) for c in classes])[:, None].repeat(1, learning.BINS)
    scale.requires_grad_()
    shape.bits(error.ravel(), scale.ravel()).sum().backward()
    assert error.grad is not None and scale.grad is not None
    real = torch.stack([error.grad * torch.exp2(scale.detach()), scale.grad]).numpy()
    return np.clip(np.rint(real * 32), -127, 127).astype(np.int8)


def metric(covariance: np.ndarray, rate: float) -> np.ndarray:
    """Return `rate` times the inverse of the covariance of what the head sees, as int16 [n, n].

    covariance float64 [n, n], in (1/128)². Where much of it hardly varies, as in a network that has not learned much,
    the ridge grows until the result fits into int16.
    """
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    while True:
        inverse = rate * np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
        integers = np.rint(inverse * (1 << learning.METRIC_BITS))
        if np.abs(integers).max() <= 32767:
            return integers.astype(np.int16)
        ridge *= 2


def integers(trainee: RowTrainee, covariance: np.ndarray) -> LstmWeights:
    """Make the integers of a model.

    covariance float64 [n, n]: the mean of xxᵀ over what the head sees in training.
    """
    weights, shift = quantise(trainee.lstm.weights.detach())
    bias = np.rint(trainee.bias.detach().numpy().astype(np.float64) * HEAD_UNIT * 128).astype(np.int32)
    bias += BIAS_ORIGIN
    limit = head_limit(bias, len(trainee.head))
    head = np.rint(trainee.head.detach().numpy().T * HEAD_UNIT).clip(-limit, limit).astype(np.int16)
    counts = [table(trainee.shape, k) for k in range(symbols.TABLES)]
    sizes = np.array([len(c) for c in counts], np.int64)
    return LstmWeights(
        trainee.name, weights.numpy(), shift.numpy(), head, bias, np.concatenate(counts), sizes, slopes(trainee.shape),
        _blinded(metric(covariance, RATE), trainee.blind),
    )  # fmt: skip


def _blinded(metric: np.ndarray, blind: slice) -> np.ndarray:
    """Set the metric to 0 for inputs from which the head does not learn."""
    metric[blind] = 0
    metric[:, blind] = 0
    return metric


def covariance(trainee: RowTrainee, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Compute the covariance for `integers` from batches of inputs int8 [T, Z, Y, B, INPUTS]."""
    total, count = np.zeros((len(trainee.head), len(trainee.head))), 0
    for inputs in batches:
        seen = trainee.forward(inputs).reshape(-1, len(trainee.head)).numpy().astype(np.float64) / 128
        total += seen.T @ seen
        count += len(seen)
    return total / count


def write(trainee: RowTrainee, batches: Iterable[np.ndarray], path: pathlib.Path) -> None:
    """Write the released model as .npz."""
    integers(trainee, covariance(trainee, batches)).save(path)
