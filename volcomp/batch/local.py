"""One machine: worker processes on its cores or GPUs, with as many series at work as fit into memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait

from ..errors import UnsupportedError
from ..runtime.cpus import cores
from .jobs import Job
from .memory import PROCESS, of_process
from .processes import Lane, Process
from .report import Row
from .work import How

PER_GPU = 4  # series at a time, by default
_AHEAD = 8  # jobs that may overtake a job that waits for memory


class Machine:
    """Does at most `count` jobs at a time, as long as their needs sum to at most `memory` bytes.

    On the CPU each job has its own process; the jobs of a GPU share one.
    """

    def __init__(self, how: How, count: int | None, memory: int, need: Callable[[Job, int], int]) -> None:
        self._how, self._memory, self._need = how, memory, need
        gpus = visible_gpus() if how.options.device == "cuda" else []
        self._cores = cores()
        self._count = count or min(PER_GPU * len(gpus), max(len(gpus), self._cores)) or self._cores
        # Processes that may still be started: the GPU of each, and its number of lanes.
        self._planned: list[tuple[str | None, int]] = [(None, 1)] * self._count
        if gpus:
            shares = [len(range(g, self._count, len(gpus))) for g in range(len(gpus))]
            self._planned = [(gpu, share) for gpu, share in zip(gpus, shares, strict=True) if share]
        self._idle: list[Lane] = []
        self._busy: dict[Connection, Lane] = {}
        self.started: Callable[[], None] = lambda: None  # called when `running` has changed

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *details: object) -> None:
        """End all processes, also busy ones; their unfinished work is removed."""
        Process.end([*{lane.process for lane in [*self._idle, *self._busy.values()]}])

    def running(self) -> list[str]:
        """Return the names of the series at work."""
        return [lane.job.name for lane in self._busy.values() if lane.job]

    def run(self, jobs: Sequence[Job]) -> Iterator[Row]:
        """Do the jobs and yield their rows, each when it is done."""
        threads = max(1, self._cores // min(self._count, max(1, len(jobs))))  # of each job
        left = iter(jobs)
        waiting: list[tuple[Job, int]] = []  # with their needs
        while True:
            while len(self._busy) < self._count:
                if not waiting:  # only then, or a job with a large need might be overtaken forever
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
        """Return whether a job may start now. A job that exceeds the memory on its own runs alone."""
        shares = not self._planned and all(lane.process.busy for lane in self._idle)  # what `_lane` will choose
        return not self._busy or self._taken() + need - shares * of_process(self._how) <= self._memory

    def _taken(self) -> int:
        """Return the bytes that running jobs need. A shared process is part of the need of each, but counts once."""
        shared = len(self._busy) - len({lane.process for lane in self._busy.values()})
        return sum(lane.need for lane in self._busy.values()) - shared * of_process(self._how)

    def _start(self, job: Job, need: int, threads: int) -> None:
        lane = self._lane()
        # Idle processes occupy memory too; they end if it is short.
        spare = max(0, self._memory - self._taken() - need) // PROCESS
        idle = [other.process for other in self._idle if other.process.lanes == [other]]
        self._drop(idle[spare:])
        self._busy[lane.pipe] = lane
        lane.start(job, need, threads)
        self.started()

    def _lane(self) -> Lane:
        """Return an idle lane of the least busy process, or of a new process if one would share a GPU otherwise."""
        least = min(self._idle, key=lambda lane: lane.process.busy, default=None)
        if least is None or (least.process.busy and self._planned):
            process = Process(self._how, *self._planned.pop(0))
            self._idle += process.lanes
            least = process.lanes[0]
        self._idle.remove(least)
        return least

    def _drop(self, processes: Sequence[Process]) -> None:
        """End processes that are idle or have died; new ones may replace them."""
        self._idle = [lane for lane in self._idle if lane.process not in processes]
        self._planned += [(process.gpu, len(process.lanes)) for process in processes]
        Process.end(processes)

    def _finish(self, pipe: Connection) -> Row:
        lane = self._busy.pop(pipe)
        known = lane.process.gone
        row = lane.finish()
        if not lane.process.gone:
            self._idle.append(lane)
        elif not known:
            self._drop([lane.process])
        return row


def visible_gpus() -> list[str]:
    """Return the usable GPUs, named as in CUDA_VISIBLE_DEVICES. Raises UnsupportedError if there is none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        chosen = subprocess.run(query, capture_output=True, text=True, check=False).stdout.replace("\n", ",")
    found = [name.strip() for name in (chosen or "").split(",") if name.strip() not in ("", "-1")]
    if not found:
        raise UnsupportedError("no GPU was found for --device cuda; use --device cpu, which writes the same bytes")
    return found
