"""Train `turbo`, `fast` or `base` on the corpus' train split: `python -m volcomp.training --model base`.

Training is seeded, writes a log of loss by step as CSV, and continues from its last checkpoint, on any device.
`--export` writes the model of the last checkpoint at any time.
"""

from __future__ import annotations

import argparse
import csv
import math
import pathlib
import pickle
import time

import numpy as np
import torch

from .. import models
from ..learn import data
from ..learn.blocks import DeviceSampler
from ..pipelines.row.pipeline import ROW
from . import corpus, export, layered, radiographs, series
from .model import RowTrainee
from .recipes import FLAT_RECIPES, LAYERED_RECIPES, RECIPES

BLOCK = (3, 6, 64)  # slices, rows, voxels of a row
BLOCKS = 57  # of a step: 65,664 voxels, as for the released models
CLIP = 1.0  # the largest norm of the gradient
BATCHES = 12  # on which the head's covariance is measured
EVERY = 100  # steps between checkpoints and lines of the log


def rate_at(step: int, steps: int, highest: float) -> float:
    """Return the rate of a step: cosine decay from the highest rate to a hundredth of it, after a short warm-up."""
    warm = min(1.0, (step + 1) / min(200, steps / 10))
    return highest * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def prepared(
    folder: pathlib.Path, model: str, limit: int | None, *, flat: bool = False, over: bool = False
) -> list[list[data.TrainingSlab]]:
    """Prepare the slabs of the train split with their linear stages, or read those of an earlier run in `folder`.

    `flat`: those of radiographs and single slices, which are the same for all models. `over`: those of radiographs over
    previews.
    """
    path = folder / "slabs.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    if over:
        slabs = layered.series(models.chosen(model).search.runs, limit)
    elif flat:
        slabs = radiographs.series(radiographs.RUNS, limit)
    else:
        names = [s.name for s in corpus.splits() if s.split == "train"][:limit]
        slabs = series.series(names, corpus.volumes, models.chosen(model).search.runs, RECIPES[model].variations)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(pickle.dumps(slabs, protocol=5))
    temporary.replace(path)
    return slabs


def train(
    trainee: RowTrainee, sampler: data.Sampler, folder: pathlib.Path, steps: int, highest: float, blocks: int = BLOCKS
) -> None:
    """Train from the trainee's step to `steps`; writes checkpoint.pt and log.csv into `folder`."""
    log = folder / "log.csv"
    if trainee.step == 0:
        log.write_text("step,seconds,bits_per_voxel,rate\n")
    running: list[float] = []
    began = time.monotonic()
    while trainee.step < steps:
        rate = rate_at(trainee.step, steps, highest)
        running.append(trainee.update(*sampler.batch(blocks), rate, CLIP))
        if trainee.step % EVERY == 0:
            trainee.seconds += time.monotonic() - began
            began = time.monotonic()
            with log.open("a", newline="") as file:
                csv.writer(file).writerow(
                    [trainee.step, f"{trainee.seconds:.0f}", f"{np.mean(running):.4f}", f"{rate:.2e}"]
                )
            print(f"step {trainee.step}: {np.mean(running):.4f} bits per voxel, {trainee.seconds:.0f} s", flush=True)
            running.clear()
            trainee.save(folder / "checkpoint.pt")


def main() -> None:
    """Parse arguments, prepare the data, train, export."""
    parser = argparse.ArgumentParser(prog="python -m volcomp.training", description=__doc__)
    parser.add_argument("--model", choices=sorted(RECIPES), required=True)
    parser.add_argument("--steps", type=int, help="default: those of the released model")
    parser.add_argument("--rate", type=float, help="highest learning rate; default: that of the released model")
    names = [model.name for model in models.RELEASED.values() if model.pipeline == "row"]
    starts = [*sorted(names), "nothing"]
    parser.add_argument("--start", choices=starts, help="model to continue from; default: that of the released model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: the same training, with all data on a GPU")
    parser.add_argument("--blocks", type=int, help="of a step; a GPU fits more")
    parser.add_argument("--flat", action="store_true", help="train the model for single slices, on radiographs")
    parser.add_argument("--layered", action="store_true", help="train the model for radiographs with a preview")
    parser.add_argument("--folder", type=pathlib.Path, help="checkpoints and log; default runs/MODEL")
    parser.add_argument("--limit", type=int, help="most series to use (to try the command)")
    parser.add_argument("--export", action="store_true", help="only write the model of the last checkpoint")
    parser.add_argument("--to", type=pathlib.Path, help="where the exported model goes; default FOLDER/MODEL.npz")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipes = LAYERED_RECIPES if args.layered else FLAT_RECIPES if args.flat else RECIPES
    if args.model not in recipes:
        parser.error(f"{'--layered' if args.layered else '--flat'} is for {' and '.join(recipes)}")
    if args.layered and args.device != "cpu":
        parser.error("--layered is for the CPU")
    recipe, blocks = recipes[args.model], args.blocks or recipes[args.model].blocks
    folder = args.folder or pathlib.Path("runs") / (args.model + "-layered" * args.layered + "-flat" * args.flat)
    folder.mkdir(parents=True, exist_ok=True)
    on_gpu = args.device != "cpu"
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(1, "torch finds no GPU here: take --device cpu, or a torch with CUDA and a driver that works\n")
    trainee = RowTrainee(args.model, args.seed, args.device)
    start = args.start or recipe.start
    if start != "nothing":
        trainee.start(ROW.load(models.named(start)))
    if (folder / "checkpoint.pt").exists():
        trainee.load(folder / "checkpoint.pt")
    slabs, seed = prepared(folder, args.model, args.limit, flat=args.flat, over=args.layered), args.seed + trainee.step
    block = radiographs.BLOCK if args.flat or args.layered else BLOCK
    sampler = data.Sampler(slabs, block, seed)
    if not args.export:
        device_sampler = DeviceSampler(slabs, block, seed, args.device) if on_gpu else sampler
        train(
            trainee,
            device_sampler,
            folder,
            args.steps or recipe.steps,
            args.rate or recipe.rate,
            blocks,
        )
    batches = (sampler.batch(blocks).inputs for _ in range(BATCHES))
    export.write(trainee.on_cpu(), batches, args.to or folder / f"{args.model}.npz")


if __name__ == "__main__":
    main()
