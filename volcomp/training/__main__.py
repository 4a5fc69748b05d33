"""Train `fast` or `base` on the corpus' train split: `python -m volcomp.training --model base`.

Seeded, resumable (it goes on from its last checkpoint), with a log of loss against steps as CSV. The released model is
written by `--export`, from the last checkpoint, at any time.
"""

from __future__ import annotations

import argparse
import csv
import math
import pathlib
import time

import numpy as np
import torch

from . import corpus, data, export
from .model import HIDDEN, Trainee

STEPS = {"fast": 9000, "base": 8000}  # of the released models
ROWS, PIECE = 1024, 64  # voxels per step: 65,536
RATE, CLIP = 3e-3, 1.0
EVERY = 250  # steps between checkpoints and lines of the log


def rate_at(step: int, steps: int) -> float:
    """Cosine decay to a hundredth, after a short warm-up."""
    return RATE * min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(trainee: Trainee, sampler: data.Sampler, folder: pathlib.Path, steps: int) -> None:
    """Run until `steps`, from wherever the trainee stands; writes checkpoint.pt and log.csv into `folder`."""
    log = folder / "log.csv"
    if trainee.step == 0:
        log.write_text("step,seconds,bits_per_voxel,rate\n")
    running: list[float] = []
    began = time.monotonic()
    while trainee.step < steps:
        rate = rate_at(trainee.step, steps)
        running.append(trainee.update(*sampler.batch(ROWS, PIECE), rate, CLIP))
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
    parser.add_argument("--model", choices=sorted(HIDDEN), required=True)
    parser.add_argument("--steps", type=int, help="default: as many as the released model had")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path, help="checkpoints and log; default runs/MODEL")
    parser.add_argument("--limit", type=int, help="use only so many series (to try the command out)")
    parser.add_argument("--export", action="store_true", help="only write the model from the last checkpoint")
    parser.add_argument("--to", type=pathlib.Path, help="where the exported model goes; default FOLDER/MODEL.npz")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.folder or pathlib.Path("runs") / args.model
    folder.mkdir(parents=True, exist_ok=True)
    trainee = Trainee(args.model, args.seed)
    if (folder / "checkpoint.pt").exists():
        trainee.load(folder / "checkpoint.pt")
    if not args.export:
        names = [s.name for s in corpus.splits() if s.split == "train"][: args.limit]
        sampler = data.Sampler(data.series(names, corpus.volumes), args.seed + trainee.step)
        train(trainee, sampler, folder, args.steps or STEPS[args.model])
    export.write(trainee, args.to or folder / f"{args.model}.npz")


if __name__ == "__main__":
    main()
