"""Who walks over the slabs of a volume: threads of the CPU, each over one of them, or a GPU, over many at once.

Either way a slab is begun, walked over and ended, in order; what a beginning and an end are only the codec knows, and
it need not know who does the walk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from . import walk
from .coding import Survey
from .errors import DamagedError
from .lstm import cpu
from .slab import Team
from .walk import Done, Given, Opened

Result = TypeVar("Result")
Slabs = Mapping[int, int]  # voxels by number


class Stopped(Exception):
    """Raised in the workers when the caller has gone away."""


class Workers:
    """Threads for slabs, and for the rows of a front where there are fewer slabs than threads."""

    def __init__(self, threads: int | None, slabs: int) -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = max(1, threads or available)
        self.slabs = max(1, min(self.threads, slabs))
        self._stop = threading.Event()
        self._helpers = self.threads // self.slabs  # threads for each slab at work
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        self._stack.enter_context(cpu.one_thread_each())
        self.pool = self._stack.enter_context(ThreadPoolExecutor(self.slabs, initializer=cpu.alone))
        helpers = self._helpers - 1
        more = ThreadPoolExecutor(helpers * self.slabs, initializer=cpu.alone) if helpers else None
        self.team = Team(self._stack.enter_context(more) if more else None, self._helpers)
        self._stack.callback(self._stop.set)
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def in_order(self, jobs: Sequence[Callable[[], Result]]) -> Iterator[Result]:
        """The results of jobs, in order, with few of them waiting to be fetched."""
        waiting: list[Future[Result]] = []
        for job in jobs:
            waiting.append(self.pool.submit(job))
            if len(waiting) > self.slabs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def telling(self, progress: Callable[[int], None] | None) -> Done:
        """What a walk is to call: it tells the caller how far it is, and ends where the caller has gone away."""

        def done(voxels: int) -> None:
            if self._stop.is_set():
                raise Stopped
            if progress:
                progress(voxels)

        return done


class Engine(Protocol):
    """Begins, walks over and ends every slab; the results in ascending order."""

    def survey(
        self, slabs: Slabs, begin: Callable[[int], Given], end: Callable[[int, Given, Survey], Result]
    ) -> Iterator[Result]:
        """There: from slabs that are known."""
        ...

    def restore(
        self, slabs: Slabs, begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """Back: from symbols; a DamagedError that any of the three raise is the slab's result."""
        ...


class OnThreads:
    """The `Engine` of the CPU: every slab goes all its way on one thread."""

    def __init__(self, network: walk.Network, workers: Workers, done: Done) -> None:
        self._network, self._workers, self._done = network, workers, done

    def survey(
        self, slabs: Slabs, begin: Callable[[int], Given], end: Callable[[int, Given, Survey], Result]
    ) -> Iterator[Result]:
        """As `Engine` says."""

        def job(k: int) -> Result:
            given = begin(k)
            return end(k, given, walk.survey(given, self._network, self._workers.team, self._done))

        return self._workers.in_order([partial(job, k) for k in slabs])

    def restore(
        self, slabs: Slabs, begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """As `Engine` says."""

        def job(k: int) -> Result:
            opened = begin(k)
            return end(k, opened, walk.restore(opened, self._network, self._workers.team, self._done))

        return self._workers.in_order([partial(attempt, job, k) for k in slabs])


def attempt(work: Callable[..., Result], *arguments: object) -> Result | DamagedError:
    """What the work returns, or the DamagedError that it raises."""
    try:
        return work(*arguments)
    except DamagedError as error:
        return error
