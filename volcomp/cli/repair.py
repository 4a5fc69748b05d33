"""The command `volcomp repair`."""

from __future__ import annotations

import argparse
import time

from ..progress import printable
from .arguments import Commands, as_json, changed, new_archive, place
from .output import finish


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "repair",
        usage="volcomp repair FILE [-o OUT.vcz] [options]",
        parents=[as_json()],
        help="repair a damaged archive that has parity",
        description="Repair a damaged archive that has parity (volcomp protect, or compress --parity), to the bytes "
        "that were written. The damaged file is kept as FILE.damaged. Of a sound file nothing is written. Where there "
        "is more damage than the parity can repair, nothing is changed.",
        example="volcomp repair ct.vcz",
    )
    parser.add_argument("file", type=place, metavar="FILE", help="archive")
    parser.add_argument(
        "-o",
        "--output",
        type=new_archive,
        metavar="OUT.vcz",
        help="write it here, and leave FILE as it is",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing OUT.vcz")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Repair an archive."""
    from ..archive.protect import repair

    done = repair(changed(options.file, "repair"), options.output, force=options.force)
    seconds = time.perf_counter() - options.begin
    facts = {
        "file": str(options.file),
        "repaired": done.output is not None,
        "damaged_blocks": done.damaged,
        "blocks": done.blocks,
        "output": None if done.output is None else str(done.output),
        "kept": None if done.kept is None else str(done.kept),
    }
    if done.output is None:
        text = f"{options.file} is sound; nothing was written, {seconds:.1f} s"
    else:
        kept = f"; the damaged file is now {done.kept}" if done.kept else ""
        text = f"repaired: {done.output}, damaged blocks: {done.damaged} of {done.blocks}{kept}, {seconds:.1f} s"
    return finish(options, facts, printable(text))
