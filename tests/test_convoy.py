"""Calls that walk together: everybody gets what is his, is told of his own, and may leave without harm to the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, NamedTuple

import numpy as np
import pytest

from volcomp.codec.encode import encode
from volcomp.codec.place import Place, by_device, on
from volcomp.options import EncodeOptions
from volcomp.pipelines.protocol import Stopped

from .test_codec import decode, scan

pytest.importorskip("torch")

from volcomp.gpu.batcher import Batcher
from volcomp.gpu.row import device, wavefront


class Slab(NamedTuple):
    """Stands for any."""

    name: str
    shape: tuple[int, int, int] = (1, 2, 5)


class Road:
    """A walk that goes on when it may; notes who walked together."""

    def __init__(self, room: int = 1000) -> None:
        self.companies: list[str] = []
        self.may_go_on = Event()
        self.convoy: Batcher[Slab, str] = Batcher(self.walk, lambda: room)
        self.pool = ThreadPoolExecutor(8)

    def walk(self, slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        self.companies.append("".join(slab.name for slab in slabs))
        assert self.may_go_on.wait(60)
        for _ in range(5):
            done(2 * len(slabs))
        return [slab.name.upper() for slab in slabs]

    def call(self, names: str, done: Callable[[int], None] = lambda voxels: None) -> Future[list[str]]:
        """Once the first of all has set out, and another one waits."""
        first, waiting = not self.companies, len(self.convoy._waiting)
        future = self.pool.submit(self.convoy, [Slab(name) for name in names], done)
        deadline = monotonic() + 60
        while not self.may_go_on.is_set() and monotonic() < deadline:
            if len(self.companies) == 1 if first else len(self.convoy._waiting) > waiting:
                break
            sleep(0.001)
        return future


def test_who_waits_is_taken_along() -> None:
    road, told = Road(), [[], [], []]  # type: tuple[Road, list[list[int]]]
    calls = [road.call(names, told[n].append) for n, names in enumerate(("ab", "c", "def"))]
    road.may_go_on.set()
    assert [call.result(60) for call in calls] == [["A", "B"], ["C"], ["D", "E", "F"]]
    assert road.companies == ["ab", "cdef"]
    assert [sum(one) for one in told] == [20, 10, 30] and all(min(one) >= 0 for one in told)
    assert road.call("g").result(60) == ["G"] and road.companies[2:] == ["g"], "and again, once all have gone"


def test_no_more_are_taken_along_than_there_is_room_for() -> None:
    road = Road(room=30)
    calls = [road.call(names) for names in ("a", "bc", "d", "efghi", "j")]
    road.may_go_on.set()
    assert [len(call.result(60)) for call in calls] == [1, 2, 1, 5, 1]
    assert road.companies == ["a", "bcd", "efghi", "j"], (
        "in the order of the calls; one has more than there is room for"
    )


def test_who_leaves_does_not_harm_the_others() -> None:
    left = []

    def leave(voxels: int) -> None:
        left.append(voxels)
        raise KeyError("gone")

    road = Road()
    calls = [road.call("a"), road.call("b", leave), road.call("c")]
    road.may_go_on.set()
    with pytest.raises(KeyError, match="gone"):
        calls[1].result(60)
    assert calls[0].result(60) == ["A"] and calls[2].result(60) == ["C"]
    assert len(left) == 1, "and is told no more"


def test_a_walk_that_all_have_left_ends() -> None:
    ended: list[BaseException] = []

    def walk(slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        try:
            done(1)
        except BaseException as error:
            ended.append(error)
            raise
        return []

    def leave(voxels: int) -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        Batcher(walk, lambda: 100)([Slab("a")], leave)
    assert [type(error) for error in ended] == [Stopped]


def test_a_walk_that_fails_fails_for_all_of_it_and_no_more() -> None:
    road = Road()
    calls = [road.call("a"), road.call("b"), road.call("c")]
    walk = road.convoy._run

    def broken(slabs: Sequence[Slab], done: Callable[[int], None]) -> list[str]:
        raise ValueError("broken")

    road.convoy._run = broken
    road.may_go_on.set()
    assert calls[0].result(60) == ["A"]
    for call in calls[1:]:
        with pytest.raises(ValueError, match="broken"):
            call.result(60)
    road.convoy._run = walk
    assert road.call("d").result(60) == ["D"]


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device cannot be asked for room, or no thread be had."""
    road = Road()

    def broken() -> int:
        raise RuntimeError("no device")

    road.convoy._capacity = broken
    calls = [road.call(name) for name in "abc"]
    road.may_go_on.set()
    assert [call.result(60) for call in calls] == [["A"], ["B"], ["C"]] and road.companies == ["a", "b", "c"]

    def none_left(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", none_left)
    assert road.convoy([Slab("d")], lambda voxels: None) == ["D"]


def check_together(
    monkeypatch: pytest.MonkeyPatch, model: str, times: int, *, where: str = "auto", place: Place = by_device
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
    companies: dict[str, list[int]] = {"predict_slabs": [], "decode_slabs": []}

    def noting(way: str) -> Callable[..., Any]:
        walk = getattr(wavefront, way)

        def noted(slabs: Sequence[Any], *rest: Any) -> Any:
            companies[way].append(len(slabs))
            return walk(slabs, *rest)

        return noted

    for way in companies:
        monkeypatch.setattr(wavefront, way, noting(way))
    told = [0] * 8

    def work(n: int) -> None:
        def tell(voxels: int) -> None:
            told[n] += voxels

        k = n // 2
        if n % 2:
            back = decode(*expected[k], place=place, progress=tell, device=where)
            assert back.dtype == volumes[k].dtype and np.array_equal(back, volumes[k])
        else:
            options = EncodeOptions(model, device=where)
            assert encode(volumes[k], options, place=place, progress=tell) == expected[k]

    work(0), work(1)  # whatever is compiled or checked first
    told[:2] = 0, 0
    for _ in range(times):  # who comes when is chance
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert told == [times * volumes[n // 2].size for n in range(8)]
    assert all(max(sizes) > 1 for sizes in companies.values()), "some walked together"


@pytest.mark.parametrize("model", ["fast", "base"])
def test_volumes_walk_together_and_are_what_they_are_alone(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setattr(device, "check", lambda made: None)
    check_together(monkeypatch, model, 4, place=on("cpu", "torch"))
