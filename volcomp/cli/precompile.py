"""The command `volcomp precompile`."""

from __future__ import annotations

import argparse
import json
import sys

from .arguments import Commands, as_json
from .output import files, megabytes


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "precompile",
        parents=[as_json()],
        help="compile ahead, for container images and wheels",
        description="Compile all code and keep it with the package, for every class of processors whose code this "
        "machine can run. A program from that container image or wheel then never compiles, on any machine of these "
        "classes. Another version of Python or numba ignores this code and compiles.",
    )
    parser.add_argument(
        "--for",
        dest="targets",
        action="append",
        default=[],
        metavar="CLASS",
        help="for instance avx2; may be repeated (default: all classes that this machine can run)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compile ahead, and print what was made."""
    from ..precompile import precompile
    from ..runtime.compiled import check

    check()

    def begin(target: str) -> None:
        if not options.json:
            print(f"compiling for {target}, which takes a minute", file=sys.stderr, flush=True)

    made = precompile(options.targets, begin)
    if options.json:
        print(json.dumps([{**done._asdict(), "seconds": round(done.seconds, 4)} for done in made]))
    else:
        for done in made:
            print(f"{done.target}: {files(done.files)}, {megabytes(done.bytes)}, {done.seconds:.1f} s")
    return 0
