"""The command `volcomp list`."""

from __future__ import annotations

import argparse
import json

from ..progress import printable
from .arguments import Commands, archive, as_json, source


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "list",
        parents=[as_json()],
        help="list the files of an archive",
        description="List the files, folders and links of an archive, without decoding any: permissions, size in "
        "bytes, time of modification, how it is kept, name. A file is kept in a volume, whole (in parentheses why, if "
        "it is an image), or as a copy of another one.",
    )
    parser.add_argument("file", type=archive, metavar="FILE", help="path or URL; - is standard input")
    parser.add_argument("--names", action="store_true", help="print the names alone")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the contents of an archive."""
    from ..archive.contents import as_lines, contents

    found = contents(source(options.file))
    if options.json:
        print(json.dumps(found))
    else:
        names = (entry["name"] for entry in found["entries"])
        for line in names if options.names else as_lines(found):
            print(printable(line))
    return 0
