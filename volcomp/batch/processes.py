"""Worker processes: job after job down a pipe, a row back for each.

A process serves one series at a time, since one that the system kills for its memory must cost its own series alone. On
a GPU it serves several, each on a thread with a pipe of its own: only within a process do slabs of several volumes run
together (`gpu/batcher.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from threadpoolctl import threadpool_limits

from ..runtime.heap import give_back_at_once
from .jobs import Job
from .report import FAILED, Row
from .work import How, perform

_PATIENCE = 20.0  # seconds for a process to clean up after itself


class Process:
    """A process with so many lanes, on the GPU of that name or on none."""

    def __init__(self, how: How, gpu: str | None, lanes: int) -> None:
        self.gpu = gpu
        # A fresh interpreter: a copy of this one would share the locks that other threads hold at the moment.
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(lanes)]
        theirs = [pipe for _, pipe in pipes]
        self._process = context.Process(target=_serve, args=(theirs, how, gpu), daemon=True)
        with _deaf():
            self._process.start()
        for pipe in theirs:
            pipe.close()
        self.lanes = [Lane(self, pipe) for pipe, _ in pipes]
        self.gone = False

    @property
    def busy(self) -> int:
        """How many of its lanes are at work."""
        return sum(lane.job is not None for lane in self.lanes)

    def epitaph(self) -> str:
        """What became of a process that went by itself."""
        self._process.join()
        code = self._process.exitcode
        reason = f"signal {-code}" if code and code < 0 else f"exit code {code}"
        hint = "; perhaps there was too little memory: try again with less --memory" if code == -signal.SIGKILL else ""
        return f"the process that worked on it ended with {reason}{hint}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    @staticmethod
    def end(processes: Sequence[Process]) -> None:
        """End processes, those at work too."""
        for process in processes:
            process._process.terminate()
        for process in processes:
            process._process.join(_PATIENCE)
            process.kill()
            process._process.join()  # it holds its locks until it is gone


class Lane:
    """One series at a time of a process: the pipe to it, what it is at, and what that needs."""

    def __init__(self, process: Process, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe
        self.job: Job | None = None
        self.need = 0

    def start(self, job: Job, need: int, threads: int) -> None:
        """Have it do a job."""
        self.job, self.need = job, need
        with suppress(BrokenPipeError):  # it has died meanwhile, as `finish` will find
            self.pipe.send((job, threads))

    def finish(self) -> Row:
        """What became of the job, once the pipe is ready."""
        job, self.job = self.job, None
        assert job
        try:
            row: Row = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.gone = True
            return Row(job.name, status=FAILED, error=self.process.epitaph())
        return row


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin here never hear Ctrl-C, which a terminal sends to all: who leads the batch ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipes: Sequence[Connection], how: How, gpu: str | None) -> None:
    """A process' life: job after job, until it is terminated or whoever leads the batch is gone."""
    give_back_at_once()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before anything asks which there are
    if len(pipes) == 1:
        signal.signal(signal.SIGTERM, _leave)
        _work(pipes[0], how)
        return
    signal.signal(signal.SIGTERM, _drop_all)
    # For all of its life, since every series sets this for its own time, and these times overlap.
    with threadpool_limits(1):
        lanes = [Thread(target=_work, args=(pipe, how), daemon=True) for pipe in pipes]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()


def _work(pipe: Connection, how: How) -> None:
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job, threads = pipe.recv()
            pipe.send(perform(job, how, threads))


def _leave(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not to be interrupted
    sys.exit(1)


def _drop_all(number: int, frame: Any) -> None:
    """Threads cannot be interrupted; whoever leads the batch sweeps up what they had half done."""
    os._exit(1)
