"""The command `volcomp extract`."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..errors import UnsupportedError
from .arguments import STANDARD, Commands, as_json, source, times, work
from .decompress import add_slices, add_target, restore_files
from .usage import UsageError

_MOST = 20_000  # names among which one that is spelt alike is looked for, which takes some seconds


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "extract",
        usage="volcomp extract FILE [NAME...] [-o DIR] [options]",
        parents=[work(), times(), as_json()],
        help="restore some files of an archive",
        description="Restore some files of an archive, and decode no more of it than they need. DIR may hold other "
        "files. A folder stands for all that is in it. The * of a pattern also stands for slashes. --slices 40:44 are "
        "slices 40 to 43 of a volume, without names of every volume; also 40, 40: and :44. --series may be repeated.",
        example="volcomp extract ct.vcz 'IM000*' report.txt -o here",
    )
    add_target(parser)
    add_slices(parser)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a name as in list, a folder, or a pattern: '*.dcm'",
    )
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="NAME",
        help="this volume: its name or series, as in info",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Restore some files of an archive."""
    if not options.names and not options.series:
        if options.slices is None:
            raise UsageError(
                "name files, folders or patterns, a --series, or --slices; volcomp list FILE shows the names"
            )
        options.names = ["*"]  # these slices of all volumes
    try:
        return restore_files(options, options.slices, names=options.names, series=options.series)
    except UnsupportedError:
        if not options.names or options.file == STANDARD:  # which cannot be read again
            raise
        names = _meant(options)
        if names == options.names:
            raise
    return restore_files(options, options.slices, names=names, series=options.series)


def _meant(options: argparse.Namespace) -> list[str]:
    """Return the names, without the archived folder's own name where only so they are in the archive.

    Raises UnsupportedError for a name that is not there even so, with those that are spelt most alike.
    """
    from ..archive.contents import contents

    found = contents(source(options.file))
    root = found["root"] + "/"
    known = {entry["name"] for entry in found["entries"]}
    there = sorted(known | {name[:end] for name in known for end in range(len(name)) if name[end] == "/"})

    def fits(name: str) -> bool:
        plain = "/".join(piece for piece in name.split("/") if piece not in ("", "."))
        return plain in there or any(fnmatchcase(one, plain) for one in there)

    names = []
    for name in options.names:
        short = name.removeprefix("./").removeprefix(root) if found["root"] else name
        if not fits(name) and not (short and fits(short)):
            raise UnsupportedError(f"{options.file}: it holds no {name!r}; {_advice(short, there)}")
        names.append(name if fits(name) else short)
    return names


def _advice(name: str, there: list[str]) -> str:
    """Say which names are like one that is not there, or else what names look like."""
    last = name.rpartition("/")[2]
    alike = [one for one in there if one.rpartition("/")[2] == last][:3] or get_close_matches(name, there[:_MOST], 3)
    if alike:
        return f"did you mean {' or '.join(map(repr, alike))}? volcomp list shows all names"
    if there:
        return f"its names look like {there[-1]!r}, and volcomp list shows them all"
    return "it holds no files"
