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
from pathlib import Path

from volcomp.errors import VolcompError
from volcomp.training.corpus import ROOT

from ..cross_validation import HERE, alone, claim
from . import config as configuration
from .config import ImagesConfig
from .running import run_all
from .work import plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or report; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = configuration.load(options.config)
        folder = options.results or HERE / "results" / config.name
        if options.plan:
            print(estimate(config, options.jobs))
            return 0
        if not options.report:
            cache = options.cache or ROOT / ".cache" / "experiments" / config.name
            claim(config, cache)
            with alone(cache):
                run_all(config, cache, folder, options.jobs)
        from . import figures, report

        report.publish(config, folder)
        figures.draw(folder)
    except KeyboardInterrupt:
        print("experiments: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (VolcompError, FileNotFoundError) as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 1
    return 0


def estimate(config: ImagesConfig, jobs: int) -> str:
    """How long a run takes where `jobs` cores do nothing else, by kind of job."""
    planned, lines = plan(config), []
    for kind in dict.fromkeys(job.kind for job in planned):
        mine = [job for job in planned if job.kind == kind]
        lines.append(f"{kind:10} {len(mine):4} jobs {sum(job.seconds for job in mine) / 60:8.1f} core minutes")
    together = sum(job.seconds for job in planned) / jobs
    return "\n".join([*lines, f"about {together / 60:.0f} minutes with {jobs} jobs at a time"])


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").split("\n")
    parser = argparse.ArgumentParser(prog="python -m experiments.images", description=lines[0])
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "images_cpu.toml", metavar="TOML")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="at a time (default: 1)")
    parser.add_argument("--cache", type=Path, help="for what is not done yet (default: .cache/experiments/NAME)")
    parser.add_argument("--results", type=Path, help="for CSV and figures (default: experiments/results/NAME)")
    parser.add_argument("--report", action="store_true", help="only tables and figures, from the CSV files")
    parser.add_argument("--plan", action="store_true", help="only say how long it would take")
    return parser


if __name__ == "__main__":
    sys.exit(main())
