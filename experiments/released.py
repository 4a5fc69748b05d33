"""The released `paper` beside its float self, other released models and rivals, on the middle of every valid series.

`python -m experiments.released --checkpoint runs/paper/checkpoint.pt` writes results/released/sizes.csv: bits per voxel
of whole files, and code lengths under one table of what the network misses

- in integers, as the codec has it;
- in floats with the weights that the integers stand for: what the arithmetic costs;
- in floats with weights that were never rounded: what the weights' integers cost.

`python -m experiments.released --decoders` writes results/released/decoders.csv: the three decoders on a made volume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.report import write_machine, write_rows
from volcomp import models
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.runtime.products import one_thread_each
from volcomp.training import corpus, paper

from . import ablation, decoders, report, results, trial
from . import config as configuration
from .data import middle
from .rivals import CODECS, from_zero
from .work import unrounded

CROP = (12, 96, 96)
RIVALS = ("jpegls", "jpegxl-e9", "tomoz")
COLUMNS = ("series", "voxels", "paper", "fast", "base", *RIVALS, "integers", "floats", "floats_weights_too")
HERE = Path(__file__).parent
RELEASED = HERE / "results" / "released"


def main() -> None:
    """Parse arguments, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m experiments.released", description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, help="of the training that the model was made by")
    what.add_argument("--decoders", action="store_true", help="time the decoders instead")
    args = parser.parse_args()
    if args.decoders:
        _decoders()
        return
    weights = PAPER.load(models.chosen("paper"))
    trainee = paper.PaperTrainee(0, 1)
    trainee.load(args.checkpoint)
    if trainee.predictor.integers("paper", weights.offsets).digest() != weights.digest():
        parser.exit(1, "the released paper model is not the export of this checkpoint\n")
    names = [s.name for s in corpus.splits() if s.split == "valid"]
    with one_thread_each():
        rows = [_row(name, trainee) for name in tqdm(names, "series")]
    means = {column: f"{np.mean([float(row[column]) for row in rows]):.4f}" for column in COLUMNS[2:]}
    rows.append({"series": "mean", "voxels": ""} | means)
    write_rows(RELEASED / "sizes.csv", COLUMNS, rows)
    write_machine(RELEASED / "sizes.csv", [])


def _decoders() -> None:
    config = configuration.load(HERE / "configs" / "cpu.toml")
    rows = [row for shape in config.decoder_shapes for row in decoders.measure(config, shape)]
    write_rows(RELEASED / "decoders.csv", results.COLUMNS["decoders"], rows)
    write_machine(RELEASED / "decoders.csv", [])
    report.publish_decoders(RELEASED)


def _row(name: str, trainee: paper.PaperTrainee) -> dict[str, str]:
    volume = middle(max(corpus.volumes(name), key=np.size), CROP)
    weights = PAPER.load(models.chosen("paper"))
    files = [8 * len(trial.encoded(volume, model, 1)) / volume.size for model in ("paper", "fast", "base")]
    files += [8 * trial.timed_codec(CODECS[name], from_zero(volume), 1).size / volume.size for name in RIVALS]
    one_table = ablation.of_paper(volume, weights)["paper, order-0"]
    lengths = one_table, *unrounded(volume, trainee, weights.offsets).values()
    values = dict(zip(COLUMNS[2:], (*files, *lengths), strict=True))
    return {"series": name, "voxels": str(volume.size)} | {key: f"{value:.4f}" for key, value in values.items()}


if __name__ == "__main__":
    main()
