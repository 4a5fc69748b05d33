"""Run a command and return an exit code. An error is one sentence on standard error, and no traceback.

Exit codes: 0 done, 1 not possible or not all of it, 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any, NoReturn

from .. import __version__
from ..container.sections import FORMAT_VERSION, SERIES_VERSION, VOXEL_VERSION
from ..errors import DamagedError, VolcompError
from ..progress import printable
from ..runtime.heap import give_back_at_once
from ..wording import for_commands
from . import (
    append,
    batch,
    compare,
    compress,
    decompress,
    doctor,
    extract,
    info,
    precompile,
    preview,
    protect,
    repair,
    serve,
    verify,
    view,
)
from . import list as list_
from .arguments import STANDARD, salvageable
from .output import fail
from .usage import EXIT_CODES, Parser, UsageError, parsed

_WRONG_USE, _INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code. Raises SystemExit(0) when help or the version has been printed."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with for_commands():
            return _run(words)
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError:  # of the object with an error, on a full disk; the sentence is said
        _forget_output()
        return 1


def _run(words: list[str]) -> int:
    """Run one command; see `main`. Raises OSError where standard output takes no more."""
    options = _unparsed(words)
    try:
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # `__main__` has its own
            signal.signal(signal.SIGTERM, _terminate)
        for stream in (sys.stdout, sys.stderr):  # the terminal may lack a character of a name, or "×"
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        options = _parsed(words)
        if options is None:
            return _WRONG_USE
        give_back_at_once()
        code: int = options.run(options)
        _warn_if_unkept(options)
        if sys.stdout:  # which may be closed
            sys.stdout.flush()  # here, where a closed pipe is still handled
        return code
    except KeyboardInterrupt:
        return fail("interrupted", options, _INTERRUPTED)
    except BrokenPipeError:
        raise
    except UsageError as error:
        return fail(str(error), options, _WRONG_USE)
    except DamagedError as error:
        salvages = getattr(options, "salvage", False)
        return fail(salvageable(str(error), None if salvages else getattr(options, "file", None)), options)
    except VolcompError as error:
        return fail(str(error), options)
    except OSError as error:  # of what is not a file of the work: standard output on a full disk, a lost current folder
        _forget_output()
        what = f"{error.filename}: " if error.filename else "the system reports: "
        return fail(f"{what}{error.strerror or error}", options)
    except RuntimeError as error:  # of a limit of processes, as containers have, or of address space
        if "start new thread" not in str(error):
            raise
        return fail("the system starts no more threads; raise its limits of processes and memory", options)
    except MemoryError:
        return fail("there is not enough memory for the work; try a smaller input or fewer threads", options)


def _unparsed(words: list[str]) -> argparse.Namespace:
    """Return the options that errors are reported by, of a command line that is not parsed yet."""
    given = words[: words.index("--")] if "--" in words else words
    to_stream = {"-o-", "--output=-"} & {*given} or ("-o", "-") in pairwise(given)
    output = STANDARD if to_stream else None
    return argparse.Namespace(json="--json" in given, traceback="--traceback" in given, output=output)


def _parsed(words: list[str]) -> Any:
    """Parse a command line; None, with help on standard error, if there is none."""
    made = parser()
    if not words:
        print(made.format_help(), end="", file=sys.stderr)
        return None
    try:
        options = parsed(made, words)
    except SystemExit:
        sys.stdout.flush()  # here, where a closed pipe is still handled
        raise
    options.begin = time.perf_counter()
    return options


def _forget_output() -> None:
    """Drop what could not be written to standard output, or Python reports it again at exit."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn_if_unkept(options: argparse.Namespace) -> None:
    """Warn, once for a command, that compiled code could not be kept and will be compiled again."""
    compiled = sys.modules.get("volcomp.runtime.compiled")
    if compiled and compiled.unkept() and options.run is not doctor.run:  # whose report includes it
        print("volcomp: " + printable(compiled.unkept()), file=sys.stderr)


def _terminate(number: int, frame: Any) -> NoReturn:
    """End the work on SIGTERM as on Ctrl-C, so that temporary files are removed."""
    raise KeyboardInterrupt


def parser() -> Parser:
    """Make the parser of all commands."""
    made = Parser(
        prog="volcomp",
        usage="volcomp COMMAND ...",
        description="Lossless compression of medical images: CT, MR, radiographs.",
        epilog="volcomp help COMMAND shows the options of a command, and an example.\n" + EXIT_CODES,
    )
    formats = (
        f"reads format versions 1 to {SERIES_VERSION}, writes {FORMAT_VERSION} "
        f"(arrays: {VOXEL_VERSION}; with previews or series in time: {SERIES_VERSION})"
    )
    made.add_argument(
        "--version",
        action="version",
        help="show the versions of volcomp and of the format",
        version=f"volcomp {__version__}: {formats}",
    )
    made.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    commands = made.add_subparsers(title="commands", prog="volcomp", metavar="COMMAND", required=True)
    of_archives = (
        compress,
        append,
        decompress,
        extract,
        list_,
        verify,
        protect,
        repair,
        batch,
        serve,
        info,
        view,
        preview,
        compare,
    )
    for command in (*of_archives, precompile, doctor):
        command.add(commands)
    made.commands = commands.choices
    return made
