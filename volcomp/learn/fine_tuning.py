"""Fitting a released model to one volume, before it is coded: floats and torch, in the encoder alone.

What is fitted are the numbers of `differences`: gains of the weights' rows and columns, the gates' biases (the row of
the constant input), the head, and, where a volume is large enough to pay for them, single weights. The network's
forward pass is the codec's own with exactly the integers that would be sent; gradients go straight through their
roundings (`training.network`). A single weight has to earn its bits: its Adam step is followed by soft thresholding
(proximal gradient: Parikh & Boyd 2014) by the price of a difference per voxel of the volume.

Threads of the CPU do it, each a part of every step, or a device: there a step reads nothing but what lies there, so
that one is recorded as a CUDA graph and begun again with one call.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from ..constants import INPUTS
from ..models import Model
from ..stages import weight_delta
from ..stages.lstm.weights import Weights
from ..stages.weight_delta import GAIN_BITS, GAIN_LIMIT, WEIGHT_LIMIT, Differences
from ..torchops.graphs import recorded
from .blocks import Slabs
from .data import Batch, Block, Sampler, Slab, blocks_of, prepare
from .density import Shape
from .device import passes
from .head import BIAS_ORIGIN, HEAD_UNIT, ideal_bits
from .row_lstm import Passes

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
UNRECORDED = 3  # steps on a device before one is recorded: kernels are compiled and loaded, which a recording cannot do

Gradient = list[torch.Tensor]


_densities: dict[bytes, Shape] = {}  # that models' tables were made of, which takes seconds to find


def _density(released: Weights) -> Shape:
    digest = released.digest()
    if digest not in _densities:
        _densities[digest] = Shape.of(released.tables())
    return _densities[digest]


def visits(voxels: int, per_voxel: float) -> int:
    """How many voxels a fit of so many passes is shown."""
    step = _blocks(voxels) * math.prod(BLOCK)
    return max(STEPS, round(per_voxel * voxels / step)) * step


def _blocks(voxels: int) -> int:
    """How many make a step for a volume of so many voxels."""
    return min(BLOCKS, max(8, voxels // (8 * math.prod(BLOCK))))


class _Fit:
    """The numbers that are fitted, float32, and Adam's memory of their gradients.

    rows, columns        gains minus 1
    head, bias           in real units, as `training.model` has them
    weights              differences, in units of the integers
    """

    def __init__(self, released: Weights, voxels: int, device: str) -> None:
        """For a volume of so many voxels, on a device as `training.device.passes` takes it."""
        self.released = released
        self.device, self.single = device, voxels >= SINGLE
        self.shape = copy.deepcopy(_density(released)).to(device)
        self.integers, self.shift = self.put(released.weights), self.put(released.shift)
        self.base = self.integers.float()
        unit = (1.0 / (1 << self.shift)).repeat(len(self.base), 1)
        unit[:INPUTS] /= 2  # an input's integer is in 1/64, a hidden output's in 1/128
        self.unit = unit  # a weight's integer 1 in real units
        head, self.first_bias = self.real_head(released)
        gains = [torch.zeros_like(self.base[:, :1]), torch.zeros_like(self.base[:1])]
        self.parameters = [*gains, head, self.first_bias.clone(), torch.zeros_like(self.base)]
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        rate = WEIGHT_RATE / unit if self.single else torch.zeros_like(unit)
        rate[BIASES] = GAIN_RATE / unit[BIASES]
        self.rates: list[Any] = [GAIN_RATE, GAIN_RATE, HEAD_RATE, HEAD_RATE, rate]
        self.price = PRICE / voxels

    def put(self, array: np.ndarray) -> torch.Tensor:
        """A copy of an array on the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def passes(self) -> Passes:
        """Of this model there."""
        return passes(self.released.hidden, self.released.shared, self.device)

    def real_head(self, weights: Weights) -> tuple[torch.Tensor, torch.Tensor]:
        """A model's head [n, 2] and bias [2] in real units."""
        head = self.put(weights.head.T.astype(np.float32)) / HEAD_UNIT
        return head, self.put((weights.bias - BIAS_ORIGIN).astype(np.float32)) / (HEAD_UNIT * 128)

    def now(self) -> torch.Tensor:
        """The weights int8 that `differences` would make of the released ones, without leaving the device."""
        one = 1 << GAIN_BITS
        rows, columns = (one + torch.round(p * one).clamp(-GAIN_LIMIT, GAIN_LIMIT).int() for p in self.parameters[:2])
        gained = ((self.integers * rows * columns + one * one // 2) >> (2 * GAIN_BITS)).clamp(
            -WEIGHT_LIMIT, WEIGHT_LIMIT
        )
        moved = gained + _whole(self.parameters[SINGLE_WEIGHTS], DEAD_ZONES[0]).int()
        return moved.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).to(torch.int8)

    def differences(self, dead_zone: float = DEAD_ZONES[0]) -> Differences:
        """The integers that would be sent."""
        rows, columns, head, bias, weights = (p.cpu().numpy() for p in self.parameters)
        rows, columns = (
            np.clip(np.rint(gain.ravel() * (1 << GAIN_BITS)), -GAIN_LIMIT, GAIN_LIMIT).astype(np.int64)
            for gain in (rows, columns)
        )
        gained = weight_delta.gained(self.released.weights, rows, columns)
        moved = gained + _whole(torch.from_numpy(weights), dead_zone).numpy().astype(np.int64)
        heads = np.rint(head.T * HEAD_UNIT)
        if self.released.learns:
            limit = self.released.head_limit - 8  # which a larger bias lowers a little
            heads = np.clip(heads, -limit, limit)
        return Differences(
            rows,
            columns,
            heads.astype(np.int64) - self.released.head,
            np.rint((bias - self.first_bias.cpu().numpy()).astype(np.float64) * HEAD_UNIT * 128).astype(np.int64),
            np.clip(moved, -WEIGHT_LIMIT, WEIGHT_LIMIT) - gained,
        )

    def bits(self, seen: torch.Tensor, head: torch.Tensor, bias: torch.Tensor, error: Any, scale: Any) -> torch.Tensor:
        """Mean ideal bits per voxel under the released model's tables."""
        return ideal_bits(self.shape, seen[..., -len(head) :] @ head + bias, error, scale)

    def gradient(self, passes: Passes, now: torch.Tensor, batch: Batch) -> Gradient:
        """Of the mean bits of a batch, for all parameters, where the weights are these int8."""
        seen = (passes.forward(batch.inputs, now, self.shift).float() / 128).requires_grad_()
        head, bias = (p.clone().requires_grad_() for p in self.parameters[2:4])
        by = torch.autograd.grad(self.bits(seen, head, bias, batch.error, batch.scale), [seen, head, bias])
        weights = passes.backward(by[0][..., INPUTS:]) * self.unit
        by_gain = weights * self.base
        return [by_gain.sum(1, keepdim=True), by_gain.sum(0, keepdim=True), by[1], by[2], weights]

    def update(self, gradient: Gradient, step: Any, pace: Any) -> None:
        """Step of that number, from 1 on, of Adam, at that part of the highest rates: numbers, or tensors []."""
        first, second = MEMORY
        for k, (p, g) in enumerate(zip(self.parameters, gradient, strict=True)):
            self.mean[k].mul_(first).add_(g, alpha=1 - first)
            self.square[k].mul_(second).addcmul_(g, g, value=1 - second)
            size = (self.square[k] / (1 - second**step)).sqrt() + 1e-12
            rate = self.rates[k] * pace / size
            p.sub_(rate * self.mean[k] / (1 - first**step))
            if k == SINGLE_WEIGHTS:
                threshold = rate * self.price
                threshold[BIASES] = 0
                p.copy_(torch.sign(p) * (p.abs() - threshold).clamp(min=0))


def fine_tune(
    model: Model, released: Weights, samples: Iterable[tuple[np.ndarray, Any]], voxels: int, per_voxel: float,
    threads: int, progress: Callable[[int], None], device: str = "cpu",
) -> bytes:  # fmt: skip
    """As `fit`, on slabs that are given as levels int32 [Z, Y, X] with what the pipeline `row` has chosen for them."""
    slabs = [prepare(levels, model.search.runs, stage) for levels, stage in samples]
    return fit(released, slabs, voxels, per_voxel, threads, progress, device)


def fit(
    released: Weights, slabs: list[Slab], voxels: int, per_voxel: float, threads: int, progress: Callable[[int], None],
    device: str = "cpu",
) -> bytes:  # fmt: skip
    """Differences to a released model's weights, fitted to slabs of a volume of so many voxels, visiting each `per_voxel` times;
    empty where they do not pay. Where another device fails, or has too little memory, the CPU does it.

    `progress` is called with the number of voxels visited since the last call, and may raise to end the work.
    """
    told, ended = 0, False

    def tell(visited: int) -> None:
        nonlocal told, ended
        told += visited
        ended = True  # unless the caller lets it go on
        progress(visited)
        ended = False

    if device != "cpu":
        try:
            return _fit(released, slabs, voxels, per_voxel, 1, tell, device)
        except Exception as error:  # of a driver, a compiler, the device: whatever it is, the CPU can do it
            if ended:
                raise
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"the model is fitted on the CPU, for {device} failed: {reason}", RuntimeWarning, stacklevel=2
            )
    twice = told  # what the device had done is not told again

    def tell_the_rest(visited: int) -> None:
        nonlocal twice
        again = min(visited, twice)
        twice -= again
        progress(visited - again)

    return _fit(released, slabs, voxels, per_voxel, threads, tell_the_rest, "cpu")


def _fit(
    released: Weights, slabs: list[Slab], voxels: int, per_voxel: float, threads: int, progress: Callable[[int], None],
    device: str,
) -> bytes:  # fmt: skip
    """As `fit`, on this device."""
    blocks = _blocks(voxels)
    steps = visits(voxels, per_voxel) // (blocks * math.prod(BLOCK))
    state = _Fit(released, voxels, device)
    members = [state.passes() for _ in range(threads)]
    held = None if device == "cpu" else Slabs(slabs, device)
    with ThreadPoolExecutor(threads) as pool:
        if held is None:
            done = _on_threads(state, members, slabs, blocks, steps, pool)
        else:
            done = _on_device(state, members[0], slabs, held, blocks, steps)
        for _ in done:
            progress(blocks * math.prod(BLOCK))
        sample = _sample(slabs, min(SAMPLE, voxels), held)

        def cost(weights: Weights) -> float:
            """Bits per voxel of the sample."""
            now, (head, bias) = state.put(weights.weights), state.real_head(weights)

            def part(member: int) -> float:
                total = 0.0
                for batch in sample[member::threads]:
                    seen = members[member].forward(batch.inputs, now, state.shift).float() / 128
                    total += float(state.bits(seen, head, bias, batch.error, batch.scale)) * math.prod(
                        batch.error.shape
                    )
                return total

            with torch.no_grad():
                return sum(pool.map(part, range(threads))) / sum(math.prod(batch.error.shape) for batch in sample)

        best, least = b"", cost(state.released)
        for dead_zone in DEAD_ZONES if state.single else DEAD_ZONES[:1]:
            d = state.differences(dead_zone)
            data = weight_delta.to_bytes(d)
            price = cost(weight_delta.apply(state.released, d)) + 8 * len(data) / voxels
            if price < least:
                best, least = data, price
    return best


def _pace(step: int, steps: int) -> float:
    """The part of the highest rates that a step has: cosine decay, after a short warm-up."""
    return min(1.0, (step + 1) / 5) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _whole(weights: torch.Tensor, dead_zone: float) -> torch.Tensor:
    """Differences of single weights as whole numbers: 0 below the dead zone."""
    return torch.sign(weights) * torch.floor(weights.abs() + (1 - dead_zone))


def _on_threads(
    state: _Fit, members: list[Passes], slabs: list[Slab], blocks: int, steps: int, pool: ThreadPoolExecutor
) -> Iterator[None]:
    """The steps, a part of each by every thread."""
    samplers = [Sampler([slabs], _within(BLOCK, slabs), member) for member in range(len(members))]

    def work(member: int, now: torch.Tensor) -> Gradient:
        batch = samplers[member].batch(max(1, blocks // len(members)))
        return state.gradient(members[member], now, batch)

    for step in range(steps):
        parts = list(pool.map(partial(work, now=state.now()), range(len(members))))
        gradient = [torch.stack(part).mean(0) for part in zip(*parts, strict=True)]
        state.update(gradient, step + 1, _pace(step, steps))
        yield


def _on_device(state: _Fit, passes: Passes, slabs: list[Slab], held: Slabs, blocks: int, steps: int) -> Iterator[None]:
    """The steps on a device: a clock there says which it is, and where its blocks lie is drawn beforehand."""
    block = _within(BLOCK, slabs)
    sampler = Sampler([slabs], block, 0)
    drawn = sampler.random.permutation(sampler.places(steps * blocks))  # they come slab by slab
    places = state.put(drawn.reshape(steps, blocks, -1))
    paces = state.put(np.array([_pace(step, steps) for step in range(steps)], np.float32))
    clock = torch.zeros(1, dtype=torch.int64, device=state.device)

    def one() -> None:
        batch = held.at(places.index_select(0, clock)[0], block)
        gradient = state.gradient(passes, state.now(), batch)
        state.update(gradient, (clock[0] + 1).double(), paces.index_select(0, clock)[0])
        clock.add_(1)

    work = one
    for step in range(steps):
        if step == UNRECORDED and state.device.startswith("cuda"):
            work = _recorded(one)
        work()
        yield


def _recorded(work: Callable[[], None]) -> Callable[[], None]:
    """What a piece of work begins on a GPU, to be begun again with one call; where it cannot be recorded, the work."""
    try:
        return recorded(work).replay
    except RuntimeError as error:
        warnings.warn(f"a step of the fit cannot be recorded: {error}", RuntimeWarning, stacklevel=2)
        return work


def _within(block: Block, slabs: list[Slab]) -> Block:
    """No larger than any of the slabs."""
    z, y, x = (min(most, *(slab.shape[axis] for slab in slabs)) for axis, most in enumerate(block))
    return z, y, x


def _sample(slabs: list[Slab], voxels: int, held: Slabs | None) -> list[Batch]:
    """Bands of whole rows from all over the volume, in batches; on the device where the slabs are held there."""
    random = np.random.default_rng(0)
    band = _within((*BAND, slabs[0].shape[2]), slabs)
    count = max(1, (1 << 17) // math.prod(band))
    share = np.array([slab.shape[0] for slab in slabs], float)
    batches = []
    for k in random.choice(len(slabs), max(2, voxels // (count * math.prod(band))), p=share / share.sum()):
        z, y = (random.integers(0, room + 1, count) for room in np.subtract(slabs[k].shape, band)[:2])
        x = np.zeros_like(z)
        if held is None:
            batches.append(blocks_of(slabs[k], z, y, x, band))
        else:
            places = torch.from_numpy(np.stack([np.full_like(z, k), z, y, x], axis=1))
            batches.append(held.at(places.to(held.known.device), band))
    return batches
