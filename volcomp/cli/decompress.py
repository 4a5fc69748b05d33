"""The command `volcomp decompress`."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..options import IMAGE_SUFFIXES
from . import image
from .arguments import (
    STANDARD,
    Commands,
    archive,
    as_json,
    decode_options,
    new_folder,
    sink,
    slices,
    source,
    times,
    work,
)
from .output import files, finish, line, working
from .usage import UsageError

if TYPE_CHECKING:
    from ..archive.restore import Outcome


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "decompress",
        usage="volcomp decompress FILE [-o DIR] [options]",
        parents=[work(), times(), as_json()],
        help="restore the files of an archive",
        description="Restore the files of an archive to a folder; or write a volume as one file, if DIR is a name that "
        f"ends with one of {', '.join(IMAGE_SUFFIXES)}: its values, with the rescaling and the place in space that its "
        "headers state. --slices 40:44 are slices 40 to 43 of a volume, along its normal; also 40, 40: and :44. "
        "--series may be repeated.",
        example="volcomp decompress ct.vcz -o restored",
    )
    add_target(parser)
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="NAME",
        help="only this volume: its name or series, as in info",
    )
    add_slices(parser)
    parser.add_argument("--salvage", action="store_true", help="restore the undamaged files of a damaged archive")
    parser.set_defaults(run=run)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the archive, the folder and `--force`."""
    parser.add_argument("file", type=archive, metavar="FILE", help="archive or URL; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        type=new_folder,
        metavar="DIR",
        help="default: the archived folder's name; - is stdout",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files of the same names in DIR")


def add_slices(parser: argparse.ArgumentParser) -> None:
    """Add `--slices`."""
    parser.add_argument(
        "--slices",
        metavar="40:44",
        help="only the images of these slices, counted from 0",
    )


def run(options: argparse.Namespace) -> int:
    """Restore the files of an archive."""
    if image.is_image(options.output):
        return image.save(options)
    return restore_files(options, options.slices, series=options.series, salvage=options.salvage)


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
    if options.output == STANDARD and (wanted or salvage):
        raise UsageError("standard output takes one undamaged file; name a folder with -o")
    from ..archive.restore import read_one, restore  # when the arguments are valid

    begin = time.perf_counter()
    with working(options):
        if options.output == STANDARD:
            one = read_one(source(options.file), sink(), decode_options(options), names=names, series=series)
            return finish(options, _facts(options, one))
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


def _facts(options: argparse.Namespace, done: Outcome) -> dict[str, Any]:
    """Return the object for `--json`."""
    return {
        "file": str(options.file),
        "output": str(done.target or STANDARD),
        "files": done.files,
        "folders": done.folders,
        "links": done.links,
        "bytes_in": done.packed_bytes,
        "bytes_out": done.raw_bytes,
        "missing": done.lost,
        "damage": done.damage,
    }


def _report(options: argparse.Namespace, done: Outcome, begin: float) -> int:
    """Print the final line, and what is missing; return the exit code."""
    notes = [f"volcomp: {done.damage}; sections were found without it"] if done.damage else []
    notes += [f"missing: {sentence}" for sentence in _grouped(done.lost)]
    problem = None
    if done.lost:
        more = "; of files whose names lay in what is gone, nothing is known" if done.damage else ""
        problem = f"{options.file} is damaged: {files(len(done.lost))} could not be restored{more}"
    return finish(options, _facts(options, done), line(options.file, done, begin), problem, notes)


_LOST = re.compile(r"(.*) \((?:slices? (\d+)(?: to (\d+))? of )?(volume \d+|stored files)\): (.*)", re.DOTALL)


def _grouped(lost: list[str]) -> Iterator[str]:
    """Yield a sentence for every run of files that are lost for one reason; `lost` has one for each file."""
    found = [_LOST.fullmatch(sentence) or sentence for sentence in lost]
    for _, together in groupby(found, lambda one: one if isinstance(one, str) else one.group(4, 5)):
        run = list(together)
        first, last = run[0], run[-1]
        if isinstance(first, str) or isinstance(last, str):  # not of a file, but of a list of files
            yield str(first)
        elif len(run) == 1:
            yield first[0]
        else:
            numbers = [int(one[group]) for one in run if not isinstance(one, str) for group in (2, 3) if one[group]]
            where = first[4]
            if numbers:  # which are equal where images are copies
                low, high = min(numbers), max(numbers)
                where = (f"slice {low}" if low == high else f"slices {low}–{high}") + f" of {where}"
            yield f"{where} ({files(len(run))}, {first[1]} to {last[1]}): {first[5]}"
