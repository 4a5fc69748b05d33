"""Output of the commands: one line for people, one object of JSON for programs, one sentence for an error.

`docs/api.md` lists the keys of the objects.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import UnkeptWarning
from ..progress import printable
from .arguments import STANDARD

if TYPE_CHECKING:
    from ..archive.remote import Remote
    from ..archive.restore import Outcome


@contextmanager
def working(options: argparse.Namespace) -> Iterator[None]:
    """Say that loops are compiled, while the block does it: on a terminal how long, elsewhere once."""
    from ..progress import Wait
    from ..runtime import compiled

    if not getattr(options, "unchecked", False):  # set by `doctor`, which reports the same
        compiled.check()

    def label() -> str:
        return "compiling for this processor" + ("" if compiled.unkept() else ", once")

    # A command that works several times, as on several archives, says so once.
    wait: Wait = getattr(options, "wait", None) or Wait(label)
    options.wait = wait
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UnkeptWarning)  # `main` warns at the end
        with wait, compiled.watched(wait.begin, wait.end):
            yield


def finish(
    options: argparse.Namespace,
    facts: dict[str, Any],
    text: str = "",
    problem: str | None = None,
    notes: Iterable[str] = (),
) -> int:
    """Print the result of a command, and return its exit code.

    Parameters:
        options: of the command; `begin` is when it began.
        facts: the object for `--json`, which also gets the keys "seconds" and, of a problem, "error".
        text: the lines for people, printable.
        problem: the sentence of what was not possible; the exit code is then 1.
        notes: lines for standard error before the problem.
    """
    if options.json:
        seconds = {"seconds": time.perf_counter() - options.begin}
        _print_json(options, facts | seconds | ({} if problem is None else {"error": problem}))
    elif text:
        print(text, file=_stream(options))
    for note in notes:
        print(printable(note), file=sys.stderr)
    if problem is None:
        return 0
    complain(problem, options)
    return 1


def fail(sentence: str, options: argparse.Namespace, code: int = 1) -> int:
    """Print a sentence on standard error, and with `--json` an object with it; return the exit code."""
    complain(sentence, options)
    if options.json:
        _print_json(options, {"error": sentence})
    return code


def complain(sentence: str, options: argparse.Namespace) -> None:
    """Print a sentence on standard error."""
    with suppress(OSError):  # nothing can be said where standard error is gone
        if options.traceback:
            import traceback

            traceback.print_exc()
        print("volcomp: " + printable(sentence), file=sys.stderr)


def _print_json(options: argparse.Namespace, facts: dict[str, Any]) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in facts.items()}
    print(json.dumps(rounded), file=_stream(options), flush=True)


def _stream(options: argparse.Namespace) -> TextIO:
    """Return where a result is printed: standard output, unless that takes the bytes."""
    return sys.stderr if getattr(options, "output", None) == STANDARD else sys.stdout


def line(path: Path | Remote, done: Outcome, begin: float) -> str:
    """Return the final line of `decompress` and `verify`."""
    of_arrays = done.voxels and not done.files
    what = plural(done.voxels, "voxel") if of_arrays else held(done.files, done.folders, done.links)
    return printable(
        f"{'standard input' if path == STANDARD else path}: {what}, {amount(done.packed_bytes)} in, "
        f"{amount(done.raw_bytes)} out, {time.perf_counter() - begin:.1f} s"
    )


def printable_lines(text: str) -> str:
    """Apply `printable` to every line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def held(count: int, folders: int = 0, links: int = 0) -> str:
    """Format what an archive holds, for instance "3 files, 1 folder"."""
    others = [plural(folders, "folder")] if folders or not (count or links) else []
    return ", ".join([files(count), *others, *([plural(links, "link")] if links else [])])


def files(count: int) -> str:
    """Format a number of files."""
    return plural(count, "file")


def plural(count: int, what: str, several: str = "") -> str:
    """Format a number of things; `several` is the plural, if it is not made with an s."""
    return f"{count} {what if count == 1 else several or what + 's'}"


def amount(count: int) -> str:
    """Format a number of bytes: three digits or more, in units of powers of 1000, as in the tables of the field."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return plural(count, "byte")
