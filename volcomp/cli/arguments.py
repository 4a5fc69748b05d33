"""Options that several commands share, and parsers of their values."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..archive.remote import Remote, located
from ..constants import EFFORT
from ..errors import UnsupportedError
from ..models import CHOICES, DEFAULT, chosen
from ..options import DecodeOptions, EncodeOptions
from .usage import UsageError

Commands = Any  # a private class of argparse
STANDARD = Path("-")  # input or output
SUFFIX = ".vcz"
_ARCHIVES = ".7z .bz2 .gz .rar .tar .tbz2 .tgz .txz .xz .zip .zst"  # suffixes of what others write
_IMAGES = ".dcm .hdr .img .j2k .jls .jp2 .jpeg .jpg .jph .jxl .mha .mhd .nhdr .nii .npy .npz .nrrd .png .tif .tiff"


def device() -> argparse.ArgumentParser:
    """Make the parser of `--device`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", metavar="DEVICE",
                      help="where the model runs: auto (default), cpu or cuda")  # fmt: skip
    return made


def work() -> argparse.ArgumentParser:
    """Make the parser of `--device` and `--threads`."""
    made = argparse.ArgumentParser(add_help=False, parents=[device()])
    made.add_argument("--threads", type=positive, metavar="N", help="number of threads (default: one per core)")
    return made


def encoding() -> argparse.ArgumentParser:
    """Make the parser of `--model`, `--effort` and `--verify`."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument(
        "--model",
        choices=CHOICES,
        default=DEFAULT,
        metavar="MODEL",
        help=f"{' or '.join([', '.join(CHOICES[:-1]), CHOICES[-1]])} (default: {DEFAULT})",
    )
    made.add_argument(
        "--effort",
        type=effort,
        default=EFFORT,
        metavar="1-9",
        help=f"1, fastest, to 9, smallest (default: {EFFORT})",
    )
    made.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode the output and compare it (default: yes)",
    )
    made.add_argument(
        "--parity",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="add this share for repair, as 2%% (default: 0)",
    )
    return made


def storing() -> argparse.ArgumentParser:
    """Make the parser of `--preview`, `--no-times`, `--skip-errors` and `--stdin-name`."""
    made = argparse.ArgumentParser(add_help=False, parents=[times()])
    made.add_argument(
        "--preview",
        type=ratio,
        default=0.0,
        metavar="RATIO",
        help="write a lossy layer first, as 16 for 16:1",
    )
    made.add_argument(
        "--skip-errors",
        action="store_true",
        help="leave out what cannot be read; exit code is then 1",
    )
    made.add_argument(
        "--stdin-name",
        type=file_name,
        default="stdin",
        metavar="NAME",
        help="the name of a file from standard input",
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
    made.add_argument("--json", action="store_true", help="print one object of JSON, of an error too")
    return made


def encode_options(options: argparse.Namespace) -> EncodeOptions:
    """Return the options of encoding. Raises UsageError for an effort that the model does not have."""
    if options.effort > EFFORT and not chosen(options.model).tunable:
        raise UsageError(
            f"--effort {options.effort} fine-tunes the model, which {options.model} does not allow; give an effort of "
            f"1 to {EFFORT}, or another --model"
        )
    threads = getattr(options, "threads", None)
    preview = getattr(options, "preview", 0.0)
    return EncodeOptions(
        options.model, options.effort, options.verify, threads, options.device, options.parity, preview
    )  # fmt: skip


def decode_options(options: argparse.Namespace) -> DecodeOptions:
    """Return the options of decoding."""
    return DecodeOptions(options.threads, options.device)


def place(text: str) -> Path:
    """Parse a path; "-" is STANDARD, and "./-" a file of this name. Raises UsageError for a URL."""
    found = archive(text)
    if isinstance(found, Remote):
        raise UsageError(
            f"{found} is a URL, and files are written, changed and archived on disks alone: name a path, and download "
            "or upload the file; info, list, view, verify, decompress, extract and batch --decompress read archives "
            "at URLs"
        )
    return found


def archive(text: str) -> Path | Remote:
    """Parse the path or the URL of an archive; "-" is STANDARD."""
    found = located(text)
    if isinstance(found, Path) and found == STANDARD and text != "-":
        return Path(os.path.abspath(text))
    return found


def is_archive(path: Path | Remote) -> bool:
    """Return whether a file begins as archives do."""
    from ..container.sections import SIGNATURE

    with suppress(OSError):
        if isinstance(path, Path) and os.path.isfile(path):  # a pipe would be waited for
            with path.open("rb") as file:
                return file.read(len(SIGNATURE)) == SIGNATURE
    return False


def source(path: Path | Remote) -> Path | Remote | BinaryIO:
    """Return what an archive is read from. Raises UnsupportedError for a folder, and where nothing can be read."""
    if isinstance(path, Remote):
        return path
    if path != STANDARD:
        if os.path.isdir(path):
            advice = f"name an archive; volcomp compress {path} makes one of it"
            if (inside := _archive_in(path)) is not None:
                advice = f"name an archive in it, as {inside}, or restore all: volcomp batch {path} DEST --decompress"
            raise UnsupportedError(f"{path} cannot be read: it is a folder; {advice}")
        if not os.path.lexists(path) and os.path.isfile(f"{path}{SUFFIX}"):
            raise UnsupportedError(f"{path} cannot be read: there is no such file; did you mean {path}{SUFFIX}?")
        return path
    if sys.stdin is None:
        raise UnsupportedError("standard input is closed; redirect an archive into it, or name a file")
    return sys.stdin.buffer


def changed(path: Path, command: str) -> Path:
    """Return the archive that a command changes. Raises UsageError for standard input; see also `source`."""
    if path == STANDARD:
        raise UsageError(f"{command} changes an archive and cannot read it from standard input; name a file")
    source(path)
    return path


def salvageable(sentence: str, path: Path | Remote | None) -> str:
    """Add to the sentence about a damaged archive how to get what is left of it, unless it says so."""
    if path is None or not is_archive(path) or "volcomp repair" in sentence or "--salvage" in sentence:
        return sentence
    return f"{sentence}; decompress --salvage restores what is undamaged"


def _archive_in(folder: Path) -> Path | None:
    """Return an archive in a tree, looked for only so long that nobody waits."""
    for here, folders, names in islice(os.walk(folder), 100):
        folders.sort()
        if found := next((name for name in sorted(names) if name.endswith(SUFFIX)), None):
            return Path(here, found)
    return None


def sink() -> BinaryIO:
    """Return standard output for bytes. Raises UnsupportedError where it is a terminal, or not there."""
    if sys.stdout is None:
        raise UnsupportedError("standard output is closed; redirect it, or name a file with -o")
    if sys.stdout.isatty():
        raise UnsupportedError("standard output is a terminal, which bytes would disturb; redirect it")
    return sys.stdout.buffer


@contextmanager
def inputs(options: argparse.Namespace) -> Iterator[list[Path]]:
    """Yield the paths to archive: standard input as a file, which is removed in the end.

    Raises UsageError for standard input among others, and UnsupportedError where it is closed.
    """
    if STANDARD not in options.inputs:
        yield options.inputs
        return
    if len(options.inputs) > 1:
        raise UsageError("standard input (-) is one file; archive it alone")
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


def positive_size(text: str) -> int:
    """Parse a number of pixels."""
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels from 1 to {1 << 16}")
    return int(text)


def ratio(text: str) -> float:
    """Parse the ratio of a preview, '16' or '16:1'."""
    number = text.removesuffix(":1")
    with suppress(ValueError):
        if 4 <= (value := float(number)) <= 256:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no ratio from 4 to 256")


def grey_levels(text: str) -> int:
    """Parse the largest error of a voxel."""
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 14:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of grey levels from 1 to {1 << 14}")
    return int(text)


def effort(text: str) -> int:
    """Parse an effort."""
    if text not in "123456789" or len(text) != 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no effort from 1 (fastest) to 9 (smallest); {EFFORT} is the default"
        )
    return int(text)


def file_name(text: str) -> str:
    """Parse the name of a file without a folder."""
    if "/" in text or text in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a file; give one without a slash")
    return text


def new_archive(text: str) -> Path:
    """Parse the path of an archive to write: "-", or one without the suffix of another format."""
    path, suffix = place(text), Path(text).suffix.lower()
    if suffix in f"{_ARCHIVES} {_IMAGES}".split():
        right = Path(text).with_suffix(SUFFIX)
        raise argparse.ArgumentTypeError(
            f"{text!r} has the suffix of another format, and what is written is a volcomp archive: name it {right}"
        )
    return path


def new_folder(text: str) -> Path:
    """Parse the path of what is restored: "-", or one without the suffix of an archive; of an image it may have one."""
    path = place(text)
    of_archive = Path(text).suffix.lower() in (SUFFIX, *_ARCHIVES.split()) and not text.lower().endswith(".nii.gz")
    if of_archive and not os.path.isdir(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} has the suffix of an archive, and what is written is a folder: name it {Path(text).stem}"
        )
    return path


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
    """Parse '40:44', '40:', ':44' or '40'. Raises UsageError."""
    first, colon, end = text.partition(":")
    if not all(part.isdecimal() or (colon and not part) for part in ((first, end) if colon else (first,))):
        raise UsageError(f"--slices {text!r} is no range of slices: give one such as 40:44, 40:, :44 or 40")
    start = int(first or 0)
    stop = (int(end) if end else None) if colon else start + 1
    if stop is not None and stop <= start:
        raise UsageError(f"--slices {text!r} holds no slice: give an end that is larger than the beginning")
    return slice(start, stop)
