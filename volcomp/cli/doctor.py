"""The command `volcomp doctor`."""

from __future__ import annotations

import argparse
import json

from .arguments import Commands, as_json
from .output import printable_lines, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("doctor", parents=[as_json()], help="report what this machine has, and problems")
    parser.set_defaults(run=run, unchecked=True)


def run(options: argparse.Namespace) -> int:
    """Print what this machine has."""
    from ..doctor import as_text, examine

    found = examine(working(options))
    print(json.dumps(found) if options.json else printable_lines(as_text(found)))
    return 0
