"""The command `volcomp protect`."""

from __future__ import annotations

import argparse
import time

from ..progress import printable
from .arguments import Commands, as_json, changed, place, share
from .output import amount, finish


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "protect",
        usage="volcomp protect FILE [--parity SHARE] [options]",
        parents=[as_json()],
        help="add parity to an archive, against bit rot",
        description="Add parity to an archive, or replace the parity that it has. The archive itself stays as it is, "
        "byte for byte. Damage is then repaired by volcomp repair, to the identical file, if it lies within one "
        "stretch of at most SHARE of the file, wherever that begins: bytes overwritten, cut off, or missing. So is "
        "damage to a few blocks wherever they are: how many is printed, and docs/format.md says what a block is. Any "
        "number of bytes inserted at one place, or after the end, are removed. The file grows by about SHARE, a small "
        "one by more.",
        example="volcomp protect ct.vcz --parity 5%",
    )
    parser.add_argument("file", type=place, metavar="FILE", help="archive")
    parser.add_argument(
        "--parity",
        type=share,
        default=0.02,
        metavar="SHARE",
        help="1%% to 50%% (default: 2%%); 0 removes the parity",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Add parity to an archive."""
    from ..archive.protect import protect

    done = protect(changed(options.file, "protect"), options.parity)
    seconds = time.perf_counter() - options.begin
    facts = {
        "file": str(options.file),
        "bytes_in": done.archive_bytes,
        "bytes_out": done.bytes,
        "share": done.share,
        "places": done.places,
    }
    if done.share:
        text = (
            f"{amount(done.archive_bytes)} and {amount(done.bytes - done.archive_bytes)} of parity, which repairs one "
            f"stretch of {100 * done.share:.2f} % or any {done.places} blocks"
        )
    else:
        text = f"{amount(done.bytes)}, without parity"
    return finish(options, facts, printable(f"{options.file}: {text}, {seconds:.1f} s"))
