"""A process that does one job after another, so that a job can be stopped, and cannot take the server with it.

It reads a job as a line of JSON from standard input, writes lines with its progress and its end to standard output,
and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
import zipfile
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from ... import files as archives
from ...errors import DamagedError, VolcompError
from ...progress import report_to, silence
from . import coding
from .downloads import safe_path, unique
from .refusal import CONTENT, EMPTY, LARGE, Refusal
from .unzip import Limits, extract

_STEP = 0.1  # seconds between two lines of progress
_LISTED = 500  # files of an archive that are named


def main() -> int:
    """Work until the input ends."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    silence()
    with suppress(OSError, AttributeError):
        os.nice(5)  # after those who look at pictures
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    _say(lines, {"ready": True})
    while line := orders.get():
        _say(lines, _answer(json.loads(line), lines))
    return 0


def _listen(orders: SimpleQueue[str]) -> None:
    """Hand on orders; end the process, in the middle of a job too, when the server is gone."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


def _say(lines: TextIO, facts: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):
        lines.write(json.dumps(facts) + "\n")
        lines.flush()


def _answer(order: dict[str, Any], lines: TextIO) -> dict[str, Any]:
    """Do a job; return how it ended."""
    report = _Report(lines)
    report_to(report)
    try:
        _bound_files(order["limits"]["bytes"])
        return {"done": _KINDS[order["kind"]](order, report)}
    except Refusal as refusal:
        return {"failed": refusal.facts()}
    except VolcompError as error:
        sentence = str(error)
        for path in (f"{order['folder']}/in/", f"{order['folder']}/", order["folder"]):
            sentence = sentence.replace(path, "")
        return {"failed": Refusal(sentence, CONTENT).facts()}
    except MemoryError:
        return {"failed": Refusal("there is not enough memory for this; send less at once", LARGE).facts()}
    except OSError as error:
        return {"failed": Refusal(f"the server cannot write: {os.strerror(error.errno or 0)}", 507).facts()}
    except Exception as error:  # the server goes on, and says where it was
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {os.path.basename(frame.filename)}:{frame.lineno}"
        return {"failed": Refusal("the server failed at this; its log says where", 500).facts(), "where": place}
    finally:
        report_to(None)


class _Report:
    """Sends progress, not too often."""

    def __init__(self, lines: TextIO) -> None:
        self._lines, self._last, self._label = lines, 0.0, ""
        self._lock = threading.Lock()

    def __call__(self, label: str, done: int, total: int) -> None:
        import time

        with self._lock:
            now = time.monotonic()
            if label != self._label or done >= total or now - self._last >= _STEP:
                self._last, self._label = now, label
                _say(self._lines, {"progress": [label, done, total]})


def _bound_files(most: int) -> None:
    """Let no file of this process grow beyond twice what may be handed in, whatever an archive states."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        wanted = 2 * most + (64 << 20)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted if hard < 0 else min(wanted, hard), hard))


def _compress(order: dict[str, Any], report: _Report) -> dict[str, Any]:
    """Archive the files of a job, those of a zip if it is one."""
    folder, limits = Path(order["folder"]), Limits(**order["limits"])
    inputs = folder / "in"
    if order["zip"]:
        (given,) = inputs.iterdir()
        inputs = folder / "unpacked"
        inputs.mkdir()
        if not extract(given, inputs, limits, lambda done, total: report("unpacking", done, total)):
            raise Refusal("the zip is empty; put files into it", case=EMPTY)
        given.unlink()
    tops = sorted(inputs.iterdir())
    target = folder / "result.vcz"
    options = order["options"]
    report("preparing", 0, 1)
    done = archives.compress_files(
        tops, target, options["model"], effort=options["effort"], threads=options["threads"], times=False
    )  # fmt: skip
    facts = {"files": done.files, "before": done.raw_bytes, "after": done.packed_bytes, "voxels": done.voxels}
    return {"result": target.name, "facts": facts}


def _restore(order: dict[str, Any], report: _Report) -> dict[str, Any]:
    """List the files of an archive, and restore them into a zip."""
    folder, limits = Path(order["folder"]), Limits(**order["limits"])
    (given,) = (path for path in (folder / "in").rglob("*") if path.is_file())
    entries = archives.list_files(given)
    files = [one for one in entries if one["kind"] == "file"]
    size = sum(one["size"] for one in files)
    if len(entries) > limits.files or size > limits.bytes:
        raise Refusal(
            f"the archive restores {len(files)} files of {size} bytes; {limits.files} files of {limits.bytes} bytes "
            f"are allowed here, and volcomp decompress has no such limit", LARGE,
        )  # fmt: skip
    target = folder / "restored"
    report("restoring", 0, 1)
    try:
        archives.decompress_files(given, target, threads=order["options"]["threads"], times=False)
    except DamagedError as error:
        raise Refusal(str(error).replace(f"{given}: ", "the archive is damaged: "), CONTENT) from None
    result = folder / "result.zip"
    wanted = [one["name"] for one in files]
    with zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as out:
        for k, (name, made) in enumerate(zip(wanted, unique(map(safe_path, wanted)), strict=True)):
            report("writing", k, len(wanted))
            path = target / name
            if path.is_file() and not path.is_symlink():
                out.write(path, made)
                path.unlink()
    listed = [{"name": one["name"], "size": one["size"], "kept": one["kept"]} for one in files[:_LISTED]]
    facts = {"files": len(files), "before": size, "after": given.stat().st_size}
    return {"result": result.name, "facts": facts, "listed": listed, "more": len(files) - len(listed)}


def _encode(order: dict[str, Any], report: _Report) -> dict[str, Any]:
    return _coded(order, report, coding.encode, model=order["options"]["model"], **order["asked"])


def _decode(order: dict[str, Any], report: _Report) -> dict[str, Any]:
    return _coded(order, report, coding.decode)


def _coded(order: dict[str, Any], report: _Report, code: Any, **asked: Any) -> dict[str, Any]:
    folder = Path(order["folder"])
    (given,) = (path for path in (folder / "in").rglob("*") if path.is_file())
    room = folder / "room"
    room.mkdir()
    result = folder / "result.zip"
    return {"result": result.name, "facts": code(given, room, result, Limits(**order["limits"]), report, **asked)}


_KINDS = {"compress": _compress, "restore": _restore, "encode": _encode, "decode": _decode}

if __name__ == "__main__":
    sys.exit(main())
