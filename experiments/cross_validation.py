"""The published study, repeated: `python -m experiments.cross_validation --config experiments/configs/cpu.toml`.

Trains a `paper` model for every neighbourhood and fold, measures whole files on the series that the fold holds out and
on MR, beside other codecs and the models of volcomp trained on the same folds, times the decoders, and writes CSV,
figures and the tables of experiments/README.md.

It may be stopped at any time and goes on where it was: what is done is kept in --cache, job by job, and trainings have
checkpoints. `--report` makes tables and figures anew from the CSV files alone; `--plan` says how long a run would take.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from volcomp.errors import VolcompError
from volcomp.runtime.cpus import cores
from volcomp.training.corpus import ROOT

from . import config as configuration
from . import results
from .config import Config, ConfigError
from .jobs import Job, plan

HERE = Path(__file__).parent
WORKERS = "workers.lock"  # in a cache, is held by all processes that write there


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or report; returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
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
                run_all(config, cache, folder, options.jobs, options.device)
        _report(config, folder)
    except KeyboardInterrupt:
        print("experiments: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (VolcompError, FileNotFoundError) as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 1
    return 0


def estimate(config: Config, jobs: int) -> str:
    """How long a run takes where `jobs` cores do nothing else, by kind of job."""
    planned, lines = plan(config), []
    for kind in dict.fromkeys(job.kind for job in planned):
        mine = [job for job in planned if job.kind == kind]
        lines.append(f"{kind:10} {len(mine):4} jobs {sum(job.seconds for job in mine) / 60:8.1f} core minutes")
    together = sum(job.seconds for job in planned if not job.alone) / jobs
    wall = together + sum(job.seconds for job in planned if job.alone)
    return "\n".join([*lines, f"about {wall / 3600:.1f} hours with {jobs} jobs at a time"])


class Named(Protocol):
    """A configuration, of whichever study."""

    @property
    def name(self) -> str:
        """Of its results."""
        ...

    def fingerprint(self) -> str:
        """Changes with every field."""
        ...


def claim(config: Named, cache: Path) -> None:
    """Refuse to mix the results of two configurations."""
    cache.mkdir(parents=True, exist_ok=True)
    mark = cache / "config.json"
    if mark.exists() and json.loads(mark.read_text())["fingerprint"] != config.fingerprint():
        raise ConfigError(
            f"{cache} holds results of another configuration named {config.name}: remove that folder, or give the new "
            "configuration another name"
        )
    mark.write_text(json.dumps({"name": config.name, "fingerprint": config.fingerprint()}))


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Keep a cache to one run. Processes of one that was killed end within a second or so, and are waited for: they
    write where this one will."""
    with (cache / "run.lock").open("w") as run, (cache / WORKERS).open("w") as workers:
        try:
            fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another run is at work in {cache}: wait for it, or give another --cache") from error
        fcntl.flock(workers, fcntl.LOCK_EX)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


def run_all(config: Config, cache: Path, folder: Path, jobs: int, device: str) -> None:
    """Do all jobs that are not done, and keep the CSV files up to date with them."""
    planned = plan(config)
    done = {job.name for job in planned if results.finished(cache, job)}
    together = [job for job in planned if not job.alone]
    todo = [[job for job in group if job.name not in done]
            for group in (together, [job for job in planned if job.alone])]  # fmt: skip
    # Lines that are drawn over each other are for terminals; a log gets one a minute.
    often = {} if sys.stderr.isatty() else {"mininterval": 60.0, "maxinterval": 60.0}
    with tqdm(total=sum(job.seconds for job in planned), unit="s", desc=config.name, bar_format=_BAR, **often) as bar:
        bar.update(sum(job.seconds for job in planned if job.name in done))
        for group, at_a_time in zip(todo, (jobs, 1), strict=True):
            if group:
                _work_off(config, group, cache, at_a_time, device, max(1, cores() // at_a_time), bar)
            results.collect(planned, cache, folder)


_BAR = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f}/{total:.0f} s of work, {elapsed} passed {postfix}"


def _work_off(config: Config, group: list[Job], cache: Path, jobs: int, device: str, threads: int, bar: Any) -> None:
    """Do jobs, some at a time, each in a process of its own kind, and show how far they are."""
    context = get_context("spawn")  # not fork: torch and numba have threads
    told, devices = context.Queue(), context.Queue()
    for k in range(jobs):
        devices.put(_device(device, k))
    begin = (config, cache, threads, devices, told, os.getpid())
    with ProcessPoolExecutor(min(jobs, len(group)), context, _begin, begin) as pool:
        try:
            waiting: dict[Future[None], Job] = {pool.submit(_do, job): job for job in group}
            while waiting:
                finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                _show(bar, told, len(waiting))
                for future in finished:
                    waiting.pop(future)
                    future.result()
            _show(bar, told, 0)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _show(bar: Any, told: Any, left: int) -> None:
    """Take in what the processes have told."""
    while True:
        try:
            bar.update(told.get_nowait())
        except queue.Empty:
            break
    bar.set_postfix_str(f"{left} jobs to do", refresh=False)


_desk: Any = None  # of this process, with its queue
_told: Any = None
_lock: Any = None


def _begin(config: Config, cache: Path, threads: int, devices: Any, told: Any, parent: int) -> None:
    """Set a process up: one device for all its jobs, and an end when the command that began it is gone."""
    global _desk, _told, _lock
    _lock = (cache / WORKERS).open("w")  # until the process ends
    fcntl.flock(_lock, fcntl.LOCK_SH)
    from .work import Desk

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself says when to stop
    threading.Thread(target=outlive_nobody, args=(parent,), daemon=True).start()
    _desk, _told = Desk(config, cache, threads, devices.get()), told


def outlive_nobody(parent: int) -> None:
    """End this process when the one that began it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do(job: Job) -> None:
    """One job, in a process; its rows are written whole or not at all."""
    from .work import run

    tables = run(_desk, job, lambda share: _told.put(share * job.seconds))
    results.keep(_desk.cache, job, tables)


def _device(device: str, k: int) -> str:
    """The k-th process's: with `cuda`, one GPU after the other."""
    if device != "cuda":
        return device
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; take --device cpu")
    return f"cuda:{k % torch.cuda.device_count()}"


def _interrupt(number: int, frame: Any) -> None:
    """SIGTERM ends the work as Ctrl-C does."""
    raise KeyboardInterrupt


def _report(config: Config, folder: Path) -> None:
    from . import figures, report

    report.publish(config, folder)
    figures.draw(folder)


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").split("\n")
    parser = argparse.ArgumentParser(prog="python -m experiments.cross_validation", description=lines[0])
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "cpu.toml", metavar="TOML")
    parser.add_argument("--jobs", type=int, default=cores(), metavar="N", help="at a time (default: one per core)")
    parser.add_argument("--device", default="cpu", help="of trainings: cpu (default), or cuda for all GPUs in turn")
    parser.add_argument("--cache", type=Path, help="for what is not done yet (default: .cache/experiments/NAME)")
    parser.add_argument("--results", type=Path, help="for CSV and figures (default: experiments/results/NAME)")
    parser.add_argument("--report", action="store_true", help="only tables and figures, from the CSV files")
    parser.add_argument("--plan", action="store_true", help="only say how long it would take")
    return parser


if __name__ == "__main__":
    sys.exit(main())
