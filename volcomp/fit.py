"""Fitting a released model to one volume, before it is coded: floats and torch, in the encoder alone.

What is fitted are the numbers of `differences`: gains of the weights' rows and columns, the gates' biases (the row of
the constant input), the head, and, where a volume is large enough to pay for them, single weights. The network's
forward pass is the codec's own with exactly the integers that would be sent; gradients go straight through their
roundings (`training.network`). A single weight has to earn its bits: its Adam step is followed by soft thresholding
(proximal gradient: Parikh & Boyd 2014) by the price of a difference per voxel of the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from . import differences, models
from .differences import GAIN_BITS, GAIN_LIMIT, WEIGHT_LIMIT, Differences
from .features import INPUTS
from .lstm.weights import Weights
from .training.data import Batch, Block, Sampler, Slab, blocks_of
from .training.density import Shape
from .training.export import BIAS_ORIGIN
from .training.model import HEAD_UNIT, ideal_bits
from .training.network import RowLstm

BLOCK = (2, 4, 64)  # slices, rows and voxels of a row that are trained on at a time
BLOCKS = 32  # at most so many make a step,
STEPS = 80  # and at least so many steps a fit
BIASES = INPUTS - 2  # the row of the constant input
SINGLE_WEIGHTS = 4  # their place among the parameters
SINGLE = 2 << 20  # voxels from which on single weights may pay
PRICE = 6.0  # bits that a single weight must save
DEAD_ZONES = (0.5, 0.65, 0.8)  # a difference in units of a weight's integer is 0 below
GAIN_RATE, HEAD_RATE, WEIGHT_RATE = 2e-2, 1e-2, 2e-3  # of Adam, for gains and biases, the head, and single weights
MEMORY = (0.9, 0.98)  # of Adam
SAMPLE = 1 << 19  # voxels that candidates are compared on,
BAND = (4, 16)  # in bands of so many slices and rows

Gradient = list[torch.Tensor]


@cache
def density(number: int) -> Shape:
    """The densities that a released model's tables were made of."""
    return Shape.of(models.weights(number).tables())


def visits(voxels: int, per_voxel: float) -> int:
    """How many voxels a fit of so many passes is shown."""
    step = _blocks(voxels) * math.prod(BLOCK)
    return max(STEPS, round(per_voxel * voxels / step)) * step


def _blocks(voxels: int) -> int:
    """How many make a step for a volume of so many voxels."""
    return min(BLOCKS, max(8, voxels // (8 * math.prod(BLOCK))))


class _Lstm(RowLstm):
    """The row LSTM with given integers and the shifts of a released model."""

    def __init__(self, released: Weights) -> None:
        self.hidden, self.shared = released.hidden, released.shared
        self.shift = torch.from_numpy(released.shift)
        self.now = torch.from_numpy(released.weights)
        self.weights = torch.zeros(released.weights.shape)  # only for its gradient

    def integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.now, self.shift


class _Fit:
    """The numbers that are fitted, float32, and Adam's memory of their gradients.

    rows, columns        gains minus 1
    head, bias           in real units, as `training.model` has them
    weights              differences, in units of the integers
    """

    def __init__(self, number: int, voxels: int, threads: int, single: bool) -> None:
        self.released = released = models.weights(number)
        self.single, self.shape = single, density(number)
        self.base = torch.from_numpy(released.weights.astype(np.float32))
        unit = torch.exp2(-torch.from_numpy(released.shift.astype(np.float32))).repeat(len(self.base), 1)
        unit[:INPUTS] /= 2  # an input's integer is in 1/64, a hidden output's in 1/128
        self.unit = unit  # a weight's integer 1 in real units
        self.first_head = torch.from_numpy(released.head.T.astype(np.float32)) / HEAD_UNIT
        self.first_bias = torch.from_numpy((released.bias - BIAS_ORIGIN).astype(np.float32)) / (HEAD_UNIT * 128)
        gains = [torch.zeros(len(self.base), 1), torch.zeros(1, self.base.shape[1])]
        self.parameters = [*gains, self.first_head.clone(), self.first_bias.clone(), torch.zeros_like(self.base)]
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.step = 0
        rate = WEIGHT_RATE / unit if single else torch.zeros_like(unit)
        rate[BIASES] = GAIN_RATE / unit[BIASES]
        self.rates: list[Any] = [GAIN_RATE, GAIN_RATE, HEAD_RATE, HEAD_RATE, rate]
        self.price = PRICE / voxels
        self.lstms = [_Lstm(released) for _ in range(threads)]

    def differences(self, dead_zone: float = 0.5) -> Differences:
        """The integers that would be sent."""
        rows, columns, head, bias, weights = (p.numpy() for p in self.parameters)
        rows, columns = (
            np.clip(np.rint(gain.ravel() * (1 << GAIN_BITS)), -GAIN_LIMIT, GAIN_LIMIT).astype(np.int64)
            for gain in (rows, columns)
        )
        gained = differences.gained(self.released.weights, rows, columns)
        moved = gained + (np.sign(weights) * np.floor(np.abs(weights) + (1 - dead_zone))).astype(np.int64)
        heads = np.rint(head.T * HEAD_UNIT)
        if self.released.learns:
            limit = self.released.head_limit - 8  # which a larger bias lowers a little
            heads = np.clip(heads, -limit, limit)
        return Differences(
            rows,
            columns,
            heads.astype(np.int64) - self.released.head,
            np.rint((bias - self.first_bias.numpy()).astype(np.float64) * HEAD_UNIT * 128).astype(np.int64),
            np.clip(moved, -WEIGHT_LIMIT, WEIGHT_LIMIT) - gained,
        )

    def use(self, weights: np.ndarray) -> None:
        """Let the networks run with these weights int8."""
        for lstm in self.lstms:
            lstm.now = torch.from_numpy(weights)

    def bits(
        self, seen: torch.Tensor, head: torch.Tensor, bias: torch.Tensor, error: np.ndarray, scale: np.ndarray
    ) -> torch.Tensor:
        """Mean ideal bits per voxel under the released model's tables."""
        return ideal_bits(self.shape, seen[..., -len(head) :] @ head + bias, error, scale)

    def gradient(self, member: int, batch: Batch) -> Gradient:
        """Of the mean bits of a batch, for all parameters."""
        lstm = self.lstms[member]
        seen = (lstm.forward(batch.inputs).float() / 128).requires_grad_()
        head, bias = (p.clone().requires_grad_() for p in self.parameters[2:4])
        by = torch.autograd.grad(self.bits(seen, head, bias, batch.error, batch.scale), [seen, head, bias])
        lstm.backward(by[0][..., INPUTS:])
        assert lstm.weights.grad is not None
        weights = lstm.weights.grad * self.unit
        by_gain = weights * self.base
        return [by_gain.sum(1, keepdim=True), by_gain.sum(0, keepdim=True), by[1], by[2], weights]

    def update(self, gradient: Gradient, pace: float) -> None:
        """A step of Adam, at that part of the highest rates."""
        self.step += 1
        first, second = MEMORY
        for k, (p, g) in enumerate(zip(self.parameters, gradient, strict=True)):
            self.mean[k].mul_(first).add_(g, alpha=1 - first)
            self.square[k].mul_(second).addcmul_(g, g, value=1 - second)
            size = (self.square[k] / (1 - second**self.step)).sqrt() + 1e-12
            rate = self.rates[k] * pace / size
            p.sub_(rate * self.mean[k] / (1 - first**self.step))
            if k == SINGLE_WEIGHTS:
                threshold = rate * self.price
                threshold[BIASES] = 0
                p.copy_(torch.sign(p) * (p.abs() - threshold).clamp(min=0))


def fit(
    number: int, slabs: list[Slab], voxels: int, per_voxel: float, threads: int, progress: Callable[[int], None]
) -> bytes:
    """Differences to a released model, fitted to slabs of a volume of so many voxels, visiting each `per_voxel` times;
    empty where they do not pay.

    `progress` is called with the number of voxels visited since the last call, and may raise to end the work.
    """
    blocks = _blocks(voxels)
    steps = visits(voxels, per_voxel) // (blocks * math.prod(BLOCK))
    released = models.weights(number)
    state = _Fit(number, voxels, threads, voxels >= SINGLE)
    samplers = [Sampler([slabs], _within(BLOCK, slabs), member) for member in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def work(member: int) -> Gradient:
            return state.gradient(member, samplers[member].batch(max(1, blocks // threads)))

        for step in range(steps):
            state.use(differences.apply(released, state.differences()).weights)
            parts = list(pool.map(work, range(threads)))
            pace = min(1.0, (step + 1) / 5) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            state.update([torch.stack(part).mean(0) for part in zip(*parts, strict=True)], pace)
            progress(blocks * math.prod(BLOCK))
        sample = _sample(slabs, min(SAMPLE, voxels))

        def cost(weights: Weights) -> float:
            """Bits per voxel of the sample."""
            state.use(weights.weights)
            head = torch.from_numpy(weights.head.T.astype(np.float32)) / HEAD_UNIT
            bias = torch.from_numpy((weights.bias - BIAS_ORIGIN).astype(np.float32)) / (HEAD_UNIT * 128)

            def part(member: int) -> float:
                total = 0.0
                for batch in sample[member::threads]:
                    seen = state.lstms[member].forward(batch.inputs).float() / 128
                    total += float(state.bits(seen, head, bias, batch.error, batch.scale)) * batch.error.size
                return total

            with torch.no_grad():
                return sum(pool.map(part, range(threads))) / sum(batch.error.size for batch in sample)

        best, least = b"", cost(released)
        for dead_zone in DEAD_ZONES if state.single else DEAD_ZONES[:1]:
            d = state.differences(dead_zone)
            data = differences.to_bytes(d)
            price = cost(differences.apply(released, d)) + 8 * len(data) / voxels
            if price < least:
                best, least = data, price
    return best


def _within(block: Block, slabs: list[Slab]) -> Block:
    """No larger than any of the slabs."""
    z, y, x = (min(most, *(slab.shape[axis] for slab in slabs)) for axis, most in enumerate(block))
    return z, y, x


def _sample(slabs: list[Slab], voxels: int) -> list[Batch]:
    """Bands of whole rows from all over the volume, in batches."""
    random = np.random.default_rng(0)
    band = _within((*BAND, slabs[0].shape[2]), slabs)
    count = max(1, (1 << 17) // math.prod(band))
    share = np.array([slab.shape[0] for slab in slabs], float)
    batches = []
    for k in random.choice(len(slabs), max(2, voxels // (count * math.prod(band))), p=share / share.sum()):
        z, y = (random.integers(0, room + 1, count) for room in np.subtract(slabs[k].shape, band)[:2])
        batches.append(blocks_of(slabs[k], z, y, np.zeros_like(z), band))
    return batches
