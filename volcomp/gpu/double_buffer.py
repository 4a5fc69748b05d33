"""Groups of slabs on a device, of whatever kind of model: they get smaller where memory is short, and on the way back
two take turns.

There, nothing is waited for: the device works through all fronts. Back, every front waits for the entropy coder, a
thread to each slab (`handover.py`): while one group is on the device, the symbols of the other are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from ..errors import DamagedError, UnsupportedError
from ..pipelines.protocol import Done, Stopped
from ..runtime.products import alone
from ..runtime.rendezvous import Handover, release

TURNS = 2  # groups that take turns on the device


class Slab(Protocol):
    """A slab on its way."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Z, Y, X."""
        ...


class Opened(Slab, Protocol):
    """A slab on its way back."""

    @property
    def symbols(self) -> Any:
        """Has `serve`, which takes the voxels of all fronts, and `finish`."""
        ...


class Trace(Protocol):
    """What goes to and fro for every voxel of a front."""

    voxel: torch.Tensor
    said: torch.Tensor  # all the rest, in one piece

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """The voxels, and one after the other what is said of them."""
        ...

    def on_host(self) -> Trace:
        """As much room on the CPU."""
        ...


class Group(Protocol):
    """Slabs [s] at work; pieces int64 [f, s, 2] say which voxels of a front are a slab's: from one, up to another."""

    @property
    def trace(self) -> Trace:
        """Of a front."""
        ...

    @property
    def pieces(self) -> np.ndarray:
        """As above."""
        ...

    def levels(self, s: int) -> np.ndarray:
        """The grey levels [Z, Y, X] of slab s, once it is through: on the CPU."""
        ...


class Steps(Protocol):
    """What computes: both steps of one front after the other."""

    def predict(self) -> None:
        """What is said of the next front into the trace."""
        ...

    def perceive(self) -> None:
        """Take in the front's voxels from the trace."""
        ...


AnySlab = TypeVar("AnySlab", bound=Slab)
AnyOpened = TypeVar("AnyOpened", bound=Opened)
Walked = TypeVar("Walked")
Begin = Callable[[Sequence[AnyOpened]], tuple[Group, Steps]]


def restore(
    slabs: Sequence[AnyOpened], begin: Begin[AnyOpened], device: torch.device, need: Callable[[AnyOpened], int],
    done: Done,
) -> list[np.ndarray | DamagedError]:  # fmt: skip
    """The grey levels [Z, Y, X] of slabs from their symbols; a DamagedError where these cannot be. `begin` puts a group
    to work, and `need` says how many bytes of memory a slab takes."""
    stop = Event()

    def going_on(voxels: int) -> None:
        if stop.is_set():
            raise Stopped
        done(voxels)

    def walk(group: Sequence[AnyOpened]) -> list[np.ndarray | DamagedError]:
        with own_stream(device):
            return _restore(group, begin, device, going_on)

    cuts = [len(slabs) * turn // TURNS for turn in range(TURNS + 1)]
    halves = [slabs[a:b] for a, b in pairwise(cuts) if a < b]
    with ThreadPoolExecutor(TURNS, initializer=alone) as pool:
        turns = [pool.submit(fitting, walk, half, need) for half in halves]
        try:
            return [result for turn in turns for result in turn.result()]
        except BaseException:
            stop.set()  # the other half need not come to its end
            raise


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """What this thread begins on the device meanwhile does not wait for what others begin."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # on which the network came there
    return torch.cuda.stream(stream)


def _restore(
    slabs: Sequence[AnyOpened], begin: Begin[AnyOpened], device: torch.device, done: Done
) -> list[np.ndarray | DamagedError]:
    group, steps = begin(slabs)
    host = group.trace.on_host()
    with _Takers(slabs, group.pieces, host) as takers:
        for size in group.pieces[:, -1, 1].tolist():
            steps.predict()
            host.said.copy_(group.trace.said, non_blocking=True)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()  # that the last voxels have left `host` as well
            takers.take()
            group.trace.voxel.copy_(host.voxel, non_blocking=True)
            steps.perceive()
            done(size)
    return [takers.errors[s] or group.levels(s) for s in range(len(slabs))]


class _Takers:
    """A thread for every slab, which takes the voxels of its part of every front off its symbols."""

    def __init__(self, slabs: Sequence[Opened], pieces: np.ndarray, host: Trace) -> None:
        self.errors: list[DamagedError | None] = [None] * len(slabs)  # once all threads are through
        self._slabs, self._arrays = slabs, [tensor.numpy() for tensor in host.parts]
        self._handover = Handover(pieces, TURNS * (1 + len(slabs)))
        self._failure: BaseException | None = None
        self._threads = [Thread(target=self._serve, args=(s,), daemon=True) for s in range(len(slabs))]

    def __enter__(self) -> _Takers:
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # there are too many
            self.__exit__()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._handover.end()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._handover.free()

    def take(self) -> None:
        """The voxels of all slabs in the next front, from what is said of them."""
        self._handover.ask()
        if self._failure is not None:
            raise self._failure

    def _serve(self, s: int) -> None:
        taker, symbols = self._handover.takers[s], self._slabs[s].symbols
        try:
            if symbols.serve(taker, *self._arrays):
                symbols.finish()
        except DamagedError as error:  # raised once every front has been answered: only this slab suffers
            self.errors[s] = error
        except BaseException as error:  # before it was answered, and whoever asks must not wait for ever
            self._failure = error
            release(taker.answered)


def fitting(
    walk: Callable[[Sequence[AnySlab]], list[Walked]], slabs: Sequence[AnySlab], need: Callable[[AnySlab], int]
) -> list[Walked]:
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
        raise UnsupportedError(
            f"the GPU has not the {-(-need(slabs[0]) >> 20)} MB free that a slab of {slabs[0].shape} needs; "
            "use --device cpu, which gives the same bytes, or try again when the GPU has less to do"
        )
    half = len(slabs) // 2
    return fitting(walk, slabs[:half], need) + fitting(walk, slabs[half:], need)
