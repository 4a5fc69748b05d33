"""The Karhunen–Loève transform (KLT) of blocks of 8×8, whose decoder has learned what quantisation leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from volcomp.dtypes import Float64s, Int32s, UInt8s

from . import quantisation, synthesis
from .codec import PlanesCodec, Shapes
from .config import ImagesConfig
from .layers import correction
from .networks import network, weights_of
from .quantisation import FRACTION
from .training import finished, train
from .vq import blocks

SIDE = 8
NUMBERS = SIDE * SIDE
TAPS = 14  # bits behind the point of the basis
DEADZONE = 0.17
MIDDLE = 128
STEPS = (3.0, 48.0)  # between which the learned decoder has seen steps
SCALE = 64  # a step over this is what the decoder is told


def basis(images: Sequence[UInt8s]) -> Int32s:
    """Return the principal components of blocks, int32 [64, 64], strongest first, in multiples of 2^-TAPS."""
    moments = np.zeros((NUMBERS, NUMBERS))
    for image in images:
        centred = blocks(image, SIDE).astype(np.float64) - MIDDLE
        moments += centred.T @ centred
    vectors = np.linalg.eigh(moments)[1].T[::-1]
    signs = np.sign(vectors.sum(1, keepdims=True))
    return (vectors * np.where(signs == 0, 1, signs) * (1 << TAPS)).round().astype(np.int32)


def _image(lines: Float64s, rows: int, columns: int) -> Float64s:
    """Return the image of blocks [rows · columns, 64]."""
    parts = lines.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3)
    return parts.reshape(rows * SIDE, columns * SIDE)


class Klt(PlanesCodec):
    """The KLT at a step, with a correction learned by the decoder if there are weights of one."""

    multiple = SIDE

    def __init__(self, name: str, vectors: Int32s, step: float, width: int = 0, path: Path | None = None) -> None:
        super().__init__(name)
        self._vectors, self._step = vectors.astype(np.float64), step
        self._correction = synthesis.Network(correction(width), weights_of(path, "correction")) if path else None

    def analyse(self, image: UInt8s) -> list[Int32s]:
        found = (blocks(image, SIDE).astype(np.float64) - MIDDLE) @ self._vectors.T / (1 << TAPS)
        shape = (image.shape[0] // SIDE, image.shape[1] // SIDE)
        return [
            quantisation.quantised(found[:, k].reshape(shape), self._step, DEADZONE if k else 0.0)
            for k in range(NUMBERS)
        ]

    def shapes(self, rows: int, columns: int) -> Shapes:
        return [(rows // SIDE, columns // SIDE)] * NUMBERS

    def plain(self, planes: Sequence[Int32s]) -> Float64s:
        """Return the image without a correction, in multiples of 2^-FRACTION, about MIDDLE."""
        rows, columns = planes[0].shape
        numbers = np.stack([quantisation.numbers(plane.ravel(), self._step) for plane in planes], 1)
        return _image(quantisation.shifted(numbers @ self._vectors, TAPS), rows, columns)

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        plain = self.plain(planes) + (MIDDLE << FRACTION)
        if self._correction is None:
            return quantisation.shifted(plain, FRACTION).clip(0, 255).astype(np.uint8)
        # In multiples of 2^-ACTIVATION of values in 0 … 1, rounded to nearest by the integers of float64.
        bits = synthesis.ACTIVATION - FRACTION
        unit = np.floor((2 * plain * (1 << bits) + synthesis.LEVELS) / (2 * synthesis.LEVELS))
        told = np.full_like(unit, (quantisation.steps(self._step) << bits) // SCALE)
        return synthesis.grey(unit + self._correction(np.stack([unit, told]))[0])


def learn(
    config: ImagesConfig, vectors: Int32s, images: UInt8s, path: Path, tell: Callable[[float], None]
) -> dict[str, float]:
    """Train the correction on images uint8 [n, y, x], at steps drawn between STEPS; returns what `train` does."""
    if found := finished(path):
        return found
    torch.manual_seed(0)  # of the first weights
    inner = network(correction(config.width))
    with torch.no_grad():  # begin with no correction
        for parameter in list(inner.parameters())[-2:]:
            parameter.zero_()
    matrix = torch.from_numpy(vectors).float() / (1 << TAPS)

    def quantised(batch: Tensor, step: Tensor) -> Tensor:
        n, _, rows, columns = batch.shape
        lines = batch.reshape(n, rows // SIDE, SIDE, columns // SIDE, SIDE).transpose(2, 3).reshape(n, -1, NUMBERS)
        found = (255 * lines - MIDDLE) @ matrix.T / step.view(n, 1, 1)
        zone = torch.full((NUMBERS,), DEADZONE)
        zone[0] = 0
        rounded = found.sign() * (found.abs() + 0.5 - zone).floor()
        back = ((rounded * step.view(n, 1, 1)) @ matrix + MIDDLE) / 255
        shaped = back.reshape(n, rows // SIDE, columns // SIDE, SIDE, SIDE).transpose(2, 3)
        return shaped.reshape(n, 1, rows, columns)

    def loss(batch: Tensor) -> Tensor:
        low, high = STEPS
        step = low * (high / low) ** torch.rand(len(batch))
        plain = quantised(batch, step)
        told = (step / SCALE).view(-1, 1, 1, 1).expand_as(plain)
        error: Tensor = inner(torch.cat([plain, told], 1)) + plain - batch
        # A finer step's error counts for more than it is large, so that all steps learn.
        return (error**2 / (step.view(-1, 1, 1, 1) / 255) ** 2).mean()

    given = torch.from_numpy(images).float().unsqueeze(1) / 255
    return train(config, "klt", given, loss, {"correction": inner}, path, crop=config.crop, tell=tell)
