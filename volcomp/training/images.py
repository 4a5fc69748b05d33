"""Train the lossy codec on images: `python -m volcomp.training.images FOLDER --into build/lossy`.

FOLDER/train has 8-bit grey PNG. There are four steps, each of which leaves a file that a later call finds:

1. `network-first.pt`: the network learns from coefficients that are rounded with a dead zone, at random steps;
2. `network.pt`: it goes on with those that the encoder chooses by that network (`coefficients.write`);
3. `filter.pt`: the filter learns from images that are restored from these;
4. `lossy.npz`: the weights as integers, whose digest is printed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..dtypes import Int32s, UInt8s
from ..lossy import bands, codec, contexts, header, network, postfilter, rate, weights
from ..lossy.bands import KIND, LEVEL, STRIDE
from ..lossy.quantisation import STEP, Steps, code_of, shifts_of, step_of
from ..lossy.transform import FRACTION

UNITS = 32, 16  # of the network's layers
CHANNELS, MIDDLE = 24, 2  # of the filter, and its layers between the first and the last
STEPS = 3.5, 40.0  # grey levels: random steps lie between them
PER_IMAGE = 2  # steps for each image
DEAD, OFFSET = 0.63, 0.42  # magnitudes below DEAD become 0; to others OFFSET is added, and they are rounded down
CLIP = 7.0  # of the network's weights
CEILING = 15.0  # of its hidden values
TOP = 8.0  # of the filter's activations, in steps
LEAN = 12  # counts that the mean over levels stands for
CROP, CROPS = 96, 8  # pixels of a side; crops of a batch

Coded = tuple[np.ndarray, bands.Layout, int]  # coefficients int32 [size], where they lie, code of the step


class Restored(NamedTuple):
    """An image and what the codec made of it, both float32 [y, x] in grey levels, and the step."""

    image: torch.Tensor
    restored: torch.Tensor
    step: float


class Coefficients(nn.Module):
    """The network of one kind of bands in real numbers (`network`)."""

    def __init__(self) -> None:
        super().__init__()
        first, second = UNITS
        self.first, self.second = nn.Linear(contexts.INPUTS, first), nn.Linear(first, second)
        self.third = nn.Linear(second, network.FLAGS)
        self.first_of_level = nn.Embedding(network.LEVELS, first)
        self.third_of_level = nn.Embedding(network.LEVELS, network.FLAGS)
        nn.init.zeros_(self.first_of_level.weight)
        nn.init.zeros_(self.third_of_level.weight)
        nn.init.constant_(self.third.bias, -1.0)

    def forward(self, inputs: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return the logits of the flags [n, FLAGS] of inputs uint8 [n, INPUTS] and levels [n] from 0."""
        hidden = torch.clamp(self.first(inputs.float() / 2**network.INPUT) + self.first_of_level(level), 0, CEILING)
        hidden = torch.clamp(self.second(hidden), 0, CEILING)
        logits: torch.Tensor = self.third(hidden) + self.third_of_level(level)
        return logits


class Postfilter(nn.Module):
    """The filter in real numbers (`postfilter`)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, CHANNELS, 3)
        self.by_step = nn.Parameter(torch.zeros(CHANNELS))
        self.middle = nn.ModuleList([nn.Conv2d(CHANNELS, CHANNELS, 3) for _ in range(MIDDLE)])
        self.last = nn.Conv2d(CHANNELS, 4, 3)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, images: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return corrections in steps of images [n, 1, y, x] in grey levels, larger by `REACH` on all sides."""
        steps = step[:, None, None, None]
        weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
        hidden = functional.conv2d(functional.pixel_unshuffle(images, 2) / steps, weight, self.first.bias)
        hidden = (hidden + self.by_step[None, :, None, None] * torch.log2(steps / 8)).clamp(0, TOP)
        for layer in self.middle:
            hidden = layer(hidden).clamp(0, TOP)
        return functional.pixel_shuffle(self.last(hidden), 2)


REACH = 2 * (MIDDLE + 2)  # pixels


def images(folder: Path) -> Iterator[UInt8s]:
    """Read the images of a folder in the order of their names."""
    import imagecodecs

    for path in sorted(folder.glob("*.png")):
        image = np.squeeze(imagecodecs.png_decode(path.read_bytes()))
        if image.ndim == 2 and image.dtype == np.uint8:
            yield image


def _head(image: UInt8s) -> header.Header:
    shape = int(image.shape[0]), int(image.shape[1])
    return header.Header(np.dtype(np.uint8), shape, 0, 255, Steps(0, (0, 0, 0)), False)


def _random_code(random: np.random.Generator) -> int:
    return code_of(float(np.exp(random.uniform(np.log(STEPS[0]), np.log(STEPS[1])))))


def rounded(folder: Path, seed: int) -> Iterator[Coded]:
    """Round the coefficients of each image, with a dead zone, PER_IMAGE times."""
    random = np.random.default_rng(seed)
    for image in images(folder):
        places = bands.layout(*image.shape)
        flat = codec.analysed(image, _head(image), places)
        for _ in range(PER_IMAGE):
            code = _random_code(random)
            scaled = rate.scale(flat, places, code)
            magnitude = np.where(np.abs(scaled) < DEAD, 0, np.floor(np.abs(scaled) + OFFSET))
            yield (np.sign(scaled) * magnitude).astype(np.int32), places, code


def chosen(folder: Path, net: network.Network, seed: int) -> Iterator[tuple[Coded, Restored]]:
    """Let the encoder choose the coefficients of each image, PER_IMAGE times, and restore the image."""
    random = np.random.default_rng(seed)
    for image in images(folder):
        places, head = bands.layout(*image.shape), _head(image)
        flat = codec.analysed(image, head, places)
        for _ in range(PER_IMAGE):
            code = _random_code(random)
            written = rate.write(net, places, flat, code, image.nbytes)
            shifts = shifts_of(rate.scale(flat, places, code), written.quantised, places)
            plane = codec.restored(written.quantised, head._replace(steps=Steps(code, shifts)), places)
            real = torch.from_numpy(plane.astype(np.float32) / 2**FRACTION + head.middle)
            restored = Restored(torch.from_numpy(image.astype(np.float32)), real, step_of(code) / 2**STEP)
            yield (written.quantised, places, code), restored


def samples(coded: list[Coded], kind: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs uint8 [n, INPUTS], buckets [n] and levels [n] of all coefficients of a kind of band, 1 … 3."""
    inputs, buckets, levels = [], [], []
    for quantised, places, _ in coded:
        magnitudes = MAGNITUDES[np.minimum(np.abs(quantised), 255)]
        for band, row in enumerate(places.table):
            if row[KIND] == kind:
                values = np.abs(bands.view(quantised, row)).ravel()
                out = np.zeros((values.size, contexts.INPUTS), np.uint8)
                contexts.gather_band(magnitudes, places.table, band, out)
                inputs.append(out)
                bucket = np.searchsorted(network.BASES, values, side="right") - 1
                buckets.append(np.minimum(bucket, network.FLAGS).astype(np.uint8))
                levels.append(np.full(values.size, min(int(row[LEVEL]), network.LEVELS) - 1, np.uint8))
    inputs_of_all, buckets_of_all, levels_of_all = (
        torch.from_numpy(np.concatenate(a)) for a in (inputs, buckets, levels)
    )
    return inputs_of_all, buckets_of_all, levels_of_all


MAGNITUDES = np.minimum(np.round(16 * np.log2(1 + np.arange(256))), 127).astype(np.uint8)


def bits(logits: torch.Tensor, bucket: torch.Tensor) -> torch.Tensor:
    """Return the bits [n] of the flags of buckets [n]."""
    flag, bucket = torch.arange(network.FLAGS)[None], bucket[:, None]
    each = functional.binary_cross_entropy_with_logits(logits, (flag < bucket).float(), reduction="none")
    return each.mul((flag <= bucket).float()).sum(1) / math.log(2)


def rate_at(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step: cosine decay to a fiftieth after a short warm-up."""
    return highest * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def learn(trainee: Any, steps: int, highest: float, loss_of_batch: Any) -> None:
    """Train by Adam; print the mean loss now and then."""
    optimiser, losses = torch.optim.Adam(trainee.parameters(), lr=highest), []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, highest)
        loss = loss_of_batch()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(f"step {step + 1}: {np.mean(losses[-100:]):.5f}", flush=True)


def count_signs(coded: list[Coded]) -> Int32s:
    """Count negative signs: their probabilities int32 [KINDS, LEVELS, SIGNS] in 2^-16.

    A coefficient among neighbours counts as well as its negative among their negatives. Rare contexts lean on the mean
    over levels, and level 7, which images of training do not have, takes it.
    """
    negative = np.zeros((network.KINDS, network.LEVELS, contexts.SIGNS))
    total = negative.copy()
    for quantised, places, _ in coded:
        for row in places.table[1:]:
            own = bands.view(np.arange(places.size, dtype=np.int32), row).ravel()
            own = own[quantised[own] != 0]
            context = np.zeros(own.size, np.int64)
            for dy, dx in contexts.SIGNED:
                context = 3 * context + 1 + np.sign(quantised[own + dy * row[STRIDE] + dx])
            at = row[KIND] - 1, min(row[LEVEL], network.LEVELS) - 1
            total[at] += np.bincount(context, minlength=contexts.SIGNS)
            negative[at] += np.bincount(context[quantised[own] < 0], minlength=contexts.SIGNS)
    negative = negative + (total - negative)[..., ::-1]
    total = total + total[..., ::-1]
    mean = (negative.sum(axis=1, keepdims=True) + 1) / (total.sum(axis=1, keepdims=True) + 2)
    share = (negative + LEAN * mean) / (total + LEAN)
    return np.clip(np.round(share * 2**16), 1, 2**16 - 1).astype(np.int32)


def learn_network(coded: list[Coded], nets: list[Coefficients], steps: int, size: int, highest: float) -> None:
    """Train the networks of the three kinds with batches of `size` coefficients."""
    for kind, net in enumerate(nets, start=1):
        inputs, buckets, levels = samples(coded, kind)

        def loss(net: Coefficients = net, data: Any = (inputs, buckets, levels)) -> torch.Tensor:
            at = torch.randint(0, len(data[0]), (size,))
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.clamp_(-CLIP, CLIP)
            return bits(net(data[0][at], data[2][at].long()), data[1][at].long()).mean()

        learn(net, steps, highest, loss)


def learn_filter(pairs: list[Restored], trainee: Postfilter, steps: int, highest: float, seed: int) -> None:
    """Train the filter on crops, turned and mirrored; the loss is the squared error relative to that without it."""
    random = np.random.default_rng(seed)

    def loss() -> torch.Tensor:
        crops, targets, used = [], [], []
        for n in random.integers(0, len(pairs), CROPS):
            pair = pairs[n]
            y, x = (2 * int(random.integers(0, (side - CROP) // 2 + 1)) for side in pair.image.shape)
            padded = functional.pad(pair.restored[None, None], (REACH,) * 4, mode="replicate")[0]
            crop = padded[:, y : y + CROP + 2 * REACH, x : x + CROP + 2 * REACH]
            target = (pair.image - pair.restored)[None, y : y + CROP, x : x + CROP]
            turn = int(random.integers(0, 4))
            crop, target = (torch.rot90(a, turn, (1, 2)) for a in (crop, target))
            if random.random() < 0.5:
                crop, target = crop.flip(2), target.flip(2)
            crops.append(crop)
            targets.append(target / pair.step)
            used.append(pair.step)
        step, target = torch.tensor(used, dtype=torch.float32), torch.stack(targets)
        weight = step[:, None, None, None]
        found = trainee(torch.stack(crops), step)
        return (weight * (found - target) ** 2).sum() / (weight * target**2).sum()

    learn(trainee, steps, highest, loss)


def integers_of(nets: list[Coefficients], signs: Int32s) -> network.Network:
    """Return the networks in integers, with the probabilities of signs."""
    w, h = network.WEIGHT, network.HIDDEN
    layers: list[list[np.ndarray]] = [[], [], [], [], [], []]
    for net in nets:
        first = (net.first.bias + net.first_of_level.weight) * 2 ** (network.INPUT + w)
        third = (net.third.bias + net.third_of_level.weight) * 2 ** (h + w)
        reals = (net.first.weight.T * 2**w, first, net.second.weight.T * 2**w, net.second.bias * 2 ** (h + w))
        for layer, real in zip(layers, (*reals, net.third.weight * 2**w, third), strict=True):
            layer.append(_integers(real))
    logits = np.arange(-network.EDGE, network.EDGE + 1) / 2**network.LOGIT
    squash = np.clip(np.round(2**16 / (1 + np.exp(-logits))), 1, 2**16 - 1).astype(np.int32)
    first, first_bias, second, second_bias, last, last_bias = (np.array(layer) for layer in layers)
    return network.Network(MAGNITUDES, first, first_bias, second, second_bias, last, last_bias, squash, signs)


def integers_of_filter(trainee: Postfilter) -> postfilter.Filter:
    """Return the filter in integers. The largest weights of a first filter take what is missing to a sum of 0."""
    w, active = postfilter.WEIGHT, postfilter.ACTIVE

    def taps(weight: torch.Tensor) -> Int32s:
        return _integers(weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]) * 2**w)

    first = taps(trainee.first.weight - trainee.first.weight.mean((1, 2, 3), keepdim=True))
    for column in first.T:
        left = int(column.sum())
        column[np.argsort(-np.abs(column))[: abs(left)]] -= np.sign(left)
    fine = 2 ** (active + postfilter.FINE)
    middle: list[Any] = list(trainee.middle)
    made = postfilter.Filter(
        first,
        _integers(trainee.first.bias * fine),
        _integers(trainee.by_step * fine),
        np.array([taps(layer.weight) for layer in middle]),
        np.array([_integers(layer.bias * 2 ** (w + active)) for layer in middle]),
        taps(trainee.last.weight),
        _integers(trainee.last.bias * 2 ** (w + active)),
    )
    postfilter.check(made)
    return made


def _integers(real: Any) -> Int32s:
    return np.ascontiguousarray(np.round(real.detach().double().numpy()).astype(np.int32))


def export(path: Path, net: network.Network, made: postfilter.Filter) -> str:
    """Write the weights; return their digest."""
    arrays = {**net._asdict(), **{f"filter_{name}": array for name, array in made._asdict().items()}}
    small = {
        name: array if array.dtype == np.uint8 or np.abs(array).max() > 32767 else array.astype(np.int16)
        for name, array in arrays.items()
    }
    np.savez_compressed(path, **small)
    return weights.digest(small)


def main() -> None:
    """Do the steps that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m volcomp.training.images", description=__doc__)
    parser.add_argument("folder", type=Path, help="has the folder `train` of images")
    parser.add_argument("--into", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--steps", type=int, nargs=3, default=(1500, 330, 1800), metavar="N", help="of the three parts")
    options = parser.parse_args()
    torch.manual_seed(0)
    options.into.mkdir(parents=True, exist_ok=True)
    folder, into = options.folder / "train", options.into
    nets, trainee = [Coefficients() for _ in range(network.KINDS)], Postfilter()
    coded = list(rounded(folder, 0))
    if not _restore(into / "network-first.pt", nets):
        learn_network(coded, nets, options.steps[0], 1 << 14, 4e-3)
        _keep(into / "network-first.pt", nets)
    first = integers_of(nets, count_signs(coded))
    done = [_restore(into / "network.pt", nets), _restore(into / "filter.pt", [trainee])]
    chosen_ones = list(chosen(folder, first, 2))
    coded = [one for one, _ in chosen_ones]
    if not done[0]:
        learn_network(coded, nets, options.steps[1], 1 << 15, 2.5e-3)
        _keep(into / "network.pt", nets)
    if not done[1]:
        learn_filter([pair for _, pair in chosen_ones], trainee, options.steps[2], 2e-3, 3)
        _keep(into / "filter.pt", [trainee])
    print(export(into / "lossy.npz", integers_of(nets, count_signs(coded)), integers_of_filter(trainee)))


def _keep(path: Path, modules: Any) -> None:
    torch.save([module.state_dict() for module in modules], path)


def _restore(path: Path, modules: Any) -> bool:
    if not path.exists():
        return False
    for module, kept in zip(modules, torch.load(path), strict=True):
        module.load_state_dict(kept)
    return True


if __name__ == "__main__":
    main()
