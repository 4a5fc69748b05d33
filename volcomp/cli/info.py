"""The command `volcomp info`."""

from __future__ import annotations

import argparse
from typing import Any

from ..progress import printable
from .arguments import Commands, archive, as_json, source
from .output import finish, printable_lines
from .summary import summary


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "info",
        usage="volcomp info FILE [options]",
        parents=[as_json()],
        help="show the contents of an archive",
        description="Show what an archive holds: its series, and what is kept in another way. Nothing is decoded. "
        "volcomp list shows every file.",
        example="volcomp info ct.vcz",
    )
    parser.add_argument("file", type=archive, metavar="FILE", help="archive or URL; - is standard input")
    parser.add_argument("--all", action="store_true", help="every volume by itself, sizes in bytes, and by section")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the contents of an archive."""
    from ..archive.describe import as_text, describe

    found = describe(source(options.file))
    if options.json:
        return finish(options, _facts(found))
    lines = printable_lines(as_text(found)) if options.all else "\n".join(map(printable, summary(found)))
    return finish(options, {}, lines)


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    """Return the object for `--json`, with the keys of the commands that decode."""
    names = {"size": "bytes_in", "raw_bytes": "bytes_out"}
    return {names.get(key, key): value for key, value in found.items()}
