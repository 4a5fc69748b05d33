"""Dynamic batching: calls of several threads, for slabs of several volumes, share one run on the device.

A call that arrives during a run waits. The next run includes all waiting calls, as many as the memory allows. So a
batch of volumes fills the device's fronts, and no call ever waits just for others to arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from math import prod
from threading import Lock, Thread
from typing import Generic, TypeVar

from ..pipelines.protocol import Done, Stopped
from ..runtime.products import alone
from .double_buffer import AnySlab

Result = TypeVar("Result")


class _Call(Generic[AnySlab, Result]):
    """The slabs of one call, its progress and its result."""

    def __init__(self, slabs: Sequence[AnySlab], done: Done) -> None:
        self.slabs, self._done = slabs, done
        self.voxels = sum(prod(slab.shape) for slab in slabs)
        self.result: Future[list[Result]] = Future()
        self.failure: BaseException | None = None  # raised by `done`, which ends the call
        self._reported = 0

    def report(self, share: int, whole: int) -> None:
        """Report progress: `share` of the `whole` voxels of the run are done."""
        due = self.voxels * share // whole
        try:
            self._done(due - self._reported)
        except BaseException as error:
            self.failure = error
        self._reported = due


class Batcher(Generic[AnySlab, Result]):
    """A function of slabs whose concurrent calls share runs."""

    def __init__(self, run: Callable[[Sequence[AnySlab], Done], list[Result]], capacity: Callable[[], int]) -> None:
        """`capacity` returns how many voxels a run may have at present; a single call may exceed it."""
        self._run, self._capacity = run, capacity
        self._lock = Lock()
        self._waiting: deque[_Call[AnySlab, Result]] = deque()
        self._running = False

    def __call__(self, slabs: Sequence[AnySlab], done: Done) -> list[Result]:
        """Return the results for these slabs. `done` gets voxels, about evenly, and may raise to end the call."""
        call: _Call[AnySlab, Result] = _Call(slabs, done)
        with self._lock:
            self._waiting.append(call)
            is_first, self._running = not self._running, True
        if is_first:
            try:
                # Not on the caller's thread: an interrupt of it would end the other calls too.
                Thread(target=self._serve).start()
            except RuntimeError:  # no thread can be started
                self._serve()
        return call.result.result()

    def _serve(self) -> None:
        alone()
        while calls := self._next():
            self._run_calls(calls)

    def _next(self) -> list[_Call[AnySlab, Result]]:
        """Remove the calls of the next run from the queue, in order of arrival; none where none is waiting."""
        with self._lock:
            calls: list[_Call[AnySlab, Result]] = []
            voxels = 0
            try:
                capacity = self._capacity() if len(self._waiting) > 1 else 0
            except RuntimeError:  # of the device, which the run will raise too
                capacity = 0
            while self._waiting and (not calls or voxels + self._waiting[0].voxels <= capacity):
                calls.append(self._waiting.popleft())
                voxels += calls[-1].voxels
            self._running = bool(calls)
            return calls

    def _run_calls(self, calls: Sequence[_Call[AnySlab, Result]]) -> None:
        whole, lock = sum(call.voxels for call in calls), Lock()
        share = 0

        def done(voxels: int) -> None:
            nonlocal share
            with lock:  # a run may report from several threads
                share += voxels
                active = [call for call in calls if call.failure is None]
                for call in active:
                    call.report(share, whole)
            if not any(call.failure is None for call in calls):
                raise Stopped

        try:
            output = iter(self._run([slab for call in calls for slab in call.slabs], done))
            results = [[*islice(output, len(call.slabs))] for call in calls]
        except BaseException as error:
            for call in calls:
                call.result.set_exception(call.failure or error)
            return
        for call, result in zip(calls, results, strict=True):
            if call.failure is None:
                call.result.set_result(result)
            else:
                call.result.set_exception(call.failure)
