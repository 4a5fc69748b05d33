"""The published study, repeated: `python -m experiments.cross_validation --config experiments/configs/cpu.toml`.

Trains a `paper` model for every neighbourhood and fold, measures whole files on the series that the fold holds out and
on MR, beside other codecs and the models of volcomp trained on the same folds, times the decoders, and writes CSV,
figures and the tables of experiments/README.md.

It may be stopped at any time and goes on where it was: what is done is kept in --cache, job by job, and trainings have
checkpoints. `--report` makes tables and figures anew from the CSV files alone; `--plan` says how long a run would take.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from volcomp.runtime.cpus import cores

from . import config as configuration
from . import results
from .command import Study
from .config import Config, ConfigError
from .jobs import Job, plan
from .workers import Do, work_off


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or report; returns the exit code."""
    return STUDY.main(arguments)


def _work(config: Config, todo: list[Job], cache: Path, given: argparse.Namespace, bar: Any) -> None:
    """Do jobs beside each other, then those that measure speed, each with all cores."""
    for group, at_a_time in (
        ([job for job in todo if not job.alone], given.jobs),
        ([job for job in todo if job.alone], 1),
    ):
        if group:
            make = partial(_desk, config, cache, max(1, cores() // at_a_time))
            work_off(group, cache, make, [_device(given.device, k) for k in range(at_a_time)], bar)


def _desk(config: Config, cache: Path, threads: int, device: str) -> Do:
    """Return what does jobs, in a process."""
    from .work import Desk, run

    return partial(run, Desk(config, cache, threads, device))


def _device(device: str, k: int) -> str:
    """The k-th process's: with `cuda`, one GPU after the other."""
    if device != "cuda":
        return device
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; take --device cpu")
    return f"cuda:{k % torch.cuda.device_count()}"


def _report(config: Config, folder: Path) -> None:
    from . import figures, report

    report.publish(config, folder)
    figures.draw(folder)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="of trainings: cpu (default), or cuda for all GPUs in turn")


STUDY = Study(
    "experiments.cross_validation", __doc__ or "", "cpu.toml", cores(), configuration.load, plan, _work,
    results.COLUMNS, _report, _options,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
