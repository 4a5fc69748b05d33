"""The command `volcomp batch`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..progress import printable
from .arguments import Commands, as_json, device, encode_options, encoding, positive, size, times
from .output import fail, megabytes


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "batch",
        parents=[encoding(), device(), times(), as_json()],
        help="archive or restore a tree of series",
        description="Archive every series of a tree, or of a list, as a separate file; or restore a tree of archives. "
        "Only what is missing is done, so that the same command continues after a stop. DEST/batch.csv has the result "
        "for each series.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, or a list of series with one path a line")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder for the archives, made if it does not exist")
    parser.add_argument("--decompress", action="store_true", help="restore: SOURCE holds archives")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="series at a time (default: one per core, with cuda four per GPU)"
    )
    parser.add_argument(
        "--memory", type=size, metavar="SIZE", help="for instance 16G: memory that all running series may need together"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="use the Dask cluster of this scheduler, for instance tcp://host:8786"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Archive or restore a tree."""
    from ..batch.run import run as run_batch
    from ..runtime.compiled import check

    check()
    done = run_batch(
        options.source,
        options.dest,
        encode_options(options),
        decompress=options.decompress,
        jobs=options.jobs,
        memory=options.memory,
        scheduler=options.scheduler,
        times=options.times,
    )
    if options.json:
        print(json.dumps({"dest": str(options.dest), **vars(done), "seconds": round(done.seconds, 4)}))
    else:
        print(
            printable(
                f"{options.dest}: {done.series} series, {done.done} done, {done.there} there already, "
                f"{done.failed} failed, {megabytes(done.bytes_in)} in, {megabytes(done.bytes_out)} out, "
                f"{done.seconds:.1f} s"
            )
        )
    if done.failed:
        return fail(f"{done.failed} of {done.series} series failed; {options.dest / 'batch.csv'} says why", options)
    return 0
