"""Processes that do the jobs of a run: each job once, when those that it needs are done."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from . import results
from .jobs import Job

LOCK = "workers.lock"  # in a cache, is held by all processes that write there

Tell = Callable[[float], None]  # called with the share of the job done since the last call
Do = Callable[[Job, Tell], dict[str, list[dict[str, Any]]]]  # returns rows by the name of their CSV file


def work_off(
    todo: Sequence[Job], cache: Path, make: Callable[[str], Do], devices: Sequence[str], bar: Any,
    waits: Callable[[Job, Sequence[Job], Sequence[Job]], bool] = lambda job, left, running: False,
) -> None:  # fmt: skip
    """Do jobs in their order, one in each process, and show how far they are.

    make      is called once in each process, with its device, and returns what does jobs; can be pickled
    devices   one for each process
    waits     whether a job has to wait for any of those that are left, itself among them, or are running
    """
    context = get_context("spawn")  # not fork: torch and numba have threads
    told, places = context.Queue(), context.Queue()
    for device in devices:
        places.put(device)
    left, running = list(todo), dict[Future[None], Job]()
    processes = min(len(devices), len(left))
    with ProcessPoolExecutor(processes, context, _begin, (cache, make, places, told, os.getpid())) as pool:
        try:
            while left or running:
                for job in list(left):
                    if len(running) < processes and not waits(job, left, list(running.values())):
                        running[pool.submit(_do, job)] = job
                        left.remove(job)
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                _show(bar, told, len(left) + len(running))
                for future in finished:
                    running.pop(future)
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


_run: Do | None = None  # of this process, with its queue, its cache and its lock
_told: Any = None
_cache: Path | None = None
_lock: Any = None


def _begin(cache: Path, make: Callable[[str], Do], places: Any, told: Any, parent: int) -> None:
    """Set a process up: one device for all its jobs, and an end when the command that began it is gone."""
    global _run, _told, _cache, _lock
    _lock = (cache / LOCK).open("w")  # until the process ends
    fcntl.flock(_lock, fcntl.LOCK_SH)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself says when to stop
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    _run, _told, _cache = make(places.get()), told, cache


def _outlive_nobody(parent: int) -> None:
    """End this process when the one that began it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do(job: Job) -> None:
    """One job, in a process; its rows are written whole or not at all."""
    assert _run and _cache
    results.keep(_cache, job, _run(job, lambda share: _told.put(share * job.seconds)))
