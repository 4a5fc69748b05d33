"""Arguments in, an exit code out; what goes wrong is one sentence on standard error.

Exit codes: 0 done, 1 it could not be done, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any, NoReturn

from .. import __version__
from ..errors import VolcompError
from ..progress import printable
from ..runtime.heap import give_back_at_once
from . import batch, compress, decompress, doctor, info, precompile, verify
from .output import fail

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a name or a "×" must not fail on a terminal that lacks the character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    give_back_at_once()
    try:
        code: int = options.run(options)
        _say_what_is_not_kept(options)
        sys.stdout.flush()  # here, where a closed pipe can still be answered
        return code
    except KeyboardInterrupt:
        return fail("interrupted", options, _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 1
    except VolcompError as error:
        return fail(str(error), options)
    except MemoryError:
        return fail("there is not enough memory for the work; try a smaller input or fewer threads", options)


def _say_what_is_not_kept(options: argparse.Namespace) -> None:
    """Once for a command, whatever it compiled: that the next one will compile it again."""
    compiled = sys.modules.get("volcomp.runtime.compiled")
    if compiled and compiled.unkept() and options.run is not doctor.run:  # which says it its own way
        print("volcomp: " + printable(compiled.unkept()), file=sys.stderr)


def _terminate(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends the work as Ctrl-C does, so that temporary files are removed."""
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    made = argparse.ArgumentParser(
        prog="volcomp",
        description="Lossless compression of CT and MR series.",
        epilog="Exit codes: 0 done, 1 not possible, 2 wrong usage, 130 interrupted.",
    )
    made.add_argument("--version", action="version", version=f"volcomp {__version__}")
    made.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for command in (compress, decompress, verify, batch, info, precompile, doctor):
        command.add(commands)
    return made
