"""Engines, which predict and decode the slabs of a volume: threads of the CPU, one slab each, or a GPU, many at once;
and the choice of one.

Every engine begins, works on and ends slabs in order. The callers define what to do at the beginning and at the end of
a slab; they do not depend on the engine. No byte depends on it either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from ..encoder import linear_fit
from ..errors import DamagedError, UnsupportedError
from ..models import Model
from ..pipelines.protocol import Done, Levels, Stopped
from ..pipelines.registry import Ready, SomeInput, SomeNetwork, SomePredictions, SomeStream, ready
from ..progress import heed_interrupts
from ..runtime.cpus import cores
from ..runtime.heap import give_back
from ..runtime.products import alone, one_thread_each
from ..runtime.team import Team
from ..stages import linear

if TYPE_CHECKING:
    from ..gpu.device import Device

    SomeDevice = Device[SomeInput, SomePredictions, SomeStream]

Result = TypeVar("Result")
Voxels = np.ndarray  # of a slab [z, Y, X], of the volume's dtype
Sizes = Mapping[int, int]  # voxels of slabs, by number
Decoded = Voxels | DamagedError
LARGE = 1 << 23  # voxels of `row`; for fewer, starting a GPU takes longer than it saves, some seconds
GROUP_VOXELS = 1 << 27  # most voxels of a volume that a GPU works on at once: 16 slabs of 32 slices of 512²


class Workers:
    """Threads for slabs, and for the rows of a front if there are fewer slabs than threads."""

    def __init__(self, threads: int | None, slabs: int) -> None:
        self.threads = max(1, threads or cores())
        self.slabs = max(1, min(self.threads, slabs))
        self._stop = threading.Event()
        self._helpers = self.threads // self.slabs  # threads per slab at work
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        self._stack.enter_context(one_thread_each())
        self.pool = self._stack.enter_context(ThreadPoolExecutor(self.slabs, initializer=alone))
        helpers = self._helpers - 1
        more = ThreadPoolExecutor(helpers * self.slabs, initializer=alone) if helpers else None
        self.team = Team(self._stack.enter_context(more) if more else None, self._helpers)
        self._stack.callback(self._stop.set)
        self._stack.callback(self.pool.shutdown, wait=False, cancel_futures=True)  # jobs that no thread has started
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def in_order(self, jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """Run jobs and yield their results in order. Few results wait to be fetched, and none is kept after that."""
        waiting: list[Future[Result]] = []
        for job in jobs:
            heed_interrupts()
            waiting.append(self.pool.submit(job))
            if len(waiting) > self.slabs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def reporting(self, progress: Callable[[int], None] | None) -> Done:
        """Return the function by which the work on a slab reports progress. It raises `Stopped` once the caller has
        left the context of these workers."""

        def done(voxels: int) -> None:
            if self._stop.is_set():
                raise Stopped
            if progress:
                progress(voxels)

        return done


class Ends(Protocol):
    """The steps before and after the decoding of a slab."""

    def begin(self, k: int, payload: bytes) -> SomeStream:
        """Open a payload."""
        ...

    def end(self, k: int, levels: Levels) -> Voxels:
        """Turn levels into voxels. Raises DamagedError where they do not have the checksum of the payload."""
        ...


class Engine(Protocol):
    """Begins, works on and ends every slab, and yields the results in ascending order.

    device   for the fine-tuning of a model, by torch's name
    """

    device: str

    def fit(self, levels: Levels, runs: int, effort: int, reference: Levels | None = None) -> linear.LinearWeights:
        """Fit a linear stage; see `linear_fit.fit_by_effort`. Called by a thread that begins a slab."""
        ...

    def encode(
        self, slabs: Sizes, begin: Callable[[int], SomeInput], end: Callable[[int, SomePredictions], bytes],
        check: Ends | None,
    ) -> Iterator[tuple[bytes, Decoded | None]]:  # fmt: skip
        """Encode slabs, and decode each payload at once if there is a `check`."""
        ...

    def decode(self, slabs: Sizes, payload: Callable[[int], bytes], ends: Ends) -> Iterator[Decoded]:
        """Decode payloads. A DamagedError becomes the result of its slab."""
        ...


class OnThreads:
    """The engine of the CPU. One thread does all the work on a slab."""

    device = "cpu"

    def __init__(self, network: SomeNetwork, workers: Workers, done: Done) -> None:
        self._network, self._workers, self._done = network, workers, done

    def fit(self, levels: Levels, runs: int, effort: int, reference: Levels | None = None) -> linear.LinearWeights:
        """Fit a linear stage on the CPU."""
        return linear_fit.fit_by_effort(levels, runs, effort, reference)

    def encode(
        self, slabs: Sizes, begin: Callable[[int], SomeInput], end: Callable[[int, SomePredictions], bytes],
        check: Ends | None,
    ) -> Iterator[tuple[bytes, Decoded | None]]:  # fmt: skip
        """Encode slabs, as many at once as there are workers; see `Engine.encode`."""

        def encoded(k: int) -> bytes:  # a function of its own, so that its memory is free before decoding begins
            return end(k, self._network.predict(self._begun(k, begin), self._workers.team, self._done))

        def job(k: int) -> tuple[bytes, Decoded | None]:
            payload = encoded(k)
            give_back()
            decoded = attempt(self._decoded, k, payload, check) if check else None
            give_back()
            return payload, decoded

        return self._workers.in_order(partial(job, k) for k in slabs)

    @staticmethod
    def _begun(k: int, begin: Callable[[int], SomeInput]) -> SomeInput:
        slab = begin(k)
        give_back()
        return slab

    def _decoded(self, k: int, payload: bytes, ends: Ends) -> Voxels:
        return ends.end(k, self._network.decode(ends.begin(k, payload), self._workers.team, self._done))

    def decode(self, slabs: Sizes, payload: Callable[[int], bytes], ends: Ends) -> Iterator[Decoded]:
        """Decode slabs, as many at once as there are workers; see `Engine.decode`."""

        def job(k: int) -> Voxels:
            give_back()
            return self._decoded(k, payload(k), ends)

        return self._workers.in_order(partial(attempt, job, k) for k in slabs)


class OnDevice:
    """The engine of a GPU, which works on as many slabs at once as fit its memory. Threads begin and end them."""

    def __init__(self, name: str, device: SomeDevice, workers: Workers, done: Done) -> None:
        self.device = name
        self._device, self._workers, self._done = device, workers, done

    def fit(self, levels: Levels, runs: int, effort: int, reference: Levels | None = None) -> linear.LinearWeights:
        """Fit a linear stage on the GPU."""
        from ..gpu import normal_equations

        return normal_equations.fit(levels, runs, effort, self._device.name, reference)

    def encode(
        self, slabs: Sizes, begin: Callable[[int], SomeInput], end: Callable[[int, SomePredictions], bytes],
        check: Ends | None,
    ) -> Iterator[tuple[bytes, Decoded | None]]:  # fmt: skip
        """Encode slabs, group by group; see `Engine.encode`."""
        for numbers in self._groups(slabs, self._device.input_bytes):
            inputs = [*self._workers.in_order(partial(begin, k) for k in numbers)]
            predictions = self._device.predict(inputs, self._done)
            del inputs
            payloads = self._workers.in_order(partial(end, *one) for one in zip(numbers, predictions, strict=True))
            if not check:
                yield from ((payload, None) for payload in payloads)
                continue
            coded = dict(zip(numbers, payloads, strict=True))
            yield from zip(coded.values(), self._decode(numbers, coded.__getitem__, check), strict=True)

    def decode(self, slabs: Sizes, payload: Callable[[int], bytes], ends: Ends) -> Iterator[Decoded]:
        """Decode slabs, group by group; see `Engine.decode`."""
        for numbers in self._groups(slabs, self._device.stream_bytes):
            yield from self._decode(numbers, payload, ends)

    def _decode(self, numbers: list[int], payload: Callable[[int], bytes], ends: Ends) -> Iterator[Decoded]:
        """Decode a group of slabs."""

        def begin(k: int) -> SomeStream:
            return ends.begin(k, payload(k))

        opened = [*self._workers.in_order(partial(attempt, begin, k) for k in numbers)]
        whole = [one for one in opened if not isinstance(one, DamagedError)]
        found = iter(self._device.decode(whole, self._done) if whole else [])
        levels = [one if isinstance(one, DamagedError) else next(found) for one in opened]
        del opened, whole

        def end(k: int, found: Levels | DamagedError) -> Voxels:
            if isinstance(found, DamagedError):
                raise found
            return ends.end(k, found)

        yield from self._workers.in_order([partial(attempt, end, *one) for one in zip(numbers, levels, strict=True)])

    def has_room(self, slabs: Sizes) -> bool:
        """Return whether each of the slabs fits the free memory of the device."""
        return max(slabs.values()) <= self._device.capacity(self._device.input_bytes)

    def _groups(self, slabs: Sizes, bytes_per_voxel: int) -> Iterator[list[int]]:
        """Yield the numbers of slabs that are worked on at once."""
        capacity = self._device.capacity(bytes_per_voxel, GROUP_VOXELS)
        group: list[int] = []
        voxels = 0
        for k, size in slabs.items():
            if group and voxels + size > capacity:
                yield group
                group, voxels = [], 0
            group.append(k)
            voxels += size
        if group:
            yield group


def attempt(work: Callable[..., Result], *arguments: object) -> Result | DamagedError:
    """Return the result of the work, or the DamagedError that it raises."""
    try:
        return work(*arguments)
    except DamagedError as error:
        return error


# Chooses the engine for a model, `--device`, and slabs; it works with these threads and reports progress.
EngineChoice = Callable[[Ready, str, Sizes, Workers, Done], Engine]


def by_device(made: Ready, device: str, slabs: Sizes, workers: Workers, done: Done) -> Engine:
    """Choose by `--device`. Raises UnsupportedError for "cuda" if no GPU can do the work."""
    if _takes_gpu(device, sum(slabs.values()) * made.pipeline.work):
        found = _on_device(made.model, made.weight_delta, "cuda", "")
        if not isinstance(found, UnsupportedError):
            engine = OnDevice("cuda", found, workers, done)
            if device == "cuda" or engine.has_room(slabs):
                return engine
        elif device == "cuda":
            raise found
    return OnThreads(made.network, workers, done)


def by_reference(made: Ready, device: str, slabs: Sizes, workers: Workers, done: Done) -> Engine:
    """Choose the reference, the slow code that defines a model."""
    return OnThreads(made.reference, workers, done)


def on(torch_device: str, way: str) -> EngineChoice:
    """Choose a device by torch's name, whatever `--device` says, and one implementation of the GPU code: "torch" or
    "triton". On "cpu", the CPU runs the code for GPUs."""

    def choice(made: Ready, device: str, slabs: Sizes, workers: Workers, done: Done) -> Engine:
        found = _on_device(made.model, made.weight_delta, torch_device, way)
        if isinstance(found, UnsupportedError):
            raise found
        return OnDevice("cpu:0" if torch_device == "cpu" else torch_device, found, workers, done)

    return choice


def referring(choice: EngineChoice) -> EngineChoice:
    """Return a choice like another one for slabs that may refer to another time point, which only the CPU codes."""

    def on_cpu(made: Ready, device: str, slabs: Sizes, workers: Workers, done: Done) -> Engine:
        found = choice(made, "cpu" if device in ("auto", "cuda") else device, slabs, workers, done)
        return OnThreads(made.network, workers, done) if isinstance(found, OnDevice) else found

    return on_cpu


@lru_cache(maxsize=8)
def _on_device(model: Model, weight_delta: bytes, device: str, way: str) -> SomeDevice | UnsupportedError:
    """Load a model on a device. Return the error if it does not compute the reference's numbers there."""
    from ..gpu.device import on_device

    try:
        return on_device(model.pipeline, ready(model, weight_delta).weights, device, way)
    except UnsupportedError as error:
        return error


def _takes_gpu(device: str, work: int) -> bool:
    """Return whether work, in voxels of `row`, should go to a GPU; for "auto" if there is one and work enough."""
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and work < LARGE):
        return False
    from ..gpu.device import may_be_there, missing

    if device == "auto" and not may_be_there():
        return False
    reason = missing()
    if reason and device == "cuda":
        raise UnsupportedError(reason)
    return reason is None
