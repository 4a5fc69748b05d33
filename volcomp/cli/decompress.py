"""The command `volcomp decompress`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ..progress import printable
from .arguments import Commands, decode_options, slices, work
from .output import fail, files, line, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("decompress", parents=[work()], help="restore the files of an archive")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: the archived folder's name, here")
    parser.add_argument(
        "--slices",
        metavar="40:44",
        help="restore only the images of these slices of a volume, counted along its normal from 0",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files of the same names in an existing DIR")
    parser.add_argument("--salvage", action="store_true", help="restore the undamaged files of a damaged archive")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Restore the files of an archive."""
    wanted = None if options.slices is None else slices(options.slices)
    from ..archive.restore import restore  # when the arguments are valid

    begin = time.perf_counter()
    with working(options):
        done = restore(
            options.file,
            options.output,
            decode_options(options),
            slices=wanted,
            salvage=options.salvage,
            force=options.force,
        )
    print(line(options.file, done, begin))
    if done.damage:
        print(f"volcomp: {printable(done.damage)}; sections were found without it", file=sys.stderr)
    for sentence in done.lost:
        print("missing: " + printable(sentence), file=sys.stderr)
    if done.lost:
        return fail(f"{options.file} is damaged: {files(len(done.lost))} could not be restored", options)
    return 0
