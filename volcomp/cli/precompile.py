"""`volcomp precompile`."""

from __future__ import annotations

import argparse
import json
import sys

from .arguments import Commands, as_json
from .output import files, megabytes


def add(commands: Commands) -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "precompile",
        parents=[as_json()],
        help="compile now, for container images and wheels, so that no first run has to",
        description="Compile all code now and keep it with the package, for every class of processors that this "
        "machine can run code for. What is started from such a container image or wheel never compiles, on any "
        "machine of these classes; another version of Python or numba does, as if there were nothing.",
    )
    parser.add_argument(
        "--for", dest="targets", action="append", default=[], metavar="CLASS", help="such as avx2; may be repeated"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compile ahead."""
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
