"""The command `volcomp verify`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..errors import DamagedError, VolcompError
from .arguments import STANDARD, Commands, archive, as_json, decode_options, salvageable, source, work
from .output import complain, finish, line, plural, working

_SUMS = ("files", "folders", "links", "bytes_in", "bytes_out", "voxels")


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "verify",
        usage="volcomp verify FILE... [options]",
        parents=[work(), as_json()],
        help="decode archives, compare checksums, check parity",
        description="Decode everything in archives, compare all checksums and check the parity. Nothing is written. "
        "An archive at a URL is fetched whole.",
        example="volcomp verify ct.vcz mr.vcz",
    )
    parser.add_argument("files", nargs="+", type=archive, metavar="FILE", help="archive or URL; - is standard input")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify archives; write nothing."""
    from ..archive.protect import diagnose
    from ..archive.restore import verify

    found: list[dict[str, Any]] = []
    for path in options.files:
        begin = time.perf_counter()
        facts: dict[str, Any] = {"file": str(path), "sound": True}
        try:
            given = source(path)
            with working(options):
                if path != STANDARD and (damage := diagnose(path)):
                    raise DamagedError(f"{path}: {damage}")
                done = verify(given, decode_options(options))
        except VolcompError as error:
            sentence = salvageable(str(error), path) if isinstance(error, DamagedError) else str(error)
            complain(sentence, options)
            facts |= {"sound": False, "error": sentence}
        else:
            counts = (done.files, done.folders, done.links, done.packed_bytes, done.raw_bytes, done.voxels)
            facts |= dict(zip(_SUMS, counts, strict=True))
            if not options.json:
                print("sound: " + line(path, done, begin), flush=True)
        found.append(facts | {"seconds": round(time.perf_counter() - begin, 4)})
    return _report(options, found)


def _report(options: argparse.Namespace, found: list[dict[str, Any]]) -> int:
    """Print the object for `--json`; return the exit code."""
    bad = [facts for facts in found if not facts["sound"]]
    sums = {key: sum(facts.get(key, 0) for facts in found) for key in _SUMS}
    problem = bad[0]["error"] if bad else None
    if len(bad) > 1:
        problem = f"{len(bad)} of {plural(len(found), 'archive')} are not sound; the first: {problem}"
    if options.json:
        finish(options, {"sound": not bad, **sums, "archives": found} | ({"error": problem} if problem else {}))
    return 1 if bad else 0
