"""Calls that share runs: each gets its own results and progress, and may end without harm to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.codec.test_codec import decode, scan
from volcomp.codec.encode import encode
from volcomp.codec.engines import EngineChoice, by_device, on
from volcomp.options import EncodeOptions
from volcomp.pipelines.protocol import Stopped

pytest.importorskip("torch")

from volcomp.gpu.batcher import Batcher
from volcomp.gpu.row import device, wavefront


class Slab(NamedTuple):
    """Stands for any."""

    name: str
    shape: tuple[int, int, int] = (1, 2, 5)


class FakeDevice:
    """A run that continues when `may_go_on` is set; `runs` notes the slabs of each run."""

    def __init__(self, capacity: int = 1000) -> None:
        self.runs: list[str] = []
        self.may_go_on = Event()
        self.batcher: Batcher[Slab, str] = Batcher(self.run, lambda: capacity)
        self.pool = ThreadPoolExecutor(8)

    def run(self, slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        self.runs.append("".join(slab.name for slab in slabs))
        assert self.may_go_on.wait(900)
        for _ in range(5):
            done(2 * len(slabs))
        return [slab.name.upper() for slab in slabs]

    def call(self, names: str, done: Callable[[int], None] = lambda voxels: None) -> Future[list[str]]:
        """Call from another thread; returns once this call runs (the first) or waits (the others)."""
        first, waiting = not self.runs, len(self.batcher._waiting)
        future = self.pool.submit(self.batcher, [Slab(name) for name in names], done)
        deadline = monotonic() + 900
        while not self.may_go_on.is_set() and monotonic() < deadline:
            if len(self.runs) == 1 if first else len(self.batcher._waiting) > waiting:
                break
            sleep(0.001)
        return future


def test_the_next_run_has_all_waiting_calls() -> None:
    fake, reported = FakeDevice(), [[], [], []]  # type: tuple[FakeDevice, list[list[int]]]
    calls = [fake.call(names, reported[n].append) for n, names in enumerate(("ab", "c", "def"))]
    fake.may_go_on.set()
    assert [call.result(60) for call in calls] == [["A", "B"], ["C"], ["D", "E", "F"]]
    assert fake.runs == ["ab", "cdef"]
    assert [sum(one) for one in reported] == [20, 10, 30] and all(min(one) >= 0 for one in reported)
    assert fake.call("g").result(60) == ["G"] and fake.runs[2:] == ["g"], "and again, once all have ended"


def test_a_run_has_no_more_voxels_than_the_capacity() -> None:
    fake = FakeDevice(capacity=30)
    calls = [fake.call(names) for names in ("a", "bc", "d", "efghi", "j")]
    fake.may_go_on.set()
    assert [len(call.result(60)) for call in calls] == [1, 2, 1, 5, 1]
    assert fake.runs == ["a", "bcd", "efghi", "j"], "in the order of the calls; one exceeds the capacity"


def test_a_call_that_ends_does_not_harm_the_others() -> None:
    left = []

    def leave(voxels: int) -> None:
        left.append(voxels)
        raise KeyError("gone")

    fake = FakeDevice()
    calls = [fake.call("a"), fake.call("b", leave), fake.call("c")]
    fake.may_go_on.set()
    with pytest.raises(KeyError, match="gone"):
        calls[1].result(60)
    assert calls[0].result(60) == ["A"] and calls[2].result(60) == ["C"]
    assert len(left) == 1, "and gets no more progress"


def test_a_run_ends_once_all_its_calls_have_ended() -> None:
    ended: list[BaseException] = []

    def run(slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        try:
            done(1)
        except BaseException as error:
            ended.append(error)
            raise
        return []

    def leave(voxels: int) -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        Batcher(run, lambda: 100)([Slab("a")], leave)
    assert [type(error) for error in ended] == [Stopped]


def test_a_failure_concerns_the_calls_of_its_run_alone() -> None:
    fake = FakeDevice()
    calls = [fake.call("a"), fake.call("b"), fake.call("c")]
    run = fake.batcher._run

    def broken(slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        raise ValueError("broken")

    fake.batcher._run = broken
    fake.may_go_on.set()
    assert calls[0].result(60) == ["A"]
    for call in calls[1:]:
        with pytest.raises(ValueError, match="broken"):
            call.result(60)
    fake.batcher._run = run
    assert fake.call("d").result(60) == ["D"]


def test_no_call_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device cannot state its capacity, or no thread can be started."""
    fake = FakeDevice()

    def broken() -> int:
        raise RuntimeError("no device")

    fake.batcher._capacity = broken
    calls = [fake.call(name) for name in "abc"]
    fake.may_go_on.set()
    assert [call.result(60) for call in calls] == [["A"], ["B"], ["C"]] and fake.runs == ["a", "b", "c"]

    def none_left(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", none_left)
    assert fake.batcher([Slab("d")], lambda voxels: None) == ["D"]


def check_together(
    monkeypatch: pytest.MonkeyPatch, model: str, times: int, *, where: str = "auto", engine: EngineChoice = by_device
) -> None:
    """Volumes of several shapes, depths, ranges and types, in both directions at once, on that device."""
    random = np.random.default_rng(0)
    volumes = [
        scan((5, 9, 14)),
        scan((12, 6, 5))[::-1] // 7,
        random.integers(0, 60_000, (3, 4, 5)).astype("<u2"),
        random.integers(-5, 90, (1, 11, 3)).astype("i1"),
    ]
    expected = [encode(voxels, EncodeOptions(model, device="cpu")) for voxels in volumes]
    runs: dict[str, list[int]] = {"predict_slabs": [], "decode_slabs": []}

    def noting(way: str) -> Callable[..., Any]:
        run = getattr(wavefront, way)

        def noted(slabs: Sequence[Any], *rest: Any) -> Any:
            runs[way].append(len(slabs))
            return run(slabs, *rest)

        return noted

    for way in runs:
        monkeypatch.setattr(wavefront, way, noting(way))
    reported = [0] * 8

    def work(n: int) -> None:
        def report(voxels: int) -> None:
            reported[n] += voxels

        k = n // 2
        if n % 2:
            back = decode(*expected[k], engine=engine, progress=report, device=where)
            assert back.dtype == volumes[k].dtype and np.array_equal(back, volumes[k])
        else:
            options = EncodeOptions(model, device=where)
            assert encode(volumes[k], options, engine=engine, progress=report) == expected[k]

    work(0), work(1)  # compiles and checks
    reported[:2] = 0, 0
    for _ in range(times):  # the order of calls is random
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert reported == [times * volumes[n // 2].size for n in range(8)]
    assert all(max(sizes) > 1 for sizes in runs.values()), "some shared runs"


@pytest.mark.parametrize("model", ["fast", "base"])
def test_volumes_that_share_runs_have_the_same_bytes_as_alone(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setattr(device, "check", lambda made: None)
    check_together(monkeypatch, model, 4, engine=on("cpu", "torch"))
