"""Who walks over the slabs of a volume: threads of the CPU, each over one of them, or a GPU, over many at once.

Either way a slab is begun, walked over and ended, in order; what a beginning and an end are only the codec knows, and
it need not know who does the walk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ..encoder import linear_fit
from ..stages import linear
from ..errors import DamagedError
from ..runtime.heap import give_back
from ..runtime.cpus import cores
from ..runtime.products import alone, one_thread_each
from ..pipelines.row.slab import Team
from ..pipelines.row.wavefront import Done, Stopped

if TYPE_CHECKING:
    from ..gpu.device import Walks as DeviceWalks

Result = TypeVar("Result")
Given = TypeVar("Given")  # a slab on its way there, and
Survey = TypeVar("Survey")  # what the walk has found of it;
Opened = TypeVar("Opened")  # a slab on its way back
Slabs = Mapping[int, int]  # voxels by number
GROUP_VOXELS = 1 << 27  # of a volume that a GPU walks over at once, at most: 16 slabs of 32 slices of 512²


class Workers:
    """Threads for slabs, and for the rows of a front where there are fewer slabs than threads."""

    def __init__(self, threads: int | None, slabs: int) -> None:
        self.threads = max(1, threads or cores())
        self.slabs = max(1, min(self.threads, slabs))
        self._stop = threading.Event()
        self._helpers = self.threads // self.slabs  # threads for each slab at work
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        self._stack.enter_context(one_thread_each())
        self.pool = self._stack.enter_context(ThreadPoolExecutor(self.slabs, initializer=alone))
        helpers = self._helpers - 1
        more = ThreadPoolExecutor(helpers * self.slabs, initializer=alone) if helpers else None
        self.team = Team(self._stack.enter_context(more) if more else None, self._helpers)
        self._stack.callback(self._stop.set)
        self._stack.callback(self.pool.shutdown, wait=False, cancel_futures=True)  # of what no thread has begun
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def in_order(self, jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """The results of jobs, in order, with few of them waiting to be fetched, and none that has been held here."""
        waiting: list[Future[Result]] = []
        for job in jobs:
            waiting.append(self.pool.submit(job))
            if len(waiting) > self.slabs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def telling(self, progress: Callable[[int], None] | None) -> Done:
        """What a walk is to call: it tells the caller how far it is, and ends where the caller has gone away."""

        def done(voxels: int) -> None:
            if self._stop.is_set():
                raise Stopped
            if progress:
                progress(voxels)

        return done


class Back(Protocol):
    """The two ends of a slab's way back, for an encoder that goes it at once."""

    def begin(self, k: int, payload: bytes) -> Any:
        """What the walk begins with."""
        ...

    def end(self, k: int, opened: Any, levels: np.ndarray) -> np.ndarray:
        """The voxels of the levels that it has found; DamagedError where they are not what the payload states."""
        ...


Checked = np.ndarray | DamagedError | None  # what a payload decodes to, where that was asked for


class Engine(Protocol):
    """Begins, walks over and ends every slab; the results in ascending order."""

    def fit(self, levels: np.ndarray, widest: int, effort: int) -> linear.Weights:
        """As `least_squares.fit_by_effort`; on a thread that begins a slab."""
        ...

    def survey(
        self, slabs: Slabs, begin: Callable[[int], Given], end: Callable[[int, Survey], bytes], back: Back | None
    ) -> Iterator[tuple[bytes, Checked]]:
        """There, from slabs that are known to their payloads, and straight back again where that is asked for."""
        ...

    def restore(
        self, slabs: Slabs, begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """Back: from symbols; a DamagedError that any of the three raise is the slab's result."""
        ...


class Walks(Protocol):
    """How a kind of model walks over a slab on the CPU: `volcomp.pipelines.row.wavefront`, or `volcomp.pipelines.paper.slab`."""

    @property
    def survey(self) -> Callable[..., Any]:
        """There, from (given, network, team, done)."""
        ...

    @property
    def restore(self) -> Callable[..., np.ndarray]:
        """Back, from (opened, network, team, done)."""
        ...


class OnThreads:
    """The `Engine` of the CPU: every slab goes all its way on one thread."""

    def __init__(self, walks: Walks, network: object, workers: Workers, done: Done) -> None:
        self._walks, self._network, self._workers, self._done = walks, network, workers, done

    def fit(self, levels: np.ndarray, widest: int, effort: int) -> linear.Weights:
        """As `Engine` says."""
        return linear_fit.fit_by_effort(levels, widest, effort)

    def survey(
        self, slabs: Slabs, begin: Callable[[int], Given], end: Callable[[int, Survey], bytes], back: Back | None
    ) -> Iterator[tuple[bytes, Checked]]:
        """As `Engine` says."""

        def there(k: int) -> bytes:  # a call of its own, so that what it needs is gone before the way back begins
            return end(k, self._walks.survey(self._begun(k, begin), self._network, self._workers.team, self._done))

        def job(k: int) -> tuple[bytes, Checked]:
            payload = there(k)
            give_back()
            checked = attempt(self._back, k, payload, back) if back else None
            give_back()
            return payload, checked

        return self._workers.in_order(partial(job, k) for k in slabs)

    @staticmethod
    def _begun(k: int, begin: Callable[[int], Given]) -> Given:
        given = begin(k)
        give_back()
        return given

    def _back(self, k: int, payload: bytes, back: Back) -> np.ndarray:
        opened = back.begin(k, payload)
        return back.end(k, opened, self._walks.restore(opened, self._network, self._workers.team, self._done))

    def restore(
        self, slabs: Slabs, begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """As `Engine` says."""

        def job(k: int) -> Result:
            give_back()
            opened = begin(k)
            return end(k, opened, self._walks.restore(opened, self._network, self._workers.team, self._done))

        return self._workers.in_order(partial(attempt, job, k) for k in slabs)


class OnDevice:
    """The `Engine` of a GPU: it walks over as many slabs at once as its memory has room for; threads begin and end
    them."""

    def __init__(self, walks: DeviceWalks, workers: Workers, done: Done) -> None:
        self._walks, self._workers, self._done = walks, workers, done

    def fit(self, levels: np.ndarray, widest: int, effort: int) -> linear.Weights:
        """As `Engine` says."""
        from ..gpu import normal_equations

        return normal_equations.fit(levels, widest, effort, self._walks.network.device)

    def survey(
        self, slabs: Slabs, begin: Callable[[int], Given], end: Callable[[int, Survey], bytes], back: Back | None
    ) -> Iterator[tuple[bytes, Checked]]:
        """As `Engine` says."""
        from ..gpu.device import GIVEN_BYTES

        for numbers in self._groups(slabs, GIVEN_BYTES):
            given = [*self._workers.in_order(partial(begin, k) for k in numbers)]
            surveys = self._walks.survey(given, self._done)
            del given
            payloads = self._workers.in_order(partial(end, *one) for one in zip(numbers, surveys, strict=True))
            if not back:
                yield from ((payload, None) for payload in payloads)
                continue
            coded = dict(zip(numbers, payloads, strict=True))
            yield from zip(coded.values(), self._restore(numbers, partial(_reopen, back, coded), back.end), strict=True)

    def restore(
        self, slabs: Slabs, begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """As `Engine` says."""
        from ..gpu.device import OPENED_BYTES

        for numbers in self._groups(slabs, OPENED_BYTES):
            yield from self._restore(numbers, begin, end)

    def _restore(
        self, numbers: list[int], begin: Callable[[int], Opened], end: Callable[[int, Opened, np.ndarray], Result]
    ) -> Iterator[Result | DamagedError]:
        """`restore` of a group."""
        opened = [*self._workers.in_order(partial(attempt, begin, k) for k in numbers)]
        whole = [one for one in opened if not isinstance(one, DamagedError)]
        levels = iter(self._walks.restore(whole, self._done) if whole else [])
        walked = [(one, one if isinstance(one, DamagedError) else next(levels)) for one in opened]

        def finish(k: int, one: Opened | DamagedError, found: np.ndarray | DamagedError) -> Result:
            if isinstance(one, DamagedError):
                raise one
            if isinstance(found, DamagedError):
                raise found
            return end(k, one, found)

        jobs = [partial(attempt, finish, k, *pair) for k, pair in zip(numbers, walked, strict=True)]
        yield from self._workers.in_order(jobs)

    def has_room(self, slabs: Slabs) -> bool:
        """Whether the device's memory has room for each of the slabs now."""
        from ..gpu.device import GIVEN_BYTES

        return max(slabs.values()) <= self._walks.room(GIVEN_BYTES)

    def _groups(self, slabs: Slabs, bytes_per_voxel: int) -> Iterator[list[int]]:
        """Numbers of slabs that are walked over at once."""
        room = self._walks.room(bytes_per_voxel, GROUP_VOXELS)
        group: list[int] = []
        voxels = 0
        for k, size in slabs.items():
            if group and voxels + size > room:
                yield group
                group, voxels = [], 0
            group.append(k)
            voxels += size
        if group:
            yield group


def _reopen(back: Back, payloads: Mapping[int, bytes], k: int) -> Any:
    return back.begin(k, payloads[k])


def attempt(work: Callable[..., Result], *arguments: object) -> Result | DamagedError:
    """What the work returns, or the DamagedError that it raises."""
    try:
        return work(*arguments)
    except DamagedError as error:
        return error
