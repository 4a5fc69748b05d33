"""Train `paper`, the published predictor: `python -m volcomp.training.paper --neighbourhood pyramid:5,3,1`.

Nagoor et al. 2022 ("Sampling strategies for learning-based 3D medical image compression") and Yuvaraj et al. 2023: one
LSTM layer of 128 units reads the causal neighbourhood of a voxel, one voxel a step, and a linear output predicts it.
Values are scaled to −1 … 1 by the volume's least and greatest, borders are padded with its least.

The loss is MAE + λ(1 − |PCC|) with λ = 1, PCC being Pearson's correlation of predictions and voxels over the batch. The
text of 2023 prints MAE + λ|PCC|; minimising that would reward predictions that do not correlate with the voxels. The
authors' papers of 2020 have λ(1 − |PCC|), which is used here.

Three things differ from the publications. The forward pass rounds the recurrent weights to the codec's integers from
the first step on, and gradients ignore the rounding (Bengio et al. 2013), so that the integer model is the one that was
trained. For the first `WARM_UP` steps λ is 0: PCC does not depend on the scale of the predictions, and its gradient
grows as they shrink. With λ from the start, they collapse to a hundredth of the voxels' spread, perfectly correlated,
where MAE can no longer move them (`docs/decisions/paper.md`). And the rate may begin higher than the published 1e-4 and
fall to it, for trainings far shorter than the published ones.

No code depends on the device: `--device cuda` runs the same.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from neighbourhoods import Neighbourhood, Voxels, cube, gather, margins, pyramid

from ..pipelines.paper.sequence import in_order, padded
from ..pipelines.paper.weights import UNITS, WEIGHT_LIMIT, PaperWeights
from ..pipelines.paper.weights import from_real as integers_of
from ..stages import histogram_packing
from . import corpus

RATE, BETAS, BATCH, LAMBDA = 1e-4, (0.9, 0.98), 128, 1.0  # as published
FIRST_RATE = 1e-3  # of short trainings, from which the rate falls to RATE
WARM_UP = 1000  # steps with the MAE alone
BLOCK = 64  # batches that are gathered at once
EVERY = 1000  # steps between checkpoints and lines of the log
SHIFT_LIMIT = 10


def loss_of(predicted: torch.Tensor, voxel: torch.Tensor, weight: float = LAMBDA) -> torch.Tensor:
    """Return MAE + λ(1 − |PCC|) of predictions and voxels [B] in −1 … 1; PCC is 0 where either is constant."""
    p, v = predicted - predicted.mean(), voxel - voxel.mean()
    correlation = (p * v).sum() / (p.norm() * v.norm()).clamp(min=1e-12)
    return (predicted - voxel).abs().mean() + weight * (1 - correlation.abs())


def rounded(weights: torch.Tensor) -> torch.Tensor:
    """Round recurrent weights [4h, h] to the codec's integers within ±64.

    A row is a gate's column in the codec; its unit is as fine as its largest weight allows. Gradients ignore the
    rounding.
    """
    with torch.no_grad():
        largest = weights.abs().amax(1, keepdim=True).clamp(min=1e-6)
        unit = torch.exp2(-torch.floor(torch.log2(WEIGHT_LIMIT / largest)).clamp(0, SHIFT_LIMIT))
        change = torch.round(weights / unit).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) * unit - weights
    return weights + change


class FloatPredictor(torch.nn.Module):
    """The published network: sequences float32 [K, B] in −1 … 1 to predictions [B]."""

    lstm: torch.nn.LSTM
    output: torch.nn.Linear

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.lstm, self.output = torch.nn.LSTM(1, UNITS), torch.nn.Linear(UNITS, 1)
        # As Keras begins, from where predictions get their scale within a few hundred steps: torch's smaller weights
        # and half-shut forget gates take four times as many.
        with torch.no_grad():
            entrance, recurrent, bias, other_bias = self.lstm.parameters()
            torch.nn.init.xavier_uniform_(entrance)
            torch.nn.init.orthogonal_(recurrent)
            torch.nn.init.xavier_uniform_(self.output.weight)
            for zeros in (bias, other_bias, self.output.bias):
                zeros.zero_()
            bias[UNITS : 2 * UNITS] = 1  # of the forget gates

    def forward(self, sequence: torch.Tensor, real: bool = False) -> torch.Tensor:
        """Predict voxels; with `real`, without rounding the weights."""
        weights: dict[str, torch.Tensor] = dict(self.lstm.named_parameters())
        if not real:
            weights["weight_hh_l0"] = rounded(weights["weight_hh_l0"])
        states, _ = torch.func.functional_call(self.lstm, weights, (sequence.unsqueeze(-1),))
        return self.output(states[-1]).squeeze(-1)

    def integers(self, name: str, neighbourhood: Neighbourhood) -> PaperWeights:
        """Make the integers of the model."""
        arrays = {key: value.detach().cpu().double().numpy() for key, value in self.named_parameters()}
        recurrent = rounded(dict(self.lstm.named_parameters())["weight_hh_l0"].detach()).cpu().double().numpy()
        bias = arrays["lstm.bias_ih_l0"] + arrays["lstm.bias_hh_l0"]
        entrance, head = arrays["lstm.weight_ih_l0"][:, 0], arrays["output.weight"][0]
        return integers_of(name, neighbourhood, recurrent, entrance, bias, head, float(arrays["output.bias"][0]))


@dataclass(frozen=True)
class SlabSource:
    """A volume to sample from: ranks [before + Z, radius + Y + radius, radius + X + radius] within margins of 0."""

    ranks: np.ndarray
    shape: tuple[int, int, int]
    limit: int


def source_of(volume: np.ndarray, neighbourhood: Neighbourhood) -> SlabSource:
    """Convert a volume [Z, Y, X] of u1, i1, u2 or i2 to ranks and pad it."""
    found = histogram_packing.find(volume)
    z, y, x = volume.shape
    return SlabSource(padded(found.forward(volume), neighbourhood, found.limit), (z, y, x), max(found.limit, 1))


class PaperSampler:
    """Batches of single voxels: each from a random source, at a random place in it."""

    def __init__(self, sources: Sequence[SlabSource], neighbourhood: Neighbourhood, seed: int) -> None:
        self.sources, self.neighbourhood = sources, in_order(neighbourhood)
        self.random = np.random.default_rng(seed)

    def block(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw `count` voxels: their sequences float32 [K, count] and the voxels [count], in −1 … 1."""
        owner = self.random.integers(0, len(self.sources), count)
        sequence, voxel = np.empty((len(self.neighbourhood), count), np.float32), np.empty(count, np.float32)
        for s in np.unique(owner):
            source, own = self.sources[s], np.flatnonzero(owner == s)
            z, y, x = (self.random.integers(0, size, own.size) for size in source.shape)
            sequence[:, own], voxel[own] = self.at(source, (z, y, x))
        return sequence, voxel

    def at(self, source: SlabSource, voxels: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """Gather sequences and voxels for places z, y, x of one source, int64 [n] each; see `block`."""
        offsets = (*self.neighbourhood, (0, 0, 0))
        found = gather(source.ranks, voxels, offsets, *margins(self.neighbourhood))
        values = (found * (2.0 / source.limit) - 1.0).astype(np.float32)
        return np.ascontiguousarray(values[:, :-1].T), values[:, -1].copy()


class PaperTrainee:
    """A predictor in training, with all that a checkpoint stores."""

    def __init__(self, seed: int, steps: int, device: str = "cpu", first_rate: float = FIRST_RATE) -> None:
        """Begin training. The rate falls from `first_rate` to the published one at the last of `steps` steps."""
        self.device, self.step, self.seconds, self.seed = device, 0, 0.0, seed
        self.steps, self.first_rate = steps, first_rate
        self.predictor = FloatPredictor(seed).to(device)
        self.optimiser = torch.optim.Adam(self.predictor.parameters(), lr=first_rate, betas=BETAS)

    def update(self, sequence: torch.Tensor, voxel: torch.Tensor) -> torch.Tensor:
        """Do one step of Adam; returns the loss on the device, so that the CPU does not wait for it."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.first_rate * (RATE / self.first_rate) ** min(self.step / self.steps, 1.0)
        self.optimiser.zero_grad()
        loss = loss_of(self.predictor(sequence), voxel, LAMBDA if self.step >= min(WARM_UP, self.steps // 4) else 0.0)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return loss.detach()

    def train(self, sources: Sequence[SlabSource], neighbourhood: Neighbourhood, upto: int,
              done: Callable[[int], Any] = lambda steps: None) -> float:  # fmt: skip
        """Train until step `upto`; returns the mean loss of these steps.

        Blocks of voxels depend on seed and step alone, so an interruption between blocks does not change the result.
        """
        began, losses = time.monotonic(), []
        while self.step < upto:
            batches = min(BLOCK, upto - self.step)
            sampler = PaperSampler(sources, neighbourhood, self.seed * 1_000_003 + self.step)
            sequence, voxel = (torch.from_numpy(part).to(self.device) for part in sampler.block(batches * BATCH))
            for k in range(batches):
                part = slice(k * BATCH, (k + 1) * BATCH)
                losses.append(self.update(sequence[:, part].contiguous(), voxel[part]))
            done(batches)
        self.seconds += time.monotonic() - began
        return float(torch.stack(losses).mean()) if losses else float("nan")

    def save(self, path: pathlib.Path) -> None:
        """Write a checkpoint to a temporary file and rename it, so that an interrupt leaves a complete one."""
        state = {
            "step": self.step, "seconds": self.seconds, "seed": self.seed,
            "predictor": self.predictor.state_dict(), "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        temporary = path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: pathlib.Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.step, self.seconds, self.seed = state["step"], state["seconds"], state["seed"]
        self.predictor.load_state_dict(state["predictor"])
        self.optimiser.load_state_dict(state["optimiser"])


def neighbourhood_of(text: str) -> Neighbourhood:
    """Return the neighbourhood of a name; ValueError for a name of another form.

    The name is "pyramid:13,9,5,1" or "cube:5" (the length of its edge), then "/2d" or "/1d" for fewer dimensions and
    "/left-free" for none of the voxels to the left in the row.
    """
    try:
        family, *options = text.split("/")
        kind, _, numbers = family.partition(":")
        sizes = tuple(map(int, numbers.split(",")))
        known = {"1d", "2d", "3d", "left-free"}
        if kind not in ("pyramid", "cube") or not set(options) <= known or (kind == "cube" and len(sizes) != 1):
            raise ValueError
        coverage = next((int(option[0]) for option in options if option[0] in "123"), 3)
        shape: Any = pyramid(sizes, coverage, "left-free" not in options)
        return shape if kind == "pyramid" else cube(sizes[0] // 2, coverage, "left-free" not in options)
    except ValueError as error:
        raise ValueError(f"{text!r} is no neighbourhood such as pyramid:13,9,5,1 or cube:5/2d/left-free") from error


def main() -> None:
    """Parse arguments, train, export."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m volcomp.training.paper", description=description)
    parser.add_argument("--neighbourhood", default="pyramid:5,3,1")
    parser.add_argument("--steps", type=int, default=100_000, help="number of steps, of 128 voxels each")
    parser.add_argument("--rate", type=float, default=FIRST_RATE, help=f"initial learning rate, which falls to {RATE}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or another device of torch")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/paper"), help="checkpoint and log")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    neighbourhood = neighbourhood_of(args.neighbourhood)
    names = [s.name for s in corpus.splits() if s.split == "train"]
    sources = [source_of(volume, neighbourhood) for name in tqdm(names, "series") for volume in corpus.volumes(name)]
    trainee = PaperTrainee(args.seed, args.steps, args.device, args.rate)
    checkpoint, log = args.folder / "checkpoint.pt", args.folder / "log.csv"
    if checkpoint.exists():
        trainee.load(checkpoint)
    else:
        log.write_text("step,seconds,loss\n")
    with tqdm(total=args.steps, initial=trainee.step, unit="step") as bar:
        while trainee.step < args.steps:
            loss = trainee.train(sources, neighbourhood, min(trainee.step + EVERY, args.steps), bar.update)
            with log.open("a", newline="") as file:
                csv.writer(file).writerow([trainee.step, f"{trainee.seconds:.0f}", f"{loss:.5f}"])
            trainee.save(checkpoint)
    trainee.predictor.integers("paper", neighbourhood).save(args.folder / "paper.npz")


if __name__ == "__main__":
    main()
