"""The command `volcomp extract`."""

from __future__ import annotations

import argparse

from .arguments import Commands, as_json, times, work
from .decompress import add_slices, add_target, restore_files


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "extract",
        parents=[work(), times(), as_json()],
        help="restore some files of an archive",
        description="Restore some files of an archive, and decode no more of it than they need. DIR may hold other "
        "files.",
    )
    add_target(parser)
    add_slices(parser)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a name as in volcomp list; a folder, with all that is in it; or a pattern in quotes, such as '*.dcm', "
        "whose * also stands for slashes",
    )
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="UID",
        help="the images of this series, as volcomp info has it, also those that are kept whole; may be repeated",
    )
    parser.set_defaults(run=run, wrong=parser.error)


def run(options: argparse.Namespace) -> int:
    """Restore some files of an archive."""
    if not options.names and not options.series:
        options.wrong("name files, folders or patterns, or a --series")
    return restore_files(options, options.slices, names=options.names, series=options.series)
