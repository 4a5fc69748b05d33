"""The command `volcomp batch`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..archive.remote import Remote
from ..errors import UnsupportedError
from ..progress import printable
from .arguments import (
    SUFFIX,
    Commands,
    archive,
    as_json,
    device,
    encode_options,
    encoding,
    is_archive,
    place,
    positive,
    size,
    times,
)
from .output import amount, finish


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "batch",
        usage="volcomp batch SOURCE DEST [options]",
        parents=[encoding(), device(), times(), as_json()],
        help="archive or restore a tree of series",
        description="Archive every series of a tree, or of a list, as a separate file; or restore a tree of archives. "
        "Only what is missing is done, so that the same command continues after a stop. DEST/batch.csv has the result "
        "for each series. With --decompress, SOURCE may be the URL of an archive (.vcz) or of a list, and the lines "
        "of a list may be URLs of archives.",
        example="volcomp batch STUDIES ARCHIVES",
    )
    parser.add_argument("source", type=archive, metavar="SOURCE", help="folder, list with one path a line, or URL")
    parser.add_argument("dest", type=place, metavar="DEST", help="folder for what is written")
    parser.add_argument("--decompress", action="store_true", help="restore: SOURCE holds archives")
    parser.add_argument("--jobs", type=positive, metavar="N", help="series at a time (default: one per core)")
    parser.add_argument("--memory", type=size, metavar="SIZE", help="for all running series together, as 16G")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="Dask cluster that does it, as tcp://host:8786")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Archive or restore a tree."""
    from ..batch.run import run as run_batch
    from ..runtime.compiled import check

    encoded = encode_options(options)
    check()
    _check(options.source, options.dest, options.decompress)
    done = run_batch(
        options.source,
        options.dest,
        encoded,
        decompress=options.decompress,
        jobs=options.jobs,
        memory=options.memory,
        scheduler=options.scheduler,
        times=options.times,
    )
    text = (
        f"{options.dest}: {done.series} series, {done.done} done, {done.there} there already, {done.failed} failed, "
        f"{amount(done.bytes_in)} in, {amount(done.bytes_out)} out, {done.seconds:.1f} s"
    )
    why = f"{done.failed} of {done.series} series failed; {options.dest / 'batch.csv'} says why"
    facts = {"output": str(options.dest), **vars(done)}
    return finish(options, facts, printable(text), why if done.failed else None)


def _check(source: Path | Remote, dest: Path, decompress: bool) -> None:
    """Raise UnsupportedError for what is likely a mistake: one archive, or archives where series are expected."""
    if is_archive(source):
        raise UnsupportedError(
            f"{source} is one archive, and no folder or list of them; volcomp decompress {source} restores it"
        )
    if not decompress and isinstance(source, Path) and _holds_archives_alone(source):
        raise UnsupportedError(
            f"{source} holds archives and no other files; to restore them add --decompress: "
            f"volcomp batch {source} {dest} --decompress"
        )


def _holds_archives_alone(folder: Path) -> bool:
    """Return whether a tree has archives, and no file beside them and the report of a batch."""
    found = False
    for _, _, names in os.walk(folder):
        others = [name for name in names if not name.endswith(SUFFIX)]
        if others and others != ["batch.csv"]:
            return False
        found = found or len(names) > len(others)
    return found
