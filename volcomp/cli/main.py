"""Run a command and return an exit code. An error is one sentence on standard error.

Exit codes: 0 done, 1 not possible, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from .. import __version__
from ..errors import VolcompError
from ..progress import printable
from ..runtime.heap import give_back_at_once
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
    protect,
    repair,
    verify,
    view,
)
from . import list as list_
from .output import fail

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # the terminal may lack a character of a name, or "×"
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    give_back_at_once()
    try:
        code: int = options.run(options)
        _warn_if_unkept(options)
        if sys.stdout:  # which may be closed
            sys.stdout.flush()  # here, where a closed pipe is still handled
        return code
    except KeyboardInterrupt:
        return fail("interrupted", options, _INTERRUPTED)
    except BrokenPipeError:
        _forget_output()
        return 1
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


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    made = argparse.ArgumentParser(
        prog="volcomp",
        description="Lossless compression of CT and MR series.",
        epilog="Exit codes: 0 done, 1 not possible, 2 wrong usage, 130 interrupted.",
    )
    made.add_argument("--version", action="version", version=f"volcomp {__version__}")
    made.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    of_archives = (compress, append, decompress, extract, list_, verify, protect, repair, batch, info, view, compare)
    for command in (*of_archives, precompile, doctor):
        command.add(commands)
    return made
