"""Options that several commands share, and parsers of their values."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..archive.remote import Remote, located
from ..constants import EFFORT
from ..errors import UnsupportedError
from ..models import CHOICES, DEFAULT
from ..options import DecodeOptions, EncodeOptions

Commands = Any  # a private class of argparse
STANDARD = Path("-")  # input or output


def device() -> argparse.ArgumentParser:
    """Make the parser of `--device`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run the model")
    return made


def work() -> argparse.ArgumentParser:
    """Make the parser of `--device` and `--threads`."""
    made = argparse.ArgumentParser(add_help=False, parents=[device()])
    made.add_argument("--threads", type=positive, metavar="N", help="how many threads to use (default: all cores)")
    return made


def encoding() -> argparse.ArgumentParser:
    """Make the parser of `--model`, `--effort` and `--verify`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument(
        "--model",
        choices=CHOICES,
        default=DEFAULT,
        help=f"from the fastest to the smallest files: turbo, fast, base; default: {DEFAULT}. paper is the published "
        "predictor, for comparison: larger files, and slow in both directions, since its LSTM makes a step for every "
        "neighbour of every voxel",
    )
    made.add_argument(
        "--effort",
        type=int,
        default=EFFORT,
        metavar="1-9",
        help="1 to 4: less search, faster; 5: default; 6 to 9: fine-tune the model to every volume, which takes three "
        "to seven times as long and needs torch (files are as fast to restore)",
    )
    made.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode the output and compare it with the input (default: yes)",
    )
    made.add_argument(
        "--parity",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="add blocks for volcomp repair, for instance 2%%: see volcomp protect (default: 0, none)",
    )
    return made


def storing() -> argparse.ArgumentParser:
    """Make the parser of `--no-times`, `--skip-errors` and `--stdin-name`."""
    made = argparse.ArgumentParser(add_help=False, parents=[times()])
    made.add_argument(
        "--skip-errors",
        action="store_true",
        help="leave out what cannot be read, list it on standard error, and end with exit code 1",
    )
    made.add_argument(
        "--stdin-name", default="stdin", metavar="NAME", help="the name of a file that is read from standard input"
    )
    return made


def times() -> argparse.ArgumentParser:
    """Make the parser of `--no-times`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument(
        "--no-times",
        dest="times",
        action="store_false",
        help="without times of modification and permissions",
    )
    return made


def as_json() -> argparse.ArgumentParser:
    """Make the parser of `--json`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    return made


def encode_options(options: argparse.Namespace) -> EncodeOptions:
    """Return the options of encoding."""
    threads = getattr(options, "threads", None)
    return EncodeOptions(options.model, options.effort, options.verify, threads, options.device, options.parity)


def decode_options(options: argparse.Namespace) -> DecodeOptions:
    """Return the options of decoding."""
    return DecodeOptions(options.threads, options.device)


def place(text: str) -> Path:
    """Parse a path; "-" is STANDARD, and "./-" a file of this name."""
    path = Path(text)
    return Path(os.path.abspath(text)) if path == STANDARD and text != "-" else path


def archive(text: str) -> Path | Remote:
    """Parse the path or the URL of an archive; "-" is STANDARD."""
    found = located(text)
    return found if isinstance(found, Remote) or "://" in text else place(text)


def source(path: Path | Remote) -> Path | Remote | BinaryIO:
    """Return what an archive is read from. Raises UnsupportedError where there is no standard input."""
    if path != STANDARD:
        return path
    if sys.stdin is None:
        raise UnsupportedError("standard input is closed; redirect an archive into it, or name a file")
    return sys.stdin.buffer


def sink() -> BinaryIO:
    """Return standard output for bytes. Raises UnsupportedError where it is a terminal, or not there."""
    if sys.stdout is None:
        raise UnsupportedError("standard output is closed; redirect it, or name a file with -o")
    if sys.stdout.isatty():
        raise UnsupportedError("standard output is a terminal, which bytes would disturb; redirect it")
    return sys.stdout.buffer


@contextmanager
def inputs(options: argparse.Namespace) -> Iterator[list[Path]]:
    """Yield the paths to archive: standard input as a file, which is removed in the end. Raises UnsupportedError."""
    if STANDARD not in options.inputs:
        yield options.inputs
        return
    if len(options.inputs) > 1:
        raise UnsupportedError("standard input (-) is one file; archive it alone")
    from ..archive.opening import named

    stream = source(STANDARD)
    assert not isinstance(stream, Path | Remote)
    with named(stream, options.stdin_name) as path:
        yield [path]


def positive(text: str) -> int:
    """Parse a number of threads or jobs, for instance '8'."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1024")
    return int(text)


def size(text: str) -> int:
    """Parse a number of bytes, for instance '16G', '500M' or '16000000000'; units are powers of 1000."""
    number = text.upper().removesuffix("B")
    unit = "KMGT".find(number[-1:]) + 1 if number else 0
    number = number[:-1] if unit else number
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 16G or 500M")
    return int(number) * 1000**unit


def share(text: str) -> float:
    """Parse a share of a file, '2%', '0.5%' or '0'."""
    number = text.removesuffix("%")
    with suppress(ValueError):
        value = float(number) / 100
        if value == 0 or (text.endswith("%") and 0.01 <= value <= 0.5):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no share from 1% to 50%, nor 0")


def slices(text: str) -> slice:
    """Parse '40:44', '40:', ':44' or '40'. Raises UnsupportedError, since argparse would print its usage first."""
    first, colon, end = text.partition(":")
    if not all(part.isdecimal() or (colon and not part) for part in ((first, end) if colon else (first,))):
        raise UnsupportedError(f"--slices {text!r} is no range of slices: give one such as 40:44, 40:, :44 or 40")
    start = int(first or 0)
    stop = (int(end) if end else None) if colon else start + 1
    if stop is not None and stop <= start:
        raise UnsupportedError(f"--slices {text!r} holds no slice: give an end that is larger than the beginning")
    return slice(start, stop)
