"""The command `volcomp decompress`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..progress import printable
from .arguments import STANDARD, Commands, as_json, decode_options, place, sink, slices, source, times, work
from .output import fail, files, line, working

if TYPE_CHECKING:
    from ..archive.restore import Outcome


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "decompress", parents=[work(), times(), as_json()], help="restore the files of an archive"
    )
    add_target(parser)
    add_slices(parser)
    parser.add_argument("--salvage", action="store_true", help="restore the undamaged files of a damaged archive")
    parser.set_defaults(run=run)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the archive, the folder and `--force`."""
    parser.add_argument("file", type=place, metavar="FILE", help="- is standard input")
    parser.add_argument(
        "-o",
        "--output",
        type=place,
        metavar="DIR",
        help="default: the archived folder's name, here; - is standard output, for one file",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files of the same names in an existing DIR")


def add_slices(parser: argparse.ArgumentParser) -> None:
    """Add `--slices`."""
    parser.add_argument(
        "--slices",
        metavar="40:44",
        help="restore only the images of these slices of a volume, counted along its normal from 0",
    )


def run(options: argparse.Namespace) -> int:
    """Restore the files of an archive."""
    return restore_files(options, options.slices, salvage=options.salvage)


def restore_files(
    options: argparse.Namespace,
    range_: str | None = None,
    *,
    names: Collection[str] = (),
    series: Collection[str] = (),
    salvage: bool = False,
) -> int:
    """Restore files to a folder or standard output; print what was done; return the exit code."""
    wanted = None if range_ is None else slices(range_)
    from ..archive.restore import read_one, restore  # when the arguments are valid
    from ..errors import UnsupportedError

    begin = time.perf_counter()
    with working(options):
        if options.output == STANDARD:
            if wanted or salvage:
                raise UnsupportedError("standard output takes one undamaged file; name a folder with -o")
            read_one(source(options.file), sink(), decode_options(options), names=names, series=series)
            return 0
        done = restore(
            source(options.file),
            options.output,
            decode_options(options),
            slices=wanted,
            names=names,
            series=series,
            salvage=salvage,
            force=options.force,
            times=options.times,
        )
    return _report(options, done, begin)


def _report(options: argparse.Namespace, done: Outcome, begin: float) -> int:
    """Print the final line, and what is missing; return the exit code."""
    if options.json:
        facts = {
            "file": str(options.file),
            "output": str(done.target),
            "files": done.files,
            "bytes_in": done.packed_bytes,
            "bytes_out": done.raw_bytes,
            "missing": done.lost,
            "damage": done.damage,
            "seconds": round(time.perf_counter() - begin, 4),
        }
        print(json.dumps(facts))
    else:
        print(line(options.file, done, begin))
    if done.damage:
        print(f"volcomp: {printable(done.damage)}; sections were found without it", file=sys.stderr)
    for sentence in done.lost:
        print("missing: " + printable(sentence), file=sys.stderr)
    if done.lost:
        more = "; of files whose names lay in what is gone, nothing is known" if done.damage else ""
        return fail(f"{options.file} is damaged: {files(len(done.lost))} could not be restored{more}", options)
    return 0
