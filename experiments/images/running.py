"""The jobs of a run, worked off. Processes that are spawned import this module; they could not import `__main__`."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import results
from ..cross_validation import WORKERS, outlive_nobody
from ..jobs import Job
from .config import ImagesConfig
from .work import COLUMNS, depends, plan, run


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
    """Do jobs in their order in this process, or some at a time in others, each when those that it needs are done.

    One process is left to what needs no training.
    """
    if jobs == 1 or len(todo) < 2:
        for job in todo:
            _do(config, job, cache)
            bar.update(job.seconds)
        return
    context = get_context("spawn")  # not fork: torch and numba have threads
    with ProcessPoolExecutor(min(jobs, len(todo)), context, _begin, (cache, os.getpid())) as pool:
        left, running = list(todo), dict[Future[None], Job]()
        try:
            while left or running:
                for job in list(left):
                    unfinished = (*left, *running.values())
                    trainings = sum(job.kind == other.kind == "train" for other in running.values())
                    full = len(running) == jobs or (trainings and trainings >= jobs - 1)
                    if not full and not any(depends(job, other) for other in unfinished):
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


_lock: Any = None  # of this process


def _begin(cache: Path, parent: int) -> None:
    """Set a process up: it ends when the command that began it is gone."""
    global _lock
    _lock = (cache / WORKERS).open("w")  # until the process ends
    fcntl.flock(_lock, fcntl.LOCK_SH)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself says when to stop
    threading.Thread(target=outlive_nobody, args=(parent,), daemon=True).start()


def _do(config: ImagesConfig, job: Job, cache: Path) -> None:
    """One job; its rows are written whole or not at all."""
    results.keep(cache, job, run(config, job, cache, lambda share: None))
