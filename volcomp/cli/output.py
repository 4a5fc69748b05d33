"""What commands say: one line for people, one line of JSON for scripts, one sentence for what went wrong."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnkeptWarning
from ..progress import printable

if TYPE_CHECKING:
    from ..archive.restore import Outcome


@contextmanager
def working(options: argparse.Namespace) -> Iterator[None]:
    """Around what may compile: says so on a terminal, while that lasts."""
    from ..progress import Wait
    from ..runtime import compiled

    if not getattr(options, "goes_on", False):  # as the one does that says what is amiss
        compiled.check()

    def what() -> str:
        return "compiling for this processor" + ("" if compiled.unkept() else ", once")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UnkeptWarning)  # said when all is done
        if getattr(options, "json", False) or not sys.stderr.isatty():
            yield
            return
        with Wait(what) as wait, compiled.watched(wait.begin, wait.end):
            yield


def fail(sentence: str, options: argparse.Namespace, code: int = 1) -> int:
    """Say a sentence on standard error; returns the exit code."""
    if options.traceback:
        import traceback

        traceback.print_exc()
    print("volcomp: " + printable(sentence), file=sys.stderr)
    return code


def line(path: Path, done: Outcome, begin: float) -> str:
    """What was done, in a line."""
    return printable(
        f"{path}: {files(done.files)}, {megabytes(done.packed_bytes)} in, "
        f"{megabytes(done.raw_bytes)} out, {time.perf_counter() - begin:.1f} s"
    )


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def files(count: int) -> str:
    """How many."""
    return f"{count} file" + ("" if count == 1 else "s")


def megabytes(count: int) -> str:
    """In units of 10^6 bytes, as the field's tables have them."""
    return f"{count / 1e6:.2f} MB"
