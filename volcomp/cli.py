"""The command `volcomp`: arguments in, one line and an exit code out. Imports the library only when there is work.

Exit codes: 0 done, 1 it could not be done (one sentence on standard error), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .errors import UnkeptWarning, UnsupportedError, VolcompError
from .runtime.heap import give_back_at_once
from .options import EFFORT, MODEL, MODELS
from .progress import printable

if TYPE_CHECKING:
    from .archive.restore import Outcome

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
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
        return _fail("interrupted", options, _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 1
    except VolcompError as error:
        return _fail(str(error), options)
    except MemoryError:
        return _fail("there is not enough memory for the work; try a smaller input or fewer threads", options)


def _say_what_is_not_kept(options: argparse.Namespace) -> None:
    """Once for a command, whatever it compiled: that the next one will compile it again."""
    compiled = sys.modules.get("volcomp.runtime.compiled")
    if compiled and compiled.unkept() and options.run is not _doctor:  # which says it its own way
        print("volcomp: " + printable(compiled.unkept()), file=sys.stderr)


@contextmanager
def _working(options: argparse.Namespace) -> Iterator[None]:
    """Around what may compile: says so on a terminal, while that lasts."""
    from .runtime import compiled
    from .progress import Wait

    if options.run is not _doctor:  # which says so and goes on
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


def _terminate(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends the work as Ctrl-C does, so that temporary files are removed."""
    raise KeyboardInterrupt


def _fail(sentence: str, options: argparse.Namespace, code: int = 1) -> int:
    if options.traceback:
        import traceback

        traceback.print_exc()
    print("volcomp: " + printable(sentence), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="volcomp",
        description="Lossless compression of CT and MR series.",
        epilog="Exit codes: 0 done, 1 not possible, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"volcomp {__version__}")
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run the model")
    work = argparse.ArgumentParser(add_help=False, parents=[where])
    work.add_argument("--threads", type=_positive, metavar="N", help="how many threads to use (default: all cores)")
    coding = argparse.ArgumentParser(add_help=False)
    coding.add_argument(
        "--model",
        choices=MODELS,
        default=MODEL,
        help=f"from the fastest to the smallest files: turbo, fast, base; default: {MODEL}. paper is the published "
        "predictor, kept to be compared with: slow in both directions, with a step of its LSTM for every neighbour of "
        "every voxel, and larger files",
    )
    coding.add_argument(
        "--effort",
        type=int,
        default=EFFORT,
        metavar="1-9",
        help="1 to 4: less search, faster; 5: default; 6 to 9: fit the model to every volume, which takes up to ten "
        "times as long and needs torch (files are as fast to restore)",
    )
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print one line of JSON instead of text")

    pack = commands.add_parser(
        "compress",
        parents=[coding, work, as_json],
        help="archive folders and files",
        description="Archive folders and files; DICOM series are coded as volumes, all other "
        "files are kept under zstd. Names and bytes come back, modes and times do not.",
    )
    pack.add_argument("inputs", nargs="+", type=Path, metavar="SERIES_DIR", help="folder or file")
    pack.add_argument("-o", "--output", type=Path, metavar="OUT.vcz", help="default: the first input's name with .vcz")
    pack.add_argument("--no-verify", action="store_true", help="do not decode what was written before saying done")
    pack.add_argument("--force", action="store_true", help="overwrite an existing output")
    pack.set_defaults(run=_compress)

    unpack = commands.add_parser("decompress", parents=[work], help="restore the files of an archive")
    unpack.add_argument("file", type=Path, metavar="FILE")
    unpack.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: the archived folder's name, here")
    unpack.add_argument(
        "--slices",
        metavar="40:44",
        help="only the images that hold these slices of a volume, counted along its normal from 0",
    )
    unpack.add_argument("--force", action="store_true", help="overwrite files of the same names in an existing DIR")
    unpack.add_argument("--salvage", action="store_true", help="of a damaged archive, restore what is undamaged")
    unpack.set_defaults(run=_decompress)

    check = commands.add_parser("verify", parents=[work, as_json], help="decode all and compare all checksums")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.set_defaults(run=_verify)

    batch = commands.add_parser(
        "batch",
        parents=[coding, where, as_json],
        help="a tree of series to a tree of archives, and back",
        description="Archive every series of a tree, or of a list, as a file of its own; or restore a tree of "
        "archives. Only what is missing is done, so that the same command goes on where another was stopped. "
        "DEST/batch.csv says what became of each.",
    )
    batch.add_argument("source", type=Path, metavar="SOURCE", help="folder, or a list with the path of a series a line")
    batch.add_argument("dest", type=Path, metavar="DEST", help="folder for the archives, which is made if need be")
    batch.add_argument("--decompress", action="store_true", help="the way back: SOURCE holds archives")
    batch.add_argument(
        "--jobs", type=_positive, metavar="N", help="series at a time (default: one per core, with cuda four per GPU)"
    )
    batch.add_argument(
        "--memory", type=_bytes, metavar="SIZE", help="such as 16G: begin no series that would take more altogether"
    )
    batch.add_argument(
        "--verify", action=argparse.BooleanOptionalAction, default=True, help="decode what was written (default: yes)"
    )
    batch.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the work, as tcp://host:8786"
    )
    batch.set_defaults(run=_batch)

    info = commands.add_parser("info", parents=[as_json], help="what is inside an archive")
    info.add_argument("file", type=Path, metavar="FILE")
    info.set_defaults(run=_info)

    doctor = commands.add_parser("doctor", parents=[as_json], help="what this machine has, and what is amiss with it")
    doctor.set_defaults(run=_doctor)

    ahead = commands.add_parser(
        "precompile",
        parents=[as_json],
        help="compile now, for container images and wheels, so that no first run has to",
        description="Compile all code now and keep it with the package, for every class of processors that this "
        "machine can run code for. What is started from such a container image or wheel never compiles, on any "
        "machine of these classes; another version of Python or numba does, as if there were nothing.",
    )
    ahead.add_argument(
        "--for", dest="targets", action="append", default=[], metavar="CLASS", help="such as avx2; may be repeated"
    )
    ahead.set_defaults(run=_precompile)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1024")
    return int(text)


def _bytes(text: str) -> int:
    """'16G', '500M' or '16000000000'; units of 1000."""
    number = text.upper().removesuffix("B")
    unit = "KMGT".find(number[-1:]) + 1 if number else 0
    number = number[:-1] if unit else number
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 16G or 500M")
    return int(number) * 1000**unit


def _slices(text: str) -> slice:
    """'40:44', '40:', ':44' or '40'. Raises UnsupportedError, since argparse would put lines of usage before it."""
    first, colon, end = text.partition(":")
    if not all(part.isdecimal() or (colon and not part) for part in ((first, end) if colon else (first,))):
        raise UnsupportedError(f"--slices {text!r} is no range of slices: give one such as 40:44, 40:, :44 or 40")
    start = int(first or 0)
    stop = (int(end) if end else None) if colon else start + 1
    if stop is not None and stop <= start:
        raise UnsupportedError(f"--slices {text!r} holds no slice: give an end that is larger than the beginning")
    return slice(start, stop)


def _compress(options: argparse.Namespace) -> int:
    from .archive.pack import compress
    from .archive.tree import own_name

    begin = time.perf_counter()
    output = options.output or Path(own_name(options.inputs[0]) + ".vcz")
    with _working(options):
        done = compress(
            options.inputs,
            output,
            model=options.model,
            threads=options.threads,
            device=options.device,
            effort=options.effort,
            check=not options.no_verify,
            force=options.force,
        )
    _report(
        {
            "file": str(output),
            "files": done.files,
            "bytes_in": done.raw_bytes,
            "bytes_out": done.packed_bytes,
            "ratio": done.raw_bytes / done.packed_bytes,
            "voxels": done.voxels,
            "bits_per_voxel": done.voxel_bits,
            "seconds": time.perf_counter() - begin,
        },
        options.json,
    )
    return 0


def _report(facts: dict[str, Any], as_json: bool) -> None:
    """The final line of `compress`."""
    if as_json:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in facts.items()}))
    else:
        voxels = f"{facts['bits_per_voxel']:.3f} bits per voxel, " if facts["voxels"] else ""
        print(
            printable(
                f"{facts['file']}: {_files(facts['files'])}, {_megabytes(facts['bytes_in'])} in, "
                f"{_megabytes(facts['bytes_out'])} out, ratio {facts['ratio']:.3f}, {voxels}"
                f"{facts['seconds']:.1f} s"
            )
        )


def _decompress(options: argparse.Namespace) -> int:
    slices = None if options.slices is None else _slices(options.slices)
    from .archive.restore import restore  # once the arguments have been found good

    begin = time.perf_counter()
    with _working(options):
        done = restore(
            options.file,
            options.output,
            slices=slices,
            threads=options.threads,
            device=options.device,
            salvage=options.salvage,
            force=options.force,
        )
    print(_line(options.file, done, begin))
    if done.damage:
        print(f"volcomp: {printable(done.damage)}; sections were found without it", file=sys.stderr)
    for sentence in done.lost:
        print("missing: " + printable(sentence), file=sys.stderr)
    if done.lost:
        return _fail(f"{options.file} is damaged: {_files(len(done.lost))} could not be restored", options)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from .archive.restore import verify

    code = 0
    for path in options.files:
        begin = time.perf_counter()
        try:
            with _working(options):
                done = verify(path, threads=options.threads, device=options.device)
        except VolcompError as error:
            code = _fail(str(error), options)
            facts: dict[str, Any] = {"file": str(path), "sound": False, "error": str(error)}
        else:
            facts = {"file": str(path), "sound": True, "files": done.files, "voxels": done.voxels}
            if not options.json:
                print("sound: " + _line(path, done, begin))
        if options.json:
            print(json.dumps(facts))
    return code


def _batch(options: argparse.Namespace) -> int:
    from .batch.run import run
    from .runtime.compiled import check

    check()
    done = run(
        options.source,
        options.dest,
        decompress=options.decompress,
        model=options.model,
        effort=options.effort,
        device=options.device,
        jobs=options.jobs,
        memory=options.memory,
        verify=options.verify,
        scheduler=options.scheduler,
    )
    if options.json:
        print(json.dumps({"dest": str(options.dest), **vars(done), "seconds": round(done.seconds, 4)}))
    else:
        print(
            printable(
                f"{options.dest}: {done.series} series, {done.done} done, {done.there} there already, "
                f"{done.failed} failed, {_megabytes(done.bytes_in)} in, {_megabytes(done.bytes_out)} out, "
                f"{done.seconds:.1f} s"
            )
        )
    if done.failed:
        return _fail(f"{done.failed} of {done.series} series failed; {options.dest / 'batch.csv'} says why", options)
    return 0


def _line(path: Path, done: Outcome, begin: float) -> str:
    return printable(
        f"{path}: {_files(done.files)}, {_megabytes(done.packed_bytes)} in, "
        f"{_megabytes(done.raw_bytes)} out, {time.perf_counter() - begin:.1f} s"
    )


def _info(options: argparse.Namespace) -> int:
    from .archive.describe import as_text, describe

    contents = describe(options.file)
    print(json.dumps(contents, indent=2) if options.json else printable_lines(as_text(contents)))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import as_text, examine

    found = examine(_working(options))
    print(json.dumps(found, indent=2) if options.json else printable_lines(as_text(found)))
    return 0


def _precompile(options: argparse.Namespace) -> int:
    from .runtime.compiled import check
    from .precompile import precompile

    check()

    def begin(target: str) -> None:
        if not options.json:
            print(f"compiling for {target}, which takes a minute", file=sys.stderr, flush=True)

    made = precompile(options.targets, begin)
    if options.json:
        print(json.dumps([{**done._asdict(), "seconds": round(done.seconds, 4)} for done in made]))
    else:
        for done in made:
            print(f"{done.target}: {_files(done.files)}, {_megabytes(done.bytes)}, {done.seconds:.1f} s")
    return 0


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _files(count: int) -> str:
    return f"{count} file" + ("" if count == 1 else "s")


def _megabytes(count: int) -> str:
    """In units of 10^6 bytes, as the field's tables have them."""
    return f"{count / 1e6:.2f} MB"
