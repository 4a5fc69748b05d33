"""The command `volcomp append`."""

from __future__ import annotations

import argparse

from .arguments import Commands, as_json, changed, encode_options, encoding, inputs, place, storing, work
from .compress import report
from .output import working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "append",
        usage="volcomp append FILE INPUT... [options]",
        parents=[encoding(), work(), storing(), as_json()],
        help="add folders and files to an archive",
        description="Add folders and files to an archive, each under its own name; a single folder that has the name "
        "of the archived one adds its contents. Nothing is replaced: a name that the archive has is an error. What is "
        "in the archive is copied, not coded again, to a new file that takes the archive's name when it is verified. "
        "An archive that has parity needs --parity, for the new parity.",
        example="volcomp append ct.vcz report.txt",
    )
    parser.add_argument("file", type=place, metavar="FILE", help="archive; one of an older format is upgraded")
    parser.add_argument(
        "inputs", nargs="+", type=place, metavar="INPUT", help="folder or file; - is a file from standard input"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Add to an archive."""
    from ..archive.append import append

    changed(options.file, "append")
    encoded = encode_options(options)
    with inputs(options) as paths, working(options):
        done = append(options.file, paths, encoded, times=options.times, skip_errors=options.skip_errors)
    return report(options.file, done, options, " more")
