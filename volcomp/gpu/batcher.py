"""Slabs of several volumes together: calls from several threads for the same walk are answered by one.

Whoever calls while a walk is under way waits, and the next walk takes all who wait along, as far as the memory reaches.
So a batch fills a device's fronts without any call having to wait for company.
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

Walked = TypeVar("Walked")


class _Call(Generic[AnySlab, Walked]):
    """Slabs of one caller, and what he is to be told."""

    def __init__(self, slabs: Sequence[AnySlab], done: Done) -> None:
        self.slabs, self._done = slabs, done
        self.voxels = sum(prod(slab.shape) for slab in slabs)
        self.result: Future[list[Walked]] = Future()
        self.failure: BaseException | None = None  # of `done`, which has the call end
        self._told = 0

    def tell(self, share: int, whole: int) -> None:
        """That so much of the whole is done."""
        due = self.voxels * share // whole
        try:
            self._done(due - self._told)
        except BaseException as error:
            self.failure = error
        self._told = due


class Batcher(Generic[AnySlab, Walked]):
    """A walk that takes along whoever wants the same."""

    def __init__(self, walk: Callable[[Sequence[AnySlab], Done], list[Walked]], room: Callable[[], int]) -> None:
        """`room` says how many voxels may walk at once now; a single call may have more."""
        self._walk, self._room = walk, room
        self._lock = Lock()
        self._waiting: deque[_Call[AnySlab, Walked]] = deque()
        self._under_way = False

    def __call__(self, slabs: Sequence[AnySlab], done: Done) -> list[Walked]:
        """What the walk makes of these slabs; `done` is called with voxels, about evenly, and may raise to leave."""
        call: _Call[AnySlab, Walked] = _Call(slabs, done)
        with self._lock:
            self._waiting.append(call)
            sets_out, self._under_way = not self._under_way, True
        if sets_out:
            try:
                # Not on the caller's thread, who may be interrupted, and others are not to suffer for that;
                Thread(target=self._serve).start()
            except RuntimeError:  # unless there cannot be another one
                self._serve()
        return call.result.result()

    def _serve(self) -> None:
        alone()
        while calls := self._next():
            self._answer(calls)

    def _next(self) -> list[_Call[AnySlab, Walked]]:
        """Who is taken along next, in the order of the calls; nobody where none is waiting."""
        with self._lock:
            calls: list[_Call[AnySlab, Walked]] = []
            voxels = 0
            try:
                room = self._room() if len(self._waiting) > 1 else 0
            except RuntimeError:  # of the device, as the walk will say as well
                room = 0
            while self._waiting and (not calls or voxels + self._waiting[0].voxels <= room):
                calls.append(self._waiting.popleft())
                voxels += calls[-1].voxels
            self._under_way = bool(calls)
            return calls

    def _answer(self, calls: Sequence[_Call[AnySlab, Walked]]) -> None:
        whole, lock = sum(call.voxels for call in calls), Lock()
        share = 0

        def done(voxels: int) -> None:
            nonlocal share
            with lock:  # a walk may tell from several threads
                share += voxels
                going_on = [call for call in calls if call.failure is None]
                for call in going_on:
                    call.tell(share, whole)
            if not any(call.failure is None for call in calls):
                raise Stopped

        try:
            walked = iter(self._walk([slab for call in calls for slab in call.slabs], done))
            results = [[*islice(walked, len(call.slabs))] for call in calls]
        except BaseException as error:
            for call in calls:
                call.result.set_exception(call.failure or error)
            return
        for call, result in zip(calls, results, strict=True):
            if call.failure is None:
                call.result.set_result(result)
            else:
                call.result.set_exception(call.failure)
