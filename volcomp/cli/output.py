"""Output of the commands: one line for people, one line of JSON for scripts, one sentence for an error."""

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
    """Show on a terminal that loops are compiled, while the block does it."""
    from ..progress import Wait
    from ..runtime import compiled

    if not getattr(options, "unchecked", False):  # set by `doctor`, which reports the same
        compiled.check()

    def label() -> str:
        return "compiling for this processor" + ("" if compiled.unkept() else ", once")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UnkeptWarning)  # `main` warns at the end
        if getattr(options, "json", False) or not sys.stderr.isatty():
            yield
            return
        with Wait(label) as wait, compiled.watched(wait.begin, wait.end):
            yield


def fail(sentence: str, options: argparse.Namespace, code: int = 1) -> int:
    """Print a sentence on standard error; return the exit code."""
    if options.traceback:
        import traceback

        traceback.print_exc()
    print("volcomp: " + printable(sentence), file=sys.stderr)
    return code


def line(path: Path, done: Outcome, begin: float) -> str:
    """Return the final line of `decompress` and `verify`."""
    return printable(
        f"{path}: {files(done.files)}, {megabytes(done.packed_bytes)} in, "
        f"{megabytes(done.raw_bytes)} out, {time.perf_counter() - begin:.1f} s"
    )


def printable_lines(text: str) -> str:
    """Apply `printable` to every line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def files(count: int) -> str:
    """Format a number of files."""
    return f"{count} file" + ("" if count == 1 else "s")


def megabytes(count: int) -> str:
    """Format a number of bytes in units of 10^6, as in the tables of the field."""
    return f"{count / 1e6:.2f} MB"
