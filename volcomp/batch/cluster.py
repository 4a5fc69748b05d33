"""Many machines: jobs are tasks of a Dask cluster, whose workers see SOURCE and DEST under the same paths.

If Dask loses a worker, it gives the task to another one. The work is still done only once: `work.perform` finds what
has been written.
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

_SECONDS = 20  # until a missing scheduler is an error
_THREADS = 1  # of a task; a worker with more cores runs more tasks


class Cluster:
    """Does jobs on the cluster of the scheduler at `address`.

    With `memory`, a task requests the resource MEMORY, in bytes: its need, or `memory` if that is less. With the device
    cuda it requests one GPU.
    """

    def __init__(self, how: How, address: str, memory: int | None, need: Callable[[Job, int], int]) -> None:
        self._how, self._address, self._memory, self._need = how, address, memory, need
        self.started: Callable[[], None] = lambda: None  # see `local.Machine`
        try:
            from distributed import Client
            from distributed.comm import resolve_address
        except ImportError:
            raise UnsupportedError("--scheduler needs Dask; install it with pip install 'volcomp[batch]'") from None
        for logger in ("distributed", "distributed.client"):  # rows and errors report the same
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        try:
            # Resolved here: a client that fails to resolve it blocks the end of the program.
            self._client: Any = Client(resolve_address(address), timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # the message of Dask may have several lines
            raise UnsupportedError(
                f"no Dask scheduler answers at {address}; name its address, such as tcp://host:8786"
            ) from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *details: object) -> None:
        """Disconnect. The scheduler drops waiting tasks; running ones finish, completely or without output."""
        self._client.close()

    def running(self) -> list[str]:
        """Return no names of running series: the dashboard of the cluster shows them."""
        return []

    def run(self, jobs: Sequence[Job]) -> Iterator[Row]:
        """Do the jobs and yield their rows, each when it is done."""
        from distributed import CancelledError, as_completed

        self._announce(jobs)

        def submit(job: Job) -> Any:
            resources = self._resources(job)
            return self._client.submit(perform, job, self._how, _THREADS, pure=False, resources=resources)

        tasks = {task.key: (task, job) for job in jobs for task in [submit(job)]}
        for task in as_completed([task for task, _ in tasks.values()], loop=self._client.loop):
            _, job = tasks.pop(task.key)  # releases the task, so that the scheduler can drop it
            try:
                row: Row = task.result()
            except CancelledError as error:  # all remaining tasks
                sentence = f"the Dask scheduler at {self._address} was lost; run the same command again with a new one"
                raise VolcompError(sentence) from error
            except Exception as error:  # from the cluster: `perform` raises nothing
                row = Row(job.name, status=FAILED, error=f"the cluster could not do it: {_on_one_line(error)}")
            yield row

    def _announce(self, jobs: Sequence[Job]) -> None:
        """Print which resources no worker offers, since the batch would seem to hang."""
        needed = self._resources(jobs[0])
        offers = [worker["resources"] for worker in self._client.scheduler_info()["workers"].values()]
        if not any(needed.keys() <= offer.keys() for offer in offers):
            wanted = " with the resource " + " and ".join(needed) if needed else ""
            print(f"volcomp: waiting for a worker{wanted}", file=sys.stderr)

    def _resources(self, job: Job) -> dict[str, float]:
        resources: dict[str, float] = {}
        if self._how.options.device == "cuda":
            resources["GPU"] = 1
        if self._memory is not None:
            resources["MEMORY"] = min(self._need(job, _THREADS), self._memory)
        return resources


def _on_one_line(error: Exception) -> str:
    """Return the message of Dask, which may have many lines, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]
