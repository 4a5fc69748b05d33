"""The command `volcomp precompile`."""

from __future__ import annotations

import argparse
import sys

from .arguments import Commands, as_json
from .output import amount, files, finish
from .usage import UsageError


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "precompile",
        usage="volcomp precompile [--for CLASS] [options]",
        parents=[as_json()],
        help="compile ahead, for container images and wheels",
        description="Compile all code and keep it with the package, for every class of processors whose code this "
        "machine can run. A program from that container image or wheel then never compiles, on any machine of these "
        "classes. Another version of Python or numba ignores this code and compiles.",
        example="volcomp precompile --for avx2",
    )
    parser.add_argument(
        "--for",
        dest="targets",
        action="append",
        default=[],
        metavar="CLASS",
        help="as avx2; may be repeated (default: all)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compile ahead, and print what was made."""
    from ..precompile import precompile
    from ..runtime.compiled import check
    from ..runtime.precompiled import TARGETS

    if unknown := [name for name in options.targets if name not in TARGETS]:
        raise UsageError(f"--for {unknown[0]!r} is no class of processors; take one of {', '.join(TARGETS)}")
    check()

    def begin(target: str) -> None:
        if not options.json:
            print(f"compiling for {target}, which takes a minute", file=sys.stderr, flush=True)

    made = precompile(options.targets, begin)
    facts = {
        "files": sum(done.files for done in made),
        "bytes_out": sum(done.bytes for done in made),
        "targets": [
            {"target": done.target, "files": done.files, "bytes_out": done.bytes, "seconds": round(done.seconds, 4)}
            for done in made
        ],
    }
    lines = [f"{done.target}: {files(done.files)}, {amount(done.bytes)}, {done.seconds:.1f} s" for done in made]
    return finish(options, facts, "\n".join(lines))
