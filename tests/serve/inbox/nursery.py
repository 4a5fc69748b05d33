"""Run an inbox again and again, kill it at another moment each time, and look at what is left.

    python -m tests.serve.inbox.nursery FOLDER STEPS TIMES SEED

A process that has imported everything forks a child for each moment, and one that checks what the child left. A child
is killed at one of its steps (a file opened to be written, synchronized, linked, renamed or removed; a folder made or
removed), as many as are asked for, evenly spaced; or after a random time, likewise.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from tests.helpers import ONE
from tests.serve.inbox.conftest import Served
from tests.serve.makers import packed, study, uid
from volcomp.archive.restore import verify
from volcomp.serve.store.query import Level, Query

SERIES, SLICES = 2, 3
COUNT = SERIES * SLICES
_EVENTS = ("os.link", "os.remove", "os.rename", "os.mkdir", "os.rmdir")


class Steps:
    """Counts the steps of this process, and kills it before one of them."""

    def __init__(self, last: int | None) -> None:
        self.count, self._last, self._lock = 0, last, Lock()
        genuine = os.fsync

        def fsync(descriptor: int) -> None:
            self.step()
            genuine(descriptor)

        os.fsync = fsync
        sys.addaudithook(self._heard)

    def step(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _EVENTS or writes:
            self.step()


def files(folder: Path) -> list[Path]:
    """What is handed in: of each series the last instance at the end, when the others are packed perhaps."""
    found = sorted((folder / "in").rglob("*.dcm"))
    return sorted(found, key=lambda path: (path.name == f"IM{SLICES - 1:03d}.dcm", path))


def live(folder: Path, source: Path) -> None:
    """Hand in all, and note what was taken; end when all is packed."""
    one = Served(folder / "root", quiet=0.01)
    with (folder / "taken").open("a") as taken:
        for path in files(source):
            assert one.receive(path) == 0
            taken.write(f"{path.relative_to(source / 'in')}\n")
            taken.flush()
            time.sleep(0.01)
    one.until(lambda state: state["packed"]["instances"] == COUNT)
    one.close()


def check(folder: Path, source: Path) -> None:
    """What was taken is there byte for byte, once; also when all is packed, and then nothing else is left."""
    sent = {uid("Alpha", s, i): path for s in range(SERIES) for i, path in enumerate(in_series(source, s))}
    noted = folder / "taken"
    taken = {source / "in" / name for name in noted.read_text().split("\n")[:-1]} if noted.exists() else set()
    one = Served(folder / "root", quiet=0.01)
    for waited in (False, True):
        if waited:
            one.until(lambda state: state["packs"] and not (state["waiting"] or state["packing"] or left(folder)))
        one.store.refresh()
        found = [row["00080018"]["Value"][0] for row in one.store.search(Query(Level.INSTANCES)).results]
        assert len(found) == len(set(found)) and set(found) <= set(sent), "an instance is there twice"
        for sop, path in sent.items():
            assert sop in found or path not in taken, f"{path.name} was taken and is lost"
        for instance in one.store.instances(uid("Alpha")) if found else ():
            assert one.store.file(instance) == sent[instance.sop].read_bytes()
            if waited:
                assert instance.archive, "it was not packed"
                assert len(one.store.everywhere(instance.sop)) == 1, "it was packed twice"
    one.close()
    assert not (rest := [*left(folder), *leftovers(folder)]), rest
    assert not one.store.damaged()


def in_series(source: Path, s: int) -> list[Path]:
    return sorted((source / "in" / f"series{s}").iterdir())


def left(folder: Path) -> list[Path]:
    return list((folder / "root").rglob("*.dcm"))


def leftovers(folder: Path) -> list[Path]:
    own = folder / "root" / ".volcomp"
    places = (own / "packing", own / "inbox" / ".volcomp" / "incoming", own / "inbox" / ".volcomp" / "conflicts")
    found = [path for place in places for path in place.rglob("*") if path.is_file()]
    return found + list((folder / "root").rglob("*.part"))


def forked(work: Callable[[], None]) -> int:
    """Do work in a child; return its process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def one_moment(folder: Path, source: Path, step: int | None, seconds: float | None) -> tuple[bool, int, float]:
    """Live until a moment, then check; return whether it was killed, its steps where it was not, and the time."""
    folder.mkdir()

    def counted() -> None:
        steps = Steps(step)
        live(folder, source)
        (folder / "steps").write_text(str(steps.count))

    began = time.monotonic()
    child = forked(counted)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    took = time.monotonic() - began
    killed = os.WIFSIGNALED(status)
    assert killed or status == 0, "it failed by itself"
    _, status = os.waitpid(forked(lambda: check(folder, source)), 0)
    assert status == 0, f"after step {step} or {seconds} s"
    noted = folder / "steps"
    return killed, int(noted.read_text()) if noted.exists() else 0, took


def main(folder: Path, steps: int, times: int, seed: int) -> None:
    """Print how many steps a life has, and how many children were killed."""
    study(folder / "in", "Alpha", series=SERIES, slices=SLICES)
    packed(folder / "in", folder / "warm" / "x.vcz")  # so that compiled code is loaded once, for all children
    verify(folder / "warm" / "x.vcz", ONE)
    _, count, took = one_moment(folder / "whole", folder, None, None)
    rng = random.Random(seed)
    moments: list[tuple[int | None, float | None]] = [(1 + k * count // steps, None) for k in range(steps)]
    moments += [(None, rng.uniform(0, took)) for _ in range(times)]
    killed = 0
    for k, (step, seconds) in enumerate(moments):
        killed += one_moment(folder / str(k), folder, step, seconds)[0]
    print(count, killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
