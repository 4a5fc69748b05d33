"""The command `volcomp doctor`."""

from __future__ import annotations

import argparse

from .arguments import Commands, as_json
from .output import finish, printable_lines, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "doctor",
        usage="volcomp doctor [options]",
        parents=[as_json()],
        help="report what this machine has, and problems",
        description="Report processor, kernels, memory, caches, GPU and versions, and what is amiss. A request for "
        "help begins with it.",
        example="volcomp doctor",
    )
    parser.set_defaults(run=run, unchecked=True)


def run(options: argparse.Namespace) -> int:
    """Print what this machine has."""
    from ..doctor import as_text, examine

    found = examine(working(options))
    return finish(options, found, printable_lines(as_text(found)))
