"""The command `volcomp list`."""

from __future__ import annotations

import argparse

from ..progress import printable
from .arguments import Commands, archive, as_json, source
from .output import finish


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "list",
        usage="volcomp list FILE [options]",
        parents=[as_json()],
        help="list the files of an archive",
        description="List the files, folders and links of an archive, without decoding any: permissions, size in "
        "bytes, time of modification, how it is kept, name. A file is kept in a volume, whole (in parentheses why, if "
        "it is an image), or as a copy of another one.",
        example="volcomp list ct.vcz",
    )
    parser.add_argument("file", type=archive, metavar="FILE", help="archive or URL; - is standard input")
    parser.add_argument("--names", action="store_true", help="print the names alone")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the contents of an archive."""
    from ..archive.contents import as_lines, contents

    found = contents(source(options.file))
    if options.json:
        kinds = [entry["kind"] for entry in found["entries"]]
        return finish(options, found | {f"{kind}s": kinds.count(kind) for kind in ("file", "folder", "link")})
    names = (entry["name"] for entry in found["entries"])
    for line in names if options.names else as_lines(found):
        print(printable(line))
    return 0
