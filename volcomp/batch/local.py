"""One machine: worker processes over its cores or GPUs, as many at work as fit into the memory.

The processes are ours rather than a pool's, since one that the system kills for its memory must cost its own series
alone, and all of them must end at once when the batch is interrupted.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import UnsupportedError
from ..handover import cores
from .jobs import Job
from .memory import PROCESS
from .report import FAILED, Row
from .work import How, perform

_AHEAD = 8  # jobs that may overtake one that waits for memory
_PATIENCE = 20.0  # seconds for a worker to clean up after itself


class Machine:
    """Does jobs with at most `count` processes, whose needs together stay within `memory` bytes."""

    def __init__(self, how: How, count: int | None, memory: int, need: Callable[[Job, int], int]) -> None:
        self._how, self._memory, self._need = how, memory, need
        gpus = visible_gpus() if how.device == "cuda" else []
        self._cores = cores()
        self._count = count or len(gpus) or self._cores
        # Of each process; several share one where more are asked for than there are.
        self._gpus: list[str | None] = [*islice(cycle(gpus or [None]), self._count)]
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self.started: Callable[[], None] = lambda: None  # is called when `running` has changed

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *details: object) -> None:
        """End all workers, those at work too: they remove what they had half done."""
        _end([*self._idle, *self._busy.values()])

    def running(self) -> list[str]:
        """The names of the series at work."""
        return [worker.job.name for worker in self._busy.values() if worker.job]

    def run(self, jobs: Sequence[Job]) -> Iterator[Row]:
        """The rows of all jobs, each as it is done."""
        threads = max(1, self._cores // min(self._count, max(1, len(jobs))))  # each process' share
        left = iter(jobs)
        waiting: list[tuple[Job, int]] = []  # with their needs
        while True:
            while len(self._busy) < self._count:
                if not waiting:  # and no sooner, or one that needs much might be overtaken for ever
                    waiting = [(job, self._need(job, threads)) for job in islice(left, _AHEAD)]
                fitting = next((i for i, (_, need) in enumerate(waiting) if self._fits(need)), None)
                if fitting is None:
                    break
                self._start(*waiting.pop(fitting), threads)
            if not self._busy:
                return
            for ready in wait([*self._busy]):
                assert isinstance(ready, Connection)
                yield self._finish(ready)

    def _fits(self, need: int) -> bool:
        """Whether it may start now; what exceeds the memory by itself may do so alone."""
        return not self._busy or self._taken() + need <= self._memory

    def _taken(self) -> int:
        return sum(worker.need for worker in self._busy.values())

    def _start(self, job: Job, need: int, threads: int) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self._how, self._gpus.pop())
        # Those that wait for work take memory too; they go where there is none to spare.
        spare = max(0, self._memory - self._taken() - need) // PROCESS
        surplus, self._idle = self._idle[spare:], self._idle[:spare]
        self._gpus += [other.gpu for other in surplus]
        _end(surplus)
        worker.job, worker.need = job, need
        self._busy[worker.pipe] = worker
        with suppress(BrokenPipeError):  # it has died meanwhile, as `_finish` will find
            worker.pipe.send((job, threads))
        self.started()

    def _finish(self, pipe: Connection) -> Row:
        worker = self._busy.pop(pipe)
        job, worker.job = worker.job, None
        assert job
        try:
            row: Row = pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._gpus.append(worker.gpu)  # for the process that will take its place
            return Row(job.name, status=FAILED, error=_epitaph(worker.process.exitcode))
        self._idle.append(worker)
        return row


class _Worker:
    """A process, the pipe to it, and what it is at."""

    def __init__(self, how: How, gpu: str | None) -> None:
        # A fresh interpreter: a copy of this one would share the locks that other threads hold at the moment.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, how, gpu), daemon=True)
        with _deaf():
            self.process.start()
        theirs.close()
        self.gpu = gpu
        self.job: Job | None = None
        self.need = 0


def _end(workers: list[_Worker]) -> None:
    """End processes, those at work too."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_PATIENCE)
        worker.process.kill()
        worker.process.join()  # it holds its lock until it is gone


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin here never hear Ctrl-C, which a terminal sends to all: who leads the batch ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, how: How, gpu: str | None) -> None:
    """A worker's life: job after job, until it is terminated or whoever leads the batch is gone."""
    signal.signal(signal.SIGTERM, _leave)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before anything asks which there are
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job, threads = pipe.recv()
            pipe.send(perform(job, how, threads))


def _leave(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not to be interrupted
    sys.exit(1)


def _epitaph(code: int | None) -> str:
    reason = f"signal {-code}" if code and code < 0 else f"exit code {code}"
    hint = "; perhaps there was too little memory: try again with less --memory" if code == -signal.SIGKILL else ""
    return f"the process that worked on it ended with {reason}{hint}"


def visible_gpus() -> list[str]:
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES has them. Raises UnsupportedError without any."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None and shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        chosen = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.replace("\n", ",")
    found = [name.strip() for name in (chosen or "").split(",") if name.strip() not in ("", "-1")]
    if not found:
        raise UnsupportedError("no GPU was found for --device cuda; use --device cpu, which writes the same bytes")
    return found
