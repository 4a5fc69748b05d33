"""Fine-tuning of a released model to one volume before it is coded: floats and torch, in the encoder alone.

The parameters are the numbers of a weight delta: gains of the weights' rows and columns, the gates' biases (the row of
the constant input), the head and, where a volume is large enough to pay for them, single weights. The forward pass is
the codec's, with exactly the integers that would be sent; gradients ignore the roundings (`row_lstm.py`). A single
weight must save more bits than it costs: after its Adam step comes soft thresholding (proximal gradient: Parikh & Boyd
2014) by the price of a changed weight per voxel of the volume.

Threads of the CPU compute a part of every step each, or a device computes the whole. A step on a device reads only data
there, so one step is recorded as a CUDA graph and replayed by one call.
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
from ..dtypes import Levels
from ..stages import weight_delta
from ..stages.lstm.weights import LstmWeights
from ..stages.weight_delta import GAIN_BITS, GAIN_LIMIT, WEIGHT_LIMIT, WeightDelta
from ..torchops.graphs import recorded
from .blocks import Slabs
from .data import Batch, Block, Sampler, TrainingSlab, blocks_of, prepare
from .density import Shape
from .device import passes
from .head import BIAS_ORIGIN, HEAD_UNIT, ideal_bits
from .row_lstm import Passes

BLOCK = (2, 4, 64)  # slices, rows and voxels of a row that are trained on at a time
BLOCKS = 32  # of a step, at most
STEPS = 80  # of a fine-tuning, at least
BIASES = INPUTS - 2  # the row of the constant input
SINGLE_WEIGHTS = 4  # index among the parameters
SINGLE = 2 << 20  # voxels of a volume from which single weights may pay
PRICE = 6.0  # bits that a single weight must save
DEAD_ZONES = (0.5, 0.65, 0.8)  # below these, a change of a weight in units of its integer is rounded to 0
GAIN_RATE, HEAD_RATE, WEIGHT_RATE = 2e-2, 1e-2, 2e-3  # of Adam, for gains and biases, the head, and single weights
MEMORY = (0.9, 0.98)  # of Adam: decay of mean and square
SAMPLE = 1 << 19  # voxels on which candidates are compared,
BAND = (4, 16)  # in bands of these slices and rows
UNRECORDED = 3  # steps before one is recorded, in which kernels are compiled and loaded: a recording cannot do that

Gradient = list[torch.Tensor]


_densities: dict[bytes, Shape] = {}  # of released models, by digest: fitting one takes seconds


def _density(released: LstmWeights) -> Shape:
    digest = released.digest()
    if digest not in _densities:
        _densities[digest] = Shape.of(released.tables())
    return _densities[digest]


def visits(voxels: int, per_voxel: float) -> int:
    """Return how many voxels a fine-tuning visits that visits each voxel `per_voxel` times."""
    step = _blocks(voxels) * math.prod(BLOCK)
    return max(STEPS, round(per_voxel * voxels / step)) * step


def _blocks(voxels: int) -> int:
    """Return the blocks of a step for a volume of that many voxels."""
    return min(BLOCKS, max(8, voxels // (8 * math.prod(BLOCK))))


class _State:
    """The parameters, float32, and Adam's mean and square of their gradients.

    rows, columns        gains minus 1
    head, bias           in real units, like those of `training.model`
    weights              changes of single weights, in units of their integers
    """

    def __init__(self, released: LstmWeights, voxels: int, device: str) -> None:
        """Begin at the released model, for a volume of that many voxels, on a device of `learn.device.passes`."""
        self.released = released
        self.device, self.single = device, voxels >= SINGLE
        self.shape = copy.deepcopy(_density(released)).to(device)
        self.integers, self.shift = self.put(released.weights), self.put(released.shift)
        self.base = self.integers.float()
        unit = (1.0 / (1 << self.shift)).repeat(len(self.base), 1)
        unit[:INPUTS] /= 2  # an input's integer is in 1/64, a hidden output's in 1/128
        self.unit = unit  # the real value of a weight's integer 1
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
        """Copy an array to the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def passes(self) -> Passes:
        """Make the passes of this model on the device."""
        return passes(self.released.hidden, self.released.shared, self.device)

    def real_head(self, weights: LstmWeights) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's head [n, 2] and bias [2] in real units."""
        head = self.put(weights.head.T.astype(np.float32)) / HEAD_UNIT
        return head, self.put((weights.bias - BIAS_ORIGIN).astype(np.float32)) / (HEAD_UNIT * 128)

    def now(self) -> torch.Tensor:
        """Compute on the device the weights int8 to which `delta` would change the released ones."""
        one = 1 << GAIN_BITS
        rows, columns = (one + torch.round(p * one).clamp(-GAIN_LIMIT, GAIN_LIMIT).int() for p in self.parameters[:2])
        gained = ((self.integers * rows * columns + one * one // 2) >> (2 * GAIN_BITS)).clamp(
            -WEIGHT_LIMIT, WEIGHT_LIMIT
        )
        moved = gained + _whole(self.parameters[SINGLE_WEIGHTS], DEAD_ZONES[0]).int()
        return moved.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).to(torch.int8)

    def delta(self, dead_zone: float = DEAD_ZONES[0]) -> WeightDelta:
        """Round the parameters to the integers of a weight delta."""
        rows, columns, head, bias, weights = (p.cpu().numpy() for p in self.parameters)
        rows, columns = (
            np.clip(np.rint(gain.ravel() * (1 << GAIN_BITS)), -GAIN_LIMIT, GAIN_LIMIT).astype(np.int64)
            for gain in (rows, columns)
        )
        gained = weight_delta.gained(self.released.weights, rows, columns)
        moved = gained + _whole(torch.from_numpy(weights), dead_zone).numpy().astype(np.int64)
        heads = np.rint(head.T * HEAD_UNIT)
        if self.released.learns:
            limit = self.released.head_limit - 8  # a larger bias lowers the limit a little
            heads = np.clip(heads, -limit, limit)
        return WeightDelta(
            rows,
            columns,
            heads.astype(np.int64) - self.released.head,
            np.rint((bias - self.first_bias.cpu().numpy()).astype(np.float64) * HEAD_UNIT * 128).astype(np.int64),
            np.clip(moved, -WEIGHT_LIMIT, WEIGHT_LIMIT) - gained,
        )

    def bits(self, seen: torch.Tensor, head: torch.Tensor, bias: torch.Tensor, error: Any, scale: Any) -> torch.Tensor:
        """Return mean ideal bits per voxel under the released model's tables."""
        return ideal_bits(self.shape, seen[..., -len(head) :] @ head + bias, error, scale)

    def gradient(self, passes: Passes, now: torch.Tensor, batch: Batch) -> Gradient:
        """Return the gradient of a batch's mean bits for all parameters, with these weights int8."""
        seen = (passes.forward(batch.inputs, now, self.shift).float() / 128).requires_grad_()
        head, bias = (p.clone().requires_grad_() for p in self.parameters[2:4])
        by = torch.autograd.grad(self.bits(seen, head, bias, batch.error, batch.scale), [seen, head, bias])
        weights = passes.backward(by[0][..., INPUTS:]) * self.unit
        by_gain = weights * self.base
        return [by_gain.sum(1, keepdim=True), by_gain.sum(0, keepdim=True), by[1], by[2], weights]

    def update(self, gradient: Gradient, step: Any, pace: Any) -> None:
        """Do step `step` of Adam, from 1 on, at `pace` times the highest rates: numbers, or tensors []."""
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
    released: LstmWeights, samples: Iterable[tuple[Levels, Any]], voxels: int, per_voxel: float, threads: int,
    progress: Callable[[int], None], device: str = "cpu",
) -> bytes:  # fmt: skip
    """Fine-tune on slabs of levels int32 [Z, Y, X], each with its linear stage; see `fine_tune_slabs`."""
    slabs = [prepare(levels, stage) for levels, stage in samples]
    return fine_tune_slabs(released, slabs, voxels, per_voxel, threads, progress, device)


def fine_tune_slabs(
    released: LstmWeights, slabs: list[TrainingSlab], voxels: int, per_voxel: float, threads: int,
    progress: Callable[[int], None], device: str = "cpu",
) -> bytes:  # fmt: skip
    """Fine-tune a released model to slabs of a volume; returns a weight delta, empty where it does not pay.

    voxels      of the whole volume
    per_voxel   how often each voxel is visited
    progress    called with the voxels visited since the last call; may raise to end the work

    Where a device other than the CPU fails, or has too little memory, the CPU does the work.
    """
    reported, ended = 0, False

    def report(visited: int) -> None:
        nonlocal reported, ended
        reported += visited
        ended = True  # until the caller returns
        progress(visited)
        ended = False

    if device != "cpu":
        try:
            return _fine_tune(released, slabs, voxels, per_voxel, 1, report, device)
        except Exception as error:  # of a driver, a compiler, the device: the CPU does the work
            if ended:
                raise
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"the model is fine-tuned on the CPU, for {device} failed: {reason}", RuntimeWarning, stacklevel=2
            )
    twice = reported  # voxels that the device has reported, which are not reported again

    def report_the_rest(visited: int) -> None:
        nonlocal twice
        again = min(visited, twice)
        twice -= again
        progress(visited - again)

    return _fine_tune(released, slabs, voxels, per_voxel, threads, report_the_rest, "cpu")


def _fine_tune(
    released: LstmWeights, slabs: list[TrainingSlab], voxels: int, per_voxel: float, threads: int,
    progress: Callable[[int], None], device: str,
) -> bytes:  # fmt: skip
    """Fine-tune on this device alone; see `fine_tune_slabs`."""
    blocks = _blocks(voxels)
    steps = visits(voxels, per_voxel) // (blocks * math.prod(BLOCK))
    state = _State(released, voxels, device)
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

        def cost(weights: LstmWeights) -> float:
            """Return the bits per voxel of the sample."""
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
            d = state.delta(dead_zone)
            data = weight_delta.to_bytes(d)
            price = cost(weight_delta.apply(state.released, d)) + 8 * len(data) / voxels
            if price < least:
                best, least = data, price
    return best


def _pace(step: int, steps: int) -> float:
    """Return the part of the highest rates for a step: cosine decay after a short warm-up."""
    return min(1.0, (step + 1) / 5) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _whole(weights: torch.Tensor, dead_zone: float) -> torch.Tensor:
    """Round changes of single weights to whole numbers, to 0 below the dead zone."""
    return torch.sign(weights) * torch.floor(weights.abs() + (1 - dead_zone))


def _on_threads(
    state: _State, members: list[Passes], slabs: list[TrainingSlab], blocks: int, steps: int, pool: ThreadPoolExecutor
) -> Iterator[None]:
    """Do the steps, a part of each on every thread."""
    samplers = [Sampler([slabs], _within(BLOCK, slabs), member) for member in range(len(members))]

    def work(member: int, now: torch.Tensor) -> Gradient:
        batch = samplers[member].batch(max(1, blocks // len(members)))
        return state.gradient(members[member], now, batch)

    for step in range(steps):
        parts = list(pool.map(partial(work, now=state.now()), range(len(members))))
        gradient = [torch.stack(part).mean(0) for part in zip(*parts, strict=True)]
        state.update(gradient, step + 1, _pace(step, steps))
        yield


def _on_device(
    state: _State, passes: Passes, slabs: list[TrainingSlab], held: Slabs, blocks: int, steps: int
) -> Iterator[None]:
    """Do the steps on a device, where a clock counts them; the places of all blocks are drawn beforehand."""
    block = _within(BLOCK, slabs)
    sampler = Sampler([slabs], block, 0)
    drawn = sampler.random.permutation(sampler.places(steps * blocks))  # `places` are sorted by slab
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
    """Record work on a GPU and return its replay; where it cannot be recorded, return the work itself."""
    try:
        return recorded(work).replay
    except RuntimeError as error:
        warnings.warn(f"a step of the fit cannot be recorded: {error}", RuntimeWarning, stacklevel=2)
        return work


def _within(block: Block, slabs: list[TrainingSlab]) -> Block:
    """Reduce a block to the size of the smallest slab along each axis."""
    z, y, x = (min(most, *(slab.shape[axis] for slab in slabs)) for axis, most in enumerate(block))
    return z, y, x


def _sample(slabs: list[TrainingSlab], voxels: int, held: Slabs | None) -> list[Batch]:
    """Sample bands of whole rows from the whole volume, in batches; on the device where the slabs are there."""
    random = np.random.default_rng(0)
    band = _within((*BAND, slabs[0].shape[2]), slabs)
    count = max(1, (1 << 17) // math.prod(band))
    share = np.array([slab.shape[0] for slab in slabs], float)
    batches = []
    for k in random.choice(len(slabs), max(2, voxels // (count * math.prod(band))), p=share / share.sum()):
        z, y = (random.integers(0, free + 1, count) for free in np.subtract(slabs[k].shape, band)[:2])
        x = np.zeros_like(z)
        if held is None:
            batches.append(blocks_of(slabs[k], z, y, x, band))
        else:
            places = torch.from_numpy(np.stack([np.full_like(z, k), z, y, x], axis=1))
            batches.append(held.at(places.to(held.known.device), band))
    return batches
