"""The command `volcomp info`."""

from __future__ import annotations

import argparse
import json

from .arguments import Commands, archive, as_json, source
from .output import printable_lines


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("info", parents=[as_json()], help="show the contents of an archive")
    parser.add_argument("file", type=archive, metavar="FILE", help="path or URL; - is standard input")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the contents of an archive."""
    from ..archive.describe import as_text, describe

    contents = describe(source(options.file))
    print(json.dumps(contents) if options.json else printable_lines(as_text(contents)))
    return 0
