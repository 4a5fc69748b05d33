"""Published systems for single images, on one bench: `python -m experiments.images --config …/images_cpu.toml`.

Trains the networks, measures whole files of every system beside JPEG and its successors, codes the differences that
each leaves, and writes CSV, figures and the tables of experiments/README.md.

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

from ..command import Study
from ..jobs import Job
from ..workers import work_off
from . import config as configuration
from .config import ImagesConfig
from .work import COLUMNS, begin, depends, plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or report; returns the exit code."""
    return STUDY.main(arguments)


def _work(config: ImagesConfig, todo: list[Job], cache: Path, given: argparse.Namespace, bar: Any) -> None:
    """Do jobs, each when those that it needs are done."""
    # Not a function of this module: processes that are spawned cannot import the `__main__` of a package.
    work_off(todo, cache, partial(begin, config, cache), ["cpu"] * given.jobs, bar, partial(_waits, given.jobs))


def _waits(jobs: int, job: Job, left: Sequence[Job], running: Sequence[Job]) -> bool:
    """Whether a job needs any that is not done, or would leave no process to jobs that need no training."""
    trainings = sum(job.kind == other.kind == "train" for other in running)
    return 0 < trainings >= jobs - 1 or any(depends(job, other) for other in (*left, *running))


def _report(config: ImagesConfig, folder: Path) -> None:
    from . import figures, report

    report.publish(config, folder)
    figures.draw(folder)


STUDY = Study(
    "experiments.images", __doc__ or "", "images_cpu.toml", 1, configuration.load, plan, _work, COLUMNS, _report
)

if __name__ == "__main__":
    sys.exit(main())
