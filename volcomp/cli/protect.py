"""The command `volcomp protect`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ..progress import printable
from .arguments import Commands, as_json, share


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "protect",
        parents=[as_json()],
        help="add parity to an archive, against bit rot",
        description="Add parity to an archive, or replace the parity that it has. The archive itself stays as it is, "
        "byte for byte. Damage is then repaired by volcomp repair, to the identical file, if it lies within one "
        "stretch of at most SHARE of the file, wherever that begins: bytes overwritten, cut off, or missing. So is "
        "damage to a few blocks wherever they are: how many is printed, and docs/format.md says what a block is. Any "
        "number of bytes inserted at one place, or after the end, are removed.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--parity",
        type=share,
        default=0.02,
        metavar="SHARE",
        help="from 1%% to 50%% (default: 2%%), which is about what the file grows by, small files by more; 0 removes "
        "the parity",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Add parity to an archive."""
    from ..archive.protect import protect

    begin = time.perf_counter()
    done = protect(options.file, options.parity)
    seconds = time.perf_counter() - begin
    if options.json:
        print(json.dumps({"file": str(options.file), **vars(done), "seconds": round(seconds, 4)}))
    elif done.share:
        print(
            printable(
                f"{options.file}: {done.archive_bytes} bytes and {done.bytes - done.archive_bytes} of parity, which "
                f"repairs one stretch of {100 * done.share:.2f} % or any {done.places} blocks, {seconds:.1f} s"
            )
        )
    else:
        print(printable(f"{options.file}: {done.bytes} bytes, without parity, {seconds:.1f} s"))
    return 0
