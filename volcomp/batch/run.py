"""Run a batch: find the jobs, skip what is done, do the rest, and report each series when it is finished."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..archive.files import target_errors
from ..archive.remote import Remote
from ..options import ENCODING, EncodeOptions
from ..progress import series_bar
from . import claims
from .cluster import Cluster
from .jobs import Job, find
from .local import Machine
from .memory import available, need_of
from .report import DONE, FAILED, Report, Row
from .work import CLAIMED, How

_PAUSE = 1.0  # seconds before trying again what another batch has claimed


@dataclass
class Totals:
    """Counts of a batch, for the final line of the command."""

    series: int = 0
    done: int = 0  # by this batch
    there: int = 0  # done before
    failed: int = 0
    bytes_in: int = 0  # of the series done by this batch
    bytes_out: int = 0
    seconds: float = 0.0


def run(
    source: Path | Remote,
    target: Path,
    options: EncodeOptions = ENCODING,
    *,
    decompress: bool = False,
    jobs: int | None = None,
    memory: int | None = None,
    scheduler: str | None = None,
    times: bool = True,
) -> Totals:
    """Archive a tree of series into `target`, or restore a tree of archives; only what is missing.

    Parameters:
        source: a tree, or a list of paths, one a line; or the URL of such a list, or of an archive.
        target: the folder of the archives, or of the restored series.
        options: see `options.EncodeOptions`; for restoring, those of decoding count.
        decompress: restore.
        jobs: series at a time on this machine; by default one per core, or with cuda four per GPU.
        memory: bytes that the jobs may need together; by default a share of the free memory.
        scheduler: the address of a Dask cluster that does the work.
        times: keep, or restore, times of modification and permissions.

    Raises:
        VolcompError: the batch as a whole is impossible. A series that fails is reported on standard error and in the
            report.
    """
    begin = time.perf_counter()
    claims.check()
    found = find(source, target, decompress=decompress)
    # "auto" would let many processes compete for one GPU; with "cuda" each GPU has one process.
    if options.device == "auto":
        options = replace(options, device="cpu")
    how = How(Path(os.path.abspath(target)), decompress, options, times)
    need = partial(need_of, how)
    crew = Cluster(how, scheduler, memory, need) if scheduler else Machine(how, jobs, memory or available(), need)
    totals = Totals(series=len(found))
    try:
        with crew:
            with target_errors(how.root):
                how.root.mkdir(parents=True, exist_ok=True)
            report = Report(how.root)
            report.refresh()
            todo = [job for job in found if not _is_done(job, report.rows.get(job.name), decompress)]
            totals.there = len(found) - len(todo)
            report.forget([report.rows[job.name] for job in todo if job.name in report.rows])
            with series_bar(len(todo), lambda: _state(totals, crew.running())) as bar:
                crew.started = bar.show
                for row in _rows(crew, todo):
                    report.add(row)
                    _count(totals, row)
                    if row.status == FAILED:
                        bar.write_line(f"failed: {row.path}: {row.error}")
                    bar.advance()
    finally:
        claims.sweep(how.root)
    totals.seconds = time.perf_counter() - begin
    return totals


def _is_done(job: Job, row: Row | None, decompress: bool) -> bool:
    """Return whether a job was done before and its output seems unchanged, judged without reading it."""
    if row is None or row.status != DONE:
        return False
    try:
        return job.target.is_dir() if decompress else job.target.stat().st_size == row.bytes_out
    except OSError:
        return False


def _rows(crew: Machine | Cluster, jobs: list[Job]) -> Iterator[Row]:
    """Yield the rows of all jobs. A series that another batch has claimed is tried again until it is done or free."""
    while jobs:
        claimed = set()
        for row in crew.run(jobs):
            if row.status == CLAIMED:
                claimed.add(row.path)
            else:
                yield row
        jobs = [job for job in jobs if job.name in claimed]
        if jobs:
            time.sleep(_PAUSE)


def _count(totals: Totals, row: Row) -> None:
    if row.status == FAILED:
        totals.failed += 1
    elif row.seconds == 0:  # done before; only its row was missing
        totals.there += 1
    else:
        totals.done += 1
        totals.bytes_in += row.bytes_in
        totals.bytes_out += row.bytes_out


def _state(totals: Totals, running: list[str]) -> str:
    """Return the text beside the bar."""
    ratio = f"ratio {totals.bytes_in / totals.bytes_out:.2f}" if totals.bytes_out else ""
    failed = f"{totals.failed} failed" if totals.failed else ""
    at = "at " + ", ".join(running) if running else ""
    return ", ".join(filter(None, (failed, ratio, at)))
