"""Measure what a scanner unknown to training costs: `fast` trained with and without all series of one maker.

`python -m volcomp.training.scanners` trains `fast` on the whole train split and on that split without each maker, with
equally many steps and from nothing, and prints as CSV ideal bits per voxel on the maker's series of the valid split.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys

import numpy as np
import torch

from .. import models
from ..learn import data
from . import corpus
from .__main__ import BLOCK, BLOCKS, CLIP, prepared, rate_at
from .model import RowTrainee

# By words in the names of series.
MAKERS = {
    "GE": ("ge", "ge16"),
    "Siemens": ("siemens", "trio", "prisma", "skyra", "avanto"),
    "Toshiba, Canon": ("toshiba", "canon"),
}
RATE = 3e-3  # highest learning rate
SLICES = 10  # from the middle of every valid series
BANDS, BAND = 4, 16  # bands of a series, and rows of a band


def made_by(name: str, maker: str) -> bool:
    """Tell whether a series is from a maker's scanner."""
    return any(word in name.split("_") for word in MAKERS[maker])


def trained(series: list[list[data.TrainingSlab]], steps: int) -> RowTrainee:
    """Train `fast` from its initial values on these series."""
    trainee, sampler = RowTrainee("fast", 1), data.Sampler(series, BLOCK, 1)
    while trainee.step < steps:
        trainee.update(*sampler.batch(BLOCKS), rate_at(trainee.step, steps, RATE), CLIP)
    return trainee


def bits(trainee: RowTrainee, name: str) -> float:
    """Return mean ideal bits per voxel over bands of rows of a series."""
    volume = corpus.volumes(name)[0]
    (slab,) = data.slabs_of(volume[max(0, (len(volume) - SLICES) // 2) :][:SLICES], models.chosen("fast").search.runs)
    band = (slab.shape[0], min(BAND, slab.shape[1]), slab.shape[2])
    first = np.linspace(0, slab.shape[1] - band[1], BANDS).astype(np.int64)
    zero = np.zeros_like(first)
    batch = data.blocks_of(slab, zero, first, zero, band)
    with torch.no_grad():
        return float(trainee.bits(trainee.lstm.forward(batch.inputs).float() / 128, batch.error, batch.scale))


def main() -> None:
    """Parse arguments, train, print."""
    parser = argparse.ArgumentParser(prog="python -m volcomp.training.scanners", description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/fast"), help="for prepared slabs")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    slabs = prepared(args.folder, "fast", None)
    names = [s.name for s in corpus.splits() if s.split == "train"]
    everything = trained(slabs, args.steps)
    out = csv.writer(sys.stdout)
    out.writerow(["maker", "series", "trained_on_all", "without_the_maker"])
    for maker in MAKERS:
        without = trained([s for s, name in zip(slabs, names * 2, strict=True) if not made_by(name, maker)], args.steps)
        for series in (s.name for s in corpus.splits() if s.split == "valid" and made_by(s.name, maker)):
            out.writerow([maker, series, f"{bits(everything, series):.4f}", f"{bits(without, series):.4f}"])
            sys.stdout.flush()


if __name__ == "__main__":
    main()
