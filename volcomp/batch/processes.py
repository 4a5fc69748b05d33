"""Worker processes: they receive jobs through pipes and send a row for each.

A process does one series at a time, so that only this series fails if the system kills the process for its memory. On a
GPU a process does several, each on a thread with its own pipe: a GPU advances slabs of several volumes together only if
they are in one process (`gpu/batcher.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from threadpoolctl import threadpool_limits

from ..runtime.heap import give_back_at_once
from .jobs import Job
from .report import FAILED, Row
from .work import How, perform

_PATIENCE = 20.0  # seconds for a process to clean up


class Process:
    """A process with `lanes` lanes, on the GPU named `gpu` or on none."""

    def __init__(self, how: How, gpu: str | None, lanes: int) -> None:
        self.gpu = gpu
        # A fresh interpreter: a fork would inherit locks that other threads hold.
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(lanes)]
        child_ends = [pipe for _, pipe in pipes]
        self._process = context.Process(target=_serve, args=(child_ends, how, gpu), daemon=True)
        resource_tracker.ensure_running()  # else `start` starts it, after which interrupts are no longer blocked
        with _interrupts_blocked():
            self._process.start()
        for pipe in child_ends:
            pipe.close()
        self.lanes = [Lane(self, pipe) for pipe, _ in pipes]
        self.gone = False

    @property
    def busy(self) -> int:
        """Return the number of lanes at work."""
        return sum(lane.job is not None for lane in self.lanes)

    def exit_reason(self) -> str:
        """Return why the process has died."""
        self._process.join()
        code = self._process.exitcode
        reason = f"signal {-code}" if code and code < 0 else f"exit code {code}"
        hint = "; perhaps there was too little memory: try again with less --memory" if code == -signal.SIGKILL else ""
        return f"the process that worked on it ended with {reason}{hint}"

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    @staticmethod
    def end(processes: Sequence[Process]) -> None:
        """End processes, also busy ones."""
        for process in processes:
            process._process.terminate()
        for process in processes:
            process._process.join(_PATIENCE)
            process.kill()
            process._process.join()  # its locks last until then


class Lane:
    """One series at a time of a process: the pipe, the job, and the bytes of memory that this needs."""

    def __init__(self, process: Process, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe
        self.job: Job | None = None
        self.need = 0

    def start(self, job: Job, need: int, threads: int) -> None:
        """Start a job."""
        self.job, self.need = job, need
        with suppress(BrokenPipeError):  # the process has died; `finish` reports it
            self.pipe.send((job, threads))

    def finish(self) -> Row:
        """Return the row of the job, when the pipe is ready."""
        job, self.job = self.job, None
        assert job
        try:
            row: Row = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.gone = True
            return Row(job.name, status=FAILED, error=self.process.exit_reason())
        return row


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes that start here ignore Ctrl-C, which a terminal sends to all: the main process ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipes: Sequence[Connection], how: How, gpu: str | None) -> None:
    """Do job after job, until the process is terminated or the main process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    give_back_at_once()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA lists the GPUs
    if len(pipes) == 1:
        signal.signal(signal.SIGTERM, _exit)
        _work(pipes[0], how)
        return
    signal.signal(signal.SIGTERM, _exit_at_once)
    # Here, since series set and reset this limit, and overlap.
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


def _exit(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing may interrupt the cleanup
    sys.exit(1)


def _exit_at_once(number: int, frame: Any) -> None:
    """Exit without cleanup, since threads cannot be interrupted. The main process removes their unfinished work."""
    os._exit(1)
