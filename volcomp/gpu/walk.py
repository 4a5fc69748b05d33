"""The walk over the fronts of many slabs at once, on a device: `survey` and `restore` as `volcomp.walk` has them.

There, nothing is waited for: all fronts are begun, one after the other, and the device works through them. Back, every
front waits for the entropy coder, a thread to each slab, so two groups of slabs take turns: while one is on the device,
the symbols of the other are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

import numpy as np
import torch
from numba import njit

from ..coding import Survey
from ..errors import DamagedError, UnsupportedError
from ..lstm import cpu
from ..walk import Done, Given, Opened, Stopped
from .group import Group, Trace, need
from .network import Network
from .plan import Part, Plan

Slab = TypeVar("Slab", Given, Opened)
Walked = TypeVar("Walked")
TURNS = 2  # groups that take turns on the device


def survey(slabs: Sequence[Given], network: Network, done: Done) -> list[Survey]:
    """Walk over slabs that are known."""

    def walk(group: Sequence[Given]) -> list[Survey]:
        parts = [Part(given.layout, given.limit, given.fitted, given.common, given.quiet) for given in group]
        at_work = Group(network, parts, [given.levels for given in group])
        network.steps(at_work).walk()
        found = _surveys(at_work, [given.common is not None for given in group])
        done(sum(given.levels.size for given in group))
        return found

    return _fitting(walk, slabs, network)


@njit(nogil=True, cache=True)
def _pick(source: np.ndarray, places: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> None:
    """The pieces of a slab, front by front, from those of the whole group."""
    end = 0
    for f in range(sizes.shape[0]):
        begin, end = end, end + sizes[f]
        out[begin:end] = source[places[f] : places[f] + sizes[f]]


def _surveys(group: Group, spiked: Sequence[bool]) -> list[Survey]:
    """What the trace says of every slab; contexts where there may be a spike."""
    plan, trace = group.plan, group.trace
    kinds = (np.int32, np.int32, np.uint8, np.uint8)
    arrays = [values.cpu().numpy() for values in (trace.voxel, trace.mean, trace.classes, trace.context)]
    found = []
    for s, has_contexts in enumerate(spiked):
        sizes, places = plan.sizes(s), plan.places(s)
        own: list[np.ndarray] = [np.empty(int(sizes.sum()), kind) for kind in kinds]
        for source, out in zip(arrays, own, strict=True):
            _pick(source, places, sizes, out)
        voxel, mean, classes, context = own
        found.append(Survey(sizes, voxel, mean, classes, context if has_contexts else None))
    return found


def restore(slabs: Sequence[Opened], network: Network, done: Done) -> list[np.ndarray | DamagedError]:
    """The grey levels [Z, Y, X] of slabs from their symbols; a DamagedError where these cannot be."""

    stop = Event()

    def going_on(voxels: int) -> None:
        if stop.is_set():
            raise Stopped
        done(voxels)

    def walk(group: Sequence[Opened]) -> list[np.ndarray | DamagedError]:
        with _own_stream(network.device):
            return _restore(group, network, going_on)

    cuts = [len(slabs) * turn // TURNS for turn in range(TURNS + 1)]
    halves = [slabs[a:b] for a, b in pairwise(cuts) if a < b]
    with ThreadPoolExecutor(TURNS, initializer=cpu.alone) as pool:
        turns = [pool.submit(_fitting, walk, half, network) for half in halves]
        try:
            return [result for turn in turns for result in turn.result()]
        except BaseException:
            stop.set()  # the other half need not come to its end
            raise


def _own_stream(device: torch.device) -> AbstractContextManager[object]:
    """What this thread begins on the device does not wait for what others have begun."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def _restore(slabs: Sequence[Opened], network: Network, done: Done) -> list[np.ndarray | DamagedError]:
    parts = [Part(one.layout, one.limit, one.fitted, one.symbols.spike, one.symbols.quiet) for one in slabs]
    group = Group(network, parts, None)
    steps = network.steps(group)
    on_cuda = network.device.type == "cuda"
    # Pinned, so that it is copied while Python goes on.
    host = Trace(len(group.trace.mean), group.known.dtype, torch.device("cpu"), pinned=on_cuda)
    with _Takers(slabs, group.plan, host) as takers:
        for front, size in enumerate(np.diff(group.plan.first).tolist()):
            steps.predict()
            host.said.copy_(group.trace.said, non_blocking=True)
            if on_cuda:
                torch.cuda.current_stream(network.device).synchronize()  # that the last voxels have left `host` as well
            takers.take(front)
            group.trace.voxel.copy_(host.voxel, non_blocking=True)
            steps.perceive()
            done(size)
    return [takers.errors[s] or group.levels(s) for s in range(len(slabs))]


class _Takers:
    """A thread for every slab, which takes the voxels of its part of a front off its symbols. Python's lock is held
    only to pass the number of a front on: the rest is compiled."""

    def __init__(self, slabs: Sequence[Opened], plan: Plan, host: Trace) -> None:
        self.errors: list[DamagedError | None] = [None] * len(slabs)
        self._slabs, self._plan = slabs, plan
        self._arrays = [tensor.numpy() for tensor in (host.voxel, host.mean, host.classes, host.context)]
        self._asked: list[SimpleQueue[int | None]] = [SimpleQueue() for _ in slabs]
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [Thread(target=self._serve, args=(s,), daemon=True) for s in range(len(slabs))]

    def __enter__(self) -> _Takers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        for asked in self._asked:
            asked.put(None)
        for thread in self._threads:
            thread.join()

    def take(self, front: int) -> None:
        """The voxels of all slabs in that front, from its means, classes and contexts."""
        for asked in self._asked:
            asked.put(front)
        for answer in [self._answers.get() for _ in self._asked]:
            if answer is not None:
                raise answer

    def _serve(self, s: int) -> None:
        last = len(self._plan.fronts) - 1
        for front in iter(self._asked[s].get, None):
            try:
                self._take(s, front)
                if front == last and self.errors[s] is None:
                    self._slabs[s].symbols.finish()
            except DamagedError as error:
                self.errors[s] = error
            except BaseException as error:  # whoever waits must not wait for ever
                self._answers.put(error)
                continue
            self._answers.put(None)

    def _take(self, s: int, front: int) -> None:
        _, lo, hi, begin = self._plan.fronts[front, s].tolist()
        voxel, mean, classes, context = (array[begin : begin + hi - lo] for array in self._arrays)
        voxel[:] = 0  # of a slab that is damaged: whatever may be read of it, only it suffers
        if lo < hi and self.errors[s] is None:
            symbols = self._slabs[s].symbols
            voxel[:] = symbols.take(mean, classes, None if symbols.spike is None else context)


def _fitting(walk: Callable[[Sequence[Slab]], list[Walked]], slabs: Sequence[Slab], network: Network) -> list[Walked]:
    """Walk over a group of slabs, or in two halves of it where the device has too little memory for all."""
    try:
        return walk(slabs)
    except RuntimeError as error:  # as torch says all that goes amiss on a device
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
            reason = str(error).partition("\n")[0]
            raise UnsupportedError(
                f"the GPU failed ({reason}): use --device cpu, which gives the same bytes"
            ) from error
    # Outside of the clause, so that nothing of what has failed is held any longer.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(slabs) == 1:
        one = slabs[0]
        size = need(one.layout, one.limit, network.weights, isinstance(one, Given))
        raise UnsupportedError(
            f"the GPU has not the {-(-size >> 20)} MB free that a slab of {one.layout.shape} needs; "
            "use --device cpu, which gives the same bytes, or try again when the GPU has less to do"
        )
    half = len(slabs) // 2
    return _fitting(walk, slabs[:half], network) + _fitting(walk, slabs[half:], network)
