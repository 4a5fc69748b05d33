"""The command `volcomp verify`."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from ..errors import DamagedError, VolcompError
from .arguments import STANDARD, Commands, as_json, decode_options, place, source, work
from .output import fail, line, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "verify", parents=[work(), as_json()], help="decode archives, compare checksums, check parity"
    )
    parser.add_argument("files", nargs="+", type=place, metavar="FILE", help="- is standard input")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify archives; write nothing."""
    from ..archive.protect import diagnose
    from ..archive.restore import verify

    code = 0
    for path in options.files:
        begin = time.perf_counter()
        try:
            with working(options):
                if path != STANDARD and (damage := diagnose(path)):
                    raise DamagedError(f"{path}: {damage}")
                done = verify(source(path), decode_options(options))
        except VolcompError as error:
            code = fail(str(error), options)
            facts: dict[str, Any] = {"file": str(path), "sound": False, "error": str(error)}
        else:
            facts = {"file": str(path), "sound": True, "files": done.files, "voxels": done.voxels}
            if not options.json:
                print("sound: " + line(path, done, begin))
        if options.json:
            print(json.dumps(facts))
    return code
