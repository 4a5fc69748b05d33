"""Groups of slabs on a device, for every kind of model: smaller groups where memory is short, two groups in decoding.

An encoder waits for nothing: the device computes all fronts. In decoding, every front waits for the entropy coder,
which has a thread per slab (`runtime/rendezvous.py`). So there are two groups (double buffering): while the device
computes a front of one, the symbols of the other are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

import torch

from ..dtypes import Int64s, Levels
from ..errors import DamagedError, UnsupportedError
from ..pipelines.protocol import Done, Stopped
from ..runtime.products import alone
from ..runtime.rendezvous import Rendezvous, release
from .device import instead

BUFFERS = 2  # groups that alternate on the device


class ShapedSlab(Protocol):
    """A slab to encode or decode."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return Z, Y, X."""
        ...


class SymbolSlab(ShapedSlab, Protocol):
    """A slab to decode."""

    @property
    def symbols(self) -> Any:
        """Return its decoder: an object with `serve`, which decodes the voxels of all fronts, and `finish`."""
        ...


class Trace(Protocol):
    """What the device and the entropy coder exchange for every voxel of a front."""

    voxel: torch.Tensor
    outputs: torch.Tensor  # of the network; contiguous, so that one copy moves them

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """Return the voxels, then each output."""
        ...

    def on_host(self) -> Trace:
        """Allocate a trace of the same size on the CPU."""
        ...


class Group(Protocol):
    """Slabs [s] that the device computes together."""

    @property
    def trace(self) -> Trace:
        """Return the trace of a front."""
        ...

    @property
    def pieces(self) -> Int64s:
        """Return int64 [f, s, 2]: the voxels of a front that belong to a slab, the first and the one after the last."""
        ...

    def levels(self, s: int) -> Levels:
        """Return the grey levels [Z, Y, X] of slab s on the CPU, once all fronts are done."""
        ...


class Steps(Protocol):
    """The computation on the device: the two steps of each front."""

    def predict(self) -> None:
        """Write the outputs for the next front to the trace."""
        ...

    def perceive(self) -> None:
        """Read the front's voxels from the trace and update the state."""
        ...


AnySlab = TypeVar("AnySlab", bound=ShapedSlab)
AnyStream = TypeVar("AnyStream", bound=SymbolSlab)
Result = TypeVar("Result")
Begin = Callable[[Sequence[AnyStream]], tuple[Group, Steps]]


def decode(
    slabs: Sequence[AnyStream], begin: Begin[AnyStream], device: torch.device, need: Callable[[AnyStream], int],
    done: Done,
) -> list[Levels | DamagedError]:  # fmt: skip
    """Decode slabs to grey levels [Z, Y, X]; a damaged slab gives a DamagedError.

    `begin` prepares a group on the device; `need` returns the bytes of device memory that a slab takes.
    """
    stop = Event()

    def unless_stopped(voxels: int) -> None:
        if stop.is_set():
            raise Stopped
        done(voxels)

    def run(group: Sequence[AnyStream]) -> list[Levels | DamagedError]:
        with own_stream(device):
            return _decode(group, begin, device, unless_stopped)

    cuts = [len(slabs) * k // BUFFERS for k in range(BUFFERS + 1)]
    halves = [slabs[a:b] for a, b in pairwise(cuts) if a < b]
    with ThreadPoolExecutor(BUFFERS, initializer=alone) as pool:
        futures = [pool.submit(fitting, run, half, need) for half in halves]
        try:
            return [result for future in futures for result in future.result()]
        except BaseException:
            stop.set()  # the other half need not finish
            raise


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """Run this thread's work on a CUDA stream of its own, so that it does not wait for other threads' work."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # which copied the network to the device
    return torch.cuda.stream(stream)


def _decode(
    slabs: Sequence[AnyStream], begin: Begin[AnyStream], device: torch.device, done: Done
) -> list[Levels | DamagedError]:
    group, steps = begin(slabs)
    host = group.trace.on_host()
    with _Consumers(slabs, group.pieces, host) as consumers:
        for size in group.pieces[:, -1, 1].tolist():
            steps.predict()
            host.outputs.copy_(group.trace.outputs, non_blocking=True)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()  # after which the last voxels have left `host` too
            consumers.serve_front()
            group.trace.voxel.copy_(host.voxel, non_blocking=True)
            steps.perceive()
            done(size)
    return [consumers.errors[s] or group.levels(s) for s in range(len(slabs))]


class _Consumers:
    """A thread per slab, which decodes the voxels of its part of every front."""

    def __init__(self, slabs: Sequence[SymbolSlab], pieces: Int64s, host: Trace) -> None:
        self.errors: list[DamagedError | None] = [None] * len(slabs)  # complete once all threads have ended
        self._slabs, self._arrays = slabs, [tensor.numpy() for tensor in host.parts]
        self._rendezvous = Rendezvous(pieces, BUFFERS * (1 + len(slabs)))
        self._failure: BaseException | None = None
        self._threads = [Thread(target=self._serve, args=(s,), daemon=True) for s in range(len(slabs))]

    def __enter__(self) -> _Consumers:
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # too many threads
            self.__exit__()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._rendezvous.end()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._rendezvous.free()

    def serve_front(self) -> None:
        """Decode the voxels of all slabs in the next front, from the outputs in the trace."""
        self._rendezvous.request()
        if self._failure is not None:
            raise self._failure

    def _serve(self, s: int) -> None:
        consumer, symbols = self._rendezvous.consumers[s], self._slabs[s].symbols
        try:
            if symbols.serve(consumer, *self._arrays):
                symbols.finish()
        except DamagedError as error:  # raised once every front has been served: it concerns this slab alone
            self.errors[s] = error
        except BaseException as error:  # before the front was served: without a release the request never ends
            self._failure = error
            release(consumer.served)


def fitting(
    run: Callable[[Sequence[AnySlab]], list[Result]], slabs: Sequence[AnySlab], need: Callable[[AnySlab], int]
) -> list[Result]:
    """Run a group of slabs; split it in two where the device has too little memory."""
    try:
        return run(slabs)
    except RuntimeError as error:  # which torch raises for every failure of a device
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
            reason = str(error).partition("\n")[0]
            raise UnsupportedError(f"the GPU failed ({reason}): {instead()}") from error
    # Outside the clause, so that nothing of the failed attempt is kept in memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(slabs) == 1:
        raise UnsupportedError(
            f"the GPU has not the {-(-need(slabs[0]) >> 20)} MB free that a slab of {slabs[0].shape} needs; "
            f"{instead()}, or try again when the GPU has less to do"
        )
    half = len(slabs) // 2
    return fitting(run, slabs[:half], need) + fitting(run, slabs[half:], need)
