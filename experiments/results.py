"""Rows of CSV: of a job that is done, and of all jobs together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import write_machine, write_rows

from .jobs import Job

# The CSV files of a run, and their columns.
COLUMNS = {
    "sizes": ("method", "shape", "length", "fold", "series", "modality", "voxels", "bytes", "bpv", "ratio", "encode_s",
              "decode_s"),
    "epochs": ("shape", "fold", "series", "epoch", "bpv"),
    "training": ("method", "shape", "length", "fold", "series", "voxels", "seconds"),
    "decoders": ("shape", "length", "decoder", "volume", "size", "fronts", "voxels_per_front", "seconds",
                 "voxels_per_s"),
    "views": ("plane", "row", "column", "voxel", "residual"),
    "absent": ("codec", "why"),
}  # fmt: skip


def _path(cache: Path, job: Job) -> Path:
    return cache / "done" / f"{job.name}.json"


def finished(cache: Path, job: Job) -> bool:
    """Whether a job is done."""
    return _path(cache, job).exists()


def keep(cache: Path, job: Job, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Note what a job found, whole or not at all: this is what makes it done."""
    path = _path(cache, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(tables))
    temporary.replace(path)


def collect(jobs: list[Job], cache: Path, folder: Path, files: Mapping[str, tuple[str, ...]] = COLUMNS) -> None:
    """The CSV files of a run from the jobs that are done, in an order that does not depend on when they were.

    files   their columns, by name
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in files}
    for job in sorted(jobs, key=lambda job: job.name):
        if finished(cache, job):
            for name, found in json.loads(_path(cache, job).read_text()).items():
                rows[name] += found
    if "absent" in rows:
        rows["absent"] = [dict(pair) for pair in dict.fromkeys(tuple(sorted(row.items())) for row in rows["absent"])]
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in files.items():
        write_rows(folder / f"{name}.csv", columns, rows[name])
    write_machine(folder / "machine.csv", [])
