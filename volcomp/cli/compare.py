"""The command `volcomp compare`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..progress import printable
from .arguments import Commands, as_json, encode_options, encoding, place, work
from .output import finish, working

if TYPE_CHECKING:
    from ..comparison import Row


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compare",
        usage="volcomp compare PATH [options]",
        parents=[encoding(), work(), as_json()],
        help="compare the size of a series under volcomp and other codecs",
        description="Compress a folder or file: all files by volcomp, gzip, zstd and xz, and their voxels alone by "
        "Tomoz and JPEG XL where these are installed. Nothing that is written stays. Seconds of volcomp, Tomoz and "
        "JPEG XL include decoding, to compare. A series of hundreds of megabytes takes minutes.",
        example="volcomp compare CT",
    )
    parser.add_argument("path", type=place, metavar="PATH", help="folder or file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a table, line by line as it is measured."""
    from ..comparison import compare, missing

    encoded = encode_options(options)
    rows = []
    with working(options):
        of = ""
        for row in compare(options.path, encoded):
            rows.append(row)
            if options.json:
                continue
            if row.of != of:
                of = row.of
                print(printable(f"{options.path}, {of}:"))
                print(f"  {'':30}{'bytes':>14}{'ratio':>9}{'bits/voxel':>12}{'seconds':>9}")
            print(_line(row), flush=True)
    lacking = missing()
    facts = {
        "path": str(options.path),
        "rows": [_facts(row) for row in rows],
        "not_installed": {rival.name: f"pip install {rival.package}" for rival in lacking},
    }
    lines = [f"not measured: {rival.name} is not installed; pip install {rival.package}" for rival in lacking]
    return finish(options, facts, "\n".join(lines))


def _line(row: Row) -> str:
    bits = "" if row.bits_per_voxel is None else f"{row.bits_per_voxel:.3f}"
    seconds = f"{row.seconds:.1f}" if row.seconds else ""
    return f"  {row.method:30}{row.bytes:14,}{row.ratio:9.3f}{bits:>12}{seconds:>9}"


def _facts(row: Row) -> dict[str, object]:
    return {
        "method": row.method,
        "of": row.of,
        "bytes": row.bytes,
        "ratio": row.ratio,
        "bits_per_voxel": row.bits_per_voxel,
        "seconds": round(row.seconds, 4),
    }
