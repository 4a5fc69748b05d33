"""Measure what integers cost: a float network against the codec made of it, on central slices of held-out series.

`python -m volcomp.training.evaluate --model base` prints, as CSV, bits per voxel of

- `float`: the network without any rounding of weights, states or outputs, at the ideal code length of its continuous
  distribution (inputs and linear stage as in the codec);
- `integer`: the codec's means, classes and tables, at their code lengths, without corrections and peaks;
- `payload`: the slab as written, including side information, corrections and peaks.

Heads do not learn in any of the three, so only the integers differ.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys
from dataclasses import replace

import numpy as np
import torch

from .. import models
from ..codec.encode import encode
from ..constants import EFFORT
from ..encoder import linear_fit
from ..learn import data
from ..learn.row_lstm import quantise
from ..options import EncodeOptions
from ..pipelines.row.pipeline import ROW
from ..runtime.team import Team
from ..stages import ans, histogram_packing, symbols
from ..stages.lstm.state import AHEAD
from . import corpus
from .model import RowTrainee
from .recipes import RECIPES

SLICES = 16


def sigmoid(z: torch.Tensor) -> torch.Tensor:
    """Return 1/2 + z/4 − z|z|/32 within ±4: `lstm.cell.sigmoid` without rounding."""
    z = z.clamp(-4, 4)
    return 0.5 + z / 4 - z * z.abs() / 32


def tanh(z: torch.Tensor) -> torch.Tensor:
    """Return z − z|z|/4 within ±2: `lstm.cell.tanh` without rounding."""
    z = z.clamp(-2, 2)
    return z - z * z.abs() / 4


def run(trainee: RowTrainee, inputs: np.ndarray) -> torch.Tensor:
    """Run the float network and return what its head sees, float32 [T, Z, Y, B, INPUTS + 2·shared + h].

    inputs int8 [T, Z, Y, B, INPUTS]; in the result they are divided by 128. Rows are computed in order, since
    each needs the outputs of its neighbours.
    """
    weights, h, s = trainee.lstm.weights.detach(), trainee.lstm.hidden, trainee.lstm.shared
    real = torch.from_numpy(inputs).float()
    voxels, depth, height, blocks, own = inputs.shape
    ahead = (torch.arange(voxels) + AHEAD).clamp(max=voxels - 1)
    seen = torch.zeros(voxels, depth, height, blocks, own + 2 * s + h)
    seen[..., :own] = real / 128
    for z, y in np.ndindex(depth, height):
        row = seen[:, z, y]
        if y:
            row[..., own : own + s] = seen[ahead, z, y - 1, :, -h:][..., :s]
        if z:
            row[..., own + s : own + 2 * s] = seen[ahead, z - 1, y, :, -h:][..., :s]
        known = real[:, z, y] / 64 @ weights[:own] + row[..., own : own + 2 * s] @ weights[own:-h]
        cell = torch.zeros(blocks, h)
        for t in range(voxels):
            i, f, o, g = (known[t] + row[t - 1, :, -h:] @ weights[-h:] if t else known[t]).chunk(4, 1)
            cell = (sigmoid(f) * cell + sigmoid(i) * tanh(g)).clamp(-8, 8)
            row[t, :, -h:] = sigmoid(o) * tanh(cell)
    return seen


def float_bits(trainee: RowTrainee, slab: data.TrainingSlab) -> float:
    """Return mean ideal bits per voxel of the float network over a slab."""
    zero = np.zeros(1, np.int64)
    whole = data.blocks_of(slab, zero, zero, zero, slab.shape)
    with torch.no_grad():
        return float(trainee.bits(run(trainee, whole.inputs), whole.error, whole.scale))


def integer_bits(volume: np.ndarray, name: str) -> tuple[float, float]:
    """Return bits per voxel of the codec's symbols, without corrections and peaks, and of its payload.

    The head does not learn, like that of the float network. The volume has one slab.
    """
    released = ROW.load(models.chosen(name))
    still = replace(released, slopes=released.slopes[:, :0], metric=released.metric[:0, :0])
    model = models.chosen(name).trial(still, still.digest())
    coder, network = ROW.coder(model, still), ROW.network(still, "cpu")
    _, (payload,) = encode(volume, EncodeOptions(model))
    packing = histogram_packing.find(volume)
    levels = packing.forward(volume, histogram_packing.level_type(packing.limit))
    slab = coder.take(levels, packing.limit, coder.choose(levels, packing.limit, EFFORT, linear_fit.fit_by_effort))
    _, voxel, mean, classes, _ = network.predict(slab, Team(), lambda done: None)
    price = np.empty(voxel.size, np.float32)
    tables = ans.Tables(still.tables())
    voxels = symbols.Voxels(voxel, mean, classes, np.zeros(voxel.size, bool))
    symbols.prices(voxels, tables.code_length, packing.limit.bit_length(), price)
    return float(price.sum(dtype=np.float64)) / voxel.size, 8 * len(payload) / volume.size


def main() -> None:
    """Parse arguments; print a line per series of the valid split, and the means."""
    parser = argparse.ArgumentParser(prog="python -m volcomp.training.evaluate", description=__doc__)
    parser.add_argument("--model", choices=sorted(RECIPES), required=True)
    parser.add_argument("--folder", type=pathlib.Path, help="with its checkpoint; default runs/MODEL")
    parser.add_argument("--slices", type=int, default=SLICES)
    args = parser.parse_args()
    trainee = RowTrainee(args.model, 0)
    trainee.load((args.folder or pathlib.Path("runs") / args.model) / "checkpoint.pt")
    # The comparison is meaningful only if the released model is the export of this checkpoint.
    exported = quantise(trainee.lstm.weights.detach())[0].numpy()
    if not np.array_equal(exported, ROW.load(models.chosen(args.model)).weights):
        parser.exit(1, f"the released {args.model} is not the export of this checkpoint\n")
    out = csv.writer(sys.stdout)
    out.writerow(["series", "float", "integer", "payload"])
    rows = []
    for series in (s for s in corpus.splits() if s.split == "valid"):
        volume = corpus.volumes(series.name)[0]
        middle = volume[(len(volume) - args.slices) // 2 :][: args.slices] if len(volume) > args.slices else volume
        (slab,) = data.slabs_of(middle, models.chosen(args.model).search.runs)
        rows.append([float_bits(trainee, slab), *integer_bits(middle, args.model)])
        out.writerow([series.name, *(f"{value:.4f}" for value in rows[-1])])
        sys.stdout.flush()
    out.writerow(["mean", *(f"{value:.4f}" for value in np.mean(rows, axis=0))])


if __name__ == "__main__":
    main()
