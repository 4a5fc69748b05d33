"""Many machines: the jobs as tasks of a Dask cluster, whose workers see SOURCE and DEST under the same paths.

Dask gives the task of a worker that it lost to another one. The work is done but once all the same: `work.perform`
finds what has been written already.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import UnsupportedError, VolcompError
from .jobs import Job
from .report import FAILED, Row
from .work import How, perform

_SECONDS = 20  # to find the scheduler
_THREADS = 1  # of a task; a worker that has more cores takes more tasks


class Cluster:
    """Does jobs on the cluster of the scheduler at `address`.

    With `memory` every task asks its worker for the resource MEMORY, in bytes: its need, or all of `memory` if that is
    less. With `device` cuda it asks for one GPU.
    """

    def __init__(self, how: How, address: str, memory: int | None, need: Callable[[Job, int], int]) -> None:
        self._how, self._address, self._memory, self._need = how, address, memory, need
        self.started: Callable[[], None] = lambda: None  # as of `local.Machine`
        try:
            from distributed import Client
            from distributed.comm import resolve_address
        except ImportError:
            raise UnsupportedError("--scheduler needs Dask; install it with pip install 'volcomp[batch]'") from None
        for logger in ("distributed", "distributed.client"):  # what these have to say, the rows and errors do
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        try:
            # Resolved here, since a client that fails to do it waits for itself when the program ends.
            self._client: Any = Client(resolve_address(address), timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # what Dask says may take several lines
            raise UnsupportedError(
                f"no Dask scheduler answers at {address}; name its address, such as tcp://host:8786"
            ) from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *details: object) -> None:
        """Leave; tasks not yet begun are dropped with us, the others end by themselves, whole or not at all."""
        self._client.close()

    def running(self) -> list[str]:
        """The names of the series at work; a cluster's own pages show them better."""
        return []

    def run(self, jobs: Sequence[Job]) -> Iterator[Row]:
        """The rows of all jobs, each as it is done."""
        from distributed import CancelledError, as_completed

        self._announce(jobs)

        def submit(job: Job) -> Any:
            asked = self._resources(job)
            return self._client.submit(perform, job, self._how, _THREADS, pure=False, resources=asked)

        tasks = {task.key: (task, job) for job in jobs for task in [submit(job)]}
        for task in as_completed([task for task, _ in tasks.values()], loop=self._client.loop):
            _, job = tasks.pop(task.key)  # forgotten here, so that the scheduler may forget it too
            try:
                row: Row = task.result()
            except CancelledError as error:  # of all that was left
                sentence = f"the Dask scheduler at {self._address} was lost; run the same command again with a new one"
                raise VolcompError(sentence) from error
            except Exception as error:  # of the cluster, since `perform` raises nothing
                row = Row(job.name, status=FAILED, error=f"the cluster could not do it: {_on_one_line(error)}")
            yield row

    def _announce(self, jobs: Sequence[Job]) -> None:
        """Say what the tasks may have to wait for, which would otherwise look like a batch that hangs."""
        asked = self._resources(jobs[0])
        offers = [worker["resources"] for worker in self._client.scheduler_info()["workers"].values()]
        if not any(asked.keys() <= offer.keys() for offer in offers):
            wanted = " with the resource " + " and ".join(asked) if asked else ""
            print(f"volcomp: waiting for a worker{wanted}", file=sys.stderr)

    def _resources(self, job: Job) -> dict[str, float]:
        asked: dict[str, float] = {}
        if self._how.options.device == "cuda":
            asked["GPU"] = 1
        if self._memory is not None:
            asked["MEMORY"] = min(self._need(job, _THREADS), self._memory)
        return asked


def _on_one_line(error: Exception) -> str:
    """What Dask says, which may be many lines."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]
