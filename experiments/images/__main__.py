"""Published systems for single images, on one bench: `python -m experiments.images --config …/images_cpu.toml`.

Trains the networks, measures whole files of every system beside JPEG and its successors, codes the differences that
each leaves, and writes CSV, figures and the tables of experiments/README.md.

It may be stopped at any time and goes on where it was: what is done is kept in --cache, job by job, and trainings have
checkpoints. `--report` makes tables and figures anew from the CSV files alone; `--plan` says how long a run would take.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from pathlib import Path

from tqdm import tqdm

from volcomp.errors import VolcompError
from volcomp.training.corpus import ROOT

from .. import results
from ..cross_validation import HERE, alone, claim, outlive_nobody
from ..jobs import Job
from . import config as configuration
from .config import ImagesConfig
from .work import COLUMNS, depends, plan, run


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


def run_all(config: ImagesConfig, cache: Path, folder: Path, jobs: int) -> None:
    """Do all jobs that are not done, and keep the CSV files up to date with them."""
    planned = plan(config)
    todo = [job for job in planned if not results.finished(cache, job)]
    often = {} if sys.stderr.isatty() else {"mininterval": 60.0, "maxinterval": 60.0}
    with tqdm(total=sum(job.seconds for job in planned), unit="s", desc=config.name, bar_format=_BAR, **often) as bar:
        bar.update(sum(job.seconds for job in planned if job not in todo))
        try:
            _work_off(config, todo, cache, jobs, bar)
        finally:
            results.collect(planned, cache, folder, COLUMNS)


_BAR = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f}/{total:.0f} s of work, {elapsed} passed"


def _work_off(config: ImagesConfig, todo: list[Job], cache: Path, jobs: int, bar: tqdm[None]) -> None:
    """Do jobs in their order in this process, or some at a time in others, each when those that it needs are done."""
    if jobs == 1 or len(todo) < 2:
        for job in todo:
            _do(config, job, cache)
            bar.update(job.seconds)
        return
    context = get_context("spawn")  # not fork: torch and numba have threads
    with ProcessPoolExecutor(min(jobs, len(todo)), context, _begin, (os.getpid(),)) as pool:
        left, running = list(todo), dict[Future[None], Job]()
        try:
            while left or running:
                for job in list(left):
                    if len(running) < jobs and not any(depends(job, other) for other in (*left, *running.values())):
                        running[pool.submit(_do, config, job, cache)] = job
                        left.remove(job)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    bar.update(running.pop(future).seconds)
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _begin(parent: int) -> None:
    """Set a process up: it ends when the command that began it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself says when to stop
    threading.Thread(target=outlive_nobody, args=(parent,), daemon=True).start()


def _do(config: ImagesConfig, job: Job, cache: Path) -> None:
    """One job; its rows are written whole or not at all."""
    results.keep(cache, job, run(config, job, cache, lambda share: None))


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
