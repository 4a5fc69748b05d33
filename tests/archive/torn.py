"""Tear writes: run a flow once for every call of the system that writes, and let that call kill the process or fail.

Run as a program, since it forks, which a process with threads must not. Prints a line of JSON: how many points the flow
has by the name of the call, and a sentence for every point after which something was lost.
"""

import builtins
import errno
import io
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from volcomp.archive.append import append
from volcomp.archive.pack import compress
from volcomp.archive.restore import restore
from volcomp.errors import VolcompError
from volcomp.options import DecodeOptions, EncodeOptions

GOLDEN = Path(__file__).parent / "golden" / "0.9.0-archive.vcz"
CALLS = (
    "open", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "symlink", "link", "utime", "chmod", "chown",
    "fsync", "truncate",
)  # fmt: skip
KILL, FULL, BROKEN = "kill", "full", "broken"  # no more is done; all writing fails from now on; this call fails
WAYS = (KILL, FULL, BROKEN)


class Tearing:
    """Counts the calls that write, and tears one of them."""

    def __init__(self, at: int, way: str) -> None:
        self.at, self.way, self.lock = at, way, Lock()
        self.calls: list[str] = []

    def point(self, name: str, half: Callable[[], object] = lambda: None) -> None:
        """Count a call; `half` does a part of it."""
        with self.lock:  # files are made durable by several threads
            self.calls.append(name)
            number = len(self.calls)
        if self.way == KILL and number == self.at:
            half()
            os._exit(9)
        if self.way == BROKEN and number == self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        # A full disk lets files be removed, renamed and changed in what they have.
        if self.way == FULL and 0 < self.at <= number and name in ("open", "write", "fsync", "mkdir", "symlink"):
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self) -> None:
        """Take the place of the functions of `os` and `io`, for the rest of this process."""
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        genuine, tearing = io.open, self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                tearing.point("write", lambda: io.FileIO.write(self, memoryview(data)[: len(data) // 2]))
                return super().write(data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
            if not set(mode) & set("wxa+") or "b" not in mode:
                return genuine(file, mode, buffering, *rest, **more)
            if not more.get("opener"):
                tearing.point("open")
            raw = Raw(file, mode.replace("b", ""), opener=more.get("opener"))
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

        io.open = builtins.open = opened

    def _counted(self, name: str, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.point(name)
            return genuine(*arguments, **options)

        return call


def tree(folder: Path) -> dict[str, str]:
    """Return what a folder holds, by name, leftovers included."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link " + os.readlink(path) if path.is_symlink() else "folder" if path.is_dir() else None
        found[path.relative_to(folder).as_posix()] = kind or path.read_bytes().hex()
    return found


def inputs(folder: Path) -> Path:
    """Make a folder with all kinds of entries, and fixed times."""
    (folder / "sub").mkdir(parents=True)
    (folder / "hollow").mkdir()
    (folder / "note").write_bytes(b"note " * 5000)
    (folder / "sub" / "copy").write_bytes(b"note " * 5000)
    (folder / "sub" / "other").write_bytes(random.Random(0).randbytes(20000))
    (folder / "sub" / "link").symlink_to("other")
    for path in folder.rglob("*"):
        os.utime(path, (1, 2), follow_symlinks=False)
    return folder


def prepared(place: Path) -> dict[str, Callable[[Path], object]]:
    """Make what all flows need; return the flows, each of which works in a folder that `begin` has filled."""
    inputs(place / "in")
    encode, decode = EncodeOptions(threads=1), DecodeOptions(threads=1)
    compress([place / "in"], place / "in.vcz", encode)
    (place / "more").write_bytes(b"more")
    return {
        "compress": lambda here: compress([place / "in"], here / "x.vcz", encode),
        "compress-force": lambda here: compress([place / "in"], here / "old.vcz", encode, force=True),
        "compress-link": lambda here: compress([place / "in"], here / "link.vcz", encode, force=True),
        "append": lambda here: append(here / "old.vcz", [place / "in"], encode),
        "append-upgrade": lambda here: append(here / "golden.vcz", [place / "in", place / "more"], encode),
        "decompress": lambda here: restore(place / "in.vcz", here / "new" / "out", decode),
        "decompress-force": lambda here: restore(place / "in.vcz", here / "out", decode, force=True),
        "extract": lambda here: restore(place / "in.vcz", here / "out", decode, names=["sub/link", "hollow"]),
    }


def begin(here: Path) -> None:
    """Fill a folder with what is there before a flow."""
    shutil.rmtree(here, ignore_errors=True)
    (here / "out").mkdir(parents=True)
    (here / "out" / "note").write_bytes(b"old note")
    (here / "out" / "mine").write_bytes(b"mine")
    (here / "far").mkdir()
    shutil.copy(GOLDEN, here / "golden.vcz")
    (here / "note.txt").write_bytes(b"old")
    os.utime(here / "note.txt", (1, 2))
    compress([here / "note.txt"], here / "old.vcz", EncodeOptions(threads=1))
    (here / "note.txt").unlink()
    shutil.copy(here / "old.vcz", here / "far" / "real.vcz")
    (here / "link.vcz").symlink_to("far/real.vcz")


def run(flow: Callable[[Path], object], here: Path, at: int, way: str) -> tuple[int, list[str]]:
    """Run a flow in a process of its own: 0 done, 1 an error of ours, 2 another one, 9 killed; and the calls."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code, tearing = 0, Tearing(at, way)
        pipe = os.fdopen(write, "w")
        tearing.install()
        try:
            flow(here)
        except VolcompError as error:
            code = 1 if "\n" not in str(error) else 2
        except BaseException:
            traceback.print_exc()
            code = 2
        pipe.write(json.dumps(tearing.calls))
        pipe.flush()
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        calls = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(calls or "[]")


def is_part(name: str) -> bool:
    """Return whether a name is that of unfinished work."""
    return any(piece.startswith(".") and piece.endswith(".part") for piece in name.split("/"))


def main(name: str) -> None:
    """Tear every call of a flow in every way."""
    memory = "/dev/shm"  # where nothing waits for a disk
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        place, here = Path(folder) / "place", Path(folder) / "here"
        place.mkdir()
        flow = prepared(place)[name]
        begin(here)
        before = tree(here)
        code, calls = run(flow, here, 0, KILL)
        after = tree(here)
        assert code == 0 and before != after and not any(map(is_part, after))
        wrong: list[str] = []
        tried = leftovers = 0
        for at in range(1, len(calls) + 1):
            for way in WAYS:
                begin(here)
                code, _ = run(flow, here, at, way)
                tried += 1
                found = tree(here)
                seen = {path: kind for path, kind in found.items() if not is_part(path)}
                leftovers += len(found) != len(seen)
                where = f"{way} at {at}, {calls[at - 1]}: "
                if code not in {KILL: (9,), FULL: (0, 1), BROKEN: (0, 1)}[way]:
                    wrong.append(f"{where}exit code {code}")
                if name in ("decompress-force", "extract"):  # file by file
                    known = all(seen[path] in (before.get(path), after.get(path)) for path in seen)
                    known = known and before.keys() <= seen.keys()
                else:
                    known = seen in (before, after, before | {"new": "folder"})  # the folder around the target
                if not known:
                    wrong.append(f"{where}the state is neither the old nor the new one")
                if way != KILL and len(found) != len(seen) and calls[at - 1] not in ("unlink", "rmdir", "chmod"):
                    wrong.append(f"{where}a leftover after an error")
                code, _ = run(flow, here, 0, KILL)
                if code not in (0, 1) or (seen != after and code):
                    wrong.append(f"{where}the next run ends with {code}")
                found = tree(here)
                if any(map(is_part, found)):
                    wrong.append(f"{where}a leftover after the next run")
                if {path: kind for path, kind in found.items() if not is_part(path)} != after:
                    wrong.append(f"{where}the next run does not complete the work")
    print(json.dumps({"calls": Counter(calls), "tried": tried, "leftovers": leftovers, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1])
