"""One machine: worker processes over its cores or GPUs, as many series at work as fit into the memory."""

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

PER_GPU = 4  # series at a time, where nothing else is said
_AHEAD = 8  # jobs that may overtake one that waits for memory


class Machine:
    """Does at most `count` jobs at a time, whose needs together stay within `memory` bytes: each in a process of its
    own, or those of a GPU in one."""

    def __init__(self, how: How, count: int | None, memory: int, need: Callable[[Job, int], int]) -> None:
        self._how, self._memory, self._need = how, memory, need
        gpus = visible_gpus() if how.options.device == "cuda" else []
        self._cores = cores()
        self._count = count or min(PER_GPU * len(gpus), max(len(gpus), self._cores)) or self._cores
        # Processes that may be started: the GPU of each, and how many lanes it has.
        self._planned: list[tuple[str | None, int]] = [(None, 1)] * self._count
        if gpus:
            shares = [len(range(g, self._count, len(gpus))) for g in range(len(gpus))]
            self._planned = [(gpu, share) for gpu, share in zip(gpus, shares, strict=True) if share]
        self._idle: list[Lane] = []
        self._busy: dict[Connection, Lane] = {}
        self.started: Callable[[], None] = lambda: None  # is called when `running` has changed

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *details: object) -> None:
        """End all processes, those at work too: what they had half done is removed."""
        Process.end([*{lane.process for lane in [*self._idle, *self._busy.values()]}])

    def running(self) -> list[str]:
        """The names of the series at work."""
        return [lane.job.name for lane in self._busy.values() if lane.job]

    def run(self, jobs: Sequence[Job]) -> Iterator[Row]:
        """The rows of all jobs, each as it is done."""
        threads = max(1, self._cores // min(self._count, max(1, len(jobs))))  # each one's share
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
        shares = not self._planned and all(lane.process.busy for lane in self._idle)  # as `_lane` will choose
        return not self._busy or self._taken() + need - shares * of_process(self._how) <= self._memory

    def _taken(self) -> int:
        """Bytes that those at work need; what their process takes is part of each one's need, and is counted once."""
        again = len(self._busy) - len({lane.process for lane in self._busy.values()})
        return sum(lane.need for lane in self._busy.values()) - again * of_process(self._how)

    def _start(self, job: Job, need: int, threads: int) -> None:
        lane = self._lane()
        # Processes that wait for work take memory too; they go where there is none to spare.
        spare = max(0, self._memory - self._taken() - need) // PROCESS
        resting = [other.process for other in self._idle if other.process.lanes == [other]]
        self._drop(resting[spare:])
        self._busy[lane.pipe] = lane
        lane.start(job, need, threads)
        self.started()

    def _lane(self) -> Lane:
        """One that is idle, of the process with the least to do; or of a new one, rather than share one's GPU."""
        least = min(self._idle, key=lambda lane: lane.process.busy, default=None)
        if least is None or (least.process.busy and self._planned):
            process = Process(self._how, *self._planned.pop(0))
            self._idle += process.lanes
            least = process.lanes[0]
        self._idle.remove(least)
        return least

    def _drop(self, processes: Sequence[Process]) -> None:
        """End processes that rest, or have gone by themselves; others may take their places."""
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
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES has them. Raises UnsupportedError without any."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None and shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        chosen = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.replace("\n", ",")
    found = [name.strip() for name in (chosen or "").split(",") if name.strip() not in ("", "-1")]
    if not found:
        raise UnsupportedError("no GPU was found for --device cuda; use --device cpu, which writes the same bytes")
    return found
