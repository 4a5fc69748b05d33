"""What a preview costs: files with a lossy layer beside files without one, in bytes.

    python -m benchmarks.layered                            # measures what layered.csv lacks
    python -m benchmarks.layered --split valid --groups cxr256 --images 16
    python -m benchmarks.layered --redo 16                  # this ratio once more
    python -m benchmarks.layered --report                   # measures nothing: the table, from layered.csv alone

The data are the radiographs of `benchmarks.radiographs`, and series of the corpus: its split `valid`, of each the
middle slices of its largest volume. All bytes are those of whole files of an array, with headers, checksums and index;
`layer` are the sections that the preview is read from. Every file is decoded and compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

import volcomp
from volcomp.models import DEFAULT
from volcomp.training import corpus
from volcomp.training.corpus import ROOT

from . import radiographs, report
from .ratio import NotLossless
from .rivals import versioned

CSV = ROOT / "benchmarks" / "layered.csv"
TARGET = ROOT / "docs" / "decisions" / "images.md"
COLUMNS = (
    "image", "group", "split", "model", "ratio", "shape", "voxels", "alone", "layer", "completion", "total", "cost",
    "verified",
)  # fmt: skip
GROUPS = {"cxr256": "chest, 256 × 256", "native": "8 to 16 bits, DICOM", "MR": "MR", "CT": "CT"}
RATIOS = (8, 16, 32)
SLICES = 8  # of a series

Row = dict[str, str]


class Image(NamedTuple):
    """Voxels to measure: [y, x], or [z, y, x] of a series."""

    name: str
    group: str
    voxels: np.ndarray


def names(group: str, split: str) -> list[str]:
    """The names of the images or series of a group."""
    if group in ("MR", "CT"):
        return [one.name for one in corpus.splits() if one.split == split and one.modality == group]
    return [row["file"] for row in radiographs.images(split) if row["file"].startswith(group + "/")]


def read(name: str, group: str) -> Image:
    """Read an image, or the middle slices of a series."""
    if group not in ("MR", "CT"):
        return Image(name, group, np.ascontiguousarray(radiographs.pixels(name)))
    volume = max(corpus.volumes(name), key=np.size)
    first = max(0, (len(volume) - SLICES) // 2)
    return Image(name, group, np.ascontiguousarray(volume[first : first + SLICES]))


def measure(image: Image, split: str, model: str, ratios: Sequence[int]) -> Iterator[Row]:
    """Yield a row for each ratio. Raises NotLossless."""
    voxels = image.voxels
    alone = len(volcomp.compress(voxels, model, threads=1))
    for ratio in ratios:
        data = volcomp.compress(voxels, model, preview=ratio, threads=1, verify=False)
        if not np.array_equal(volcomp.decompress(data, threads=1), voxels):
            raise NotLossless(f"{image.name} does not come back with a preview of {ratio}:1")
        layer = sum(volume.preview for volume in volcomp.inspect(data).volumes)
        yield {
            "image": image.name, "group": image.group, "split": split, "model": model, "ratio": str(ratio),
            "shape": "x".join(map(str, voxels.shape)), "voxels": str(voxels.size), "alone": str(alone),
            "layer": str(layer), "completion": str(len(data) - layer), "total": str(len(data)),
            "cost": f"{100 * (len(data) / alone - 1):.2f}", "verified": "yes",
        }  # fmt: skip


def summary(rows: Sequence[Row]) -> str:
    """The table: bits per voxel of all voxels of a group, by split, model and ratio, and what the preview costs."""
    lines = []
    keys = {(row["group"], row["split"], row["model"], int(row["ratio"])) for row in rows}
    for group, split, model, ratio in sorted(keys, key=lambda key: (list(GROUPS).index(key[0]), key[1:])):
        own = [row for row in rows if (row["group"], row["split"], row["model"]) == (group, split, model)]
        own = [row for row in own if row["ratio"] == str(ratio)]
        voxels = sum(int(row["voxels"]) for row in own)
        total = {column: sum(int(row[column]) for row in own) for column in ("alone", "layer", "completion", "total")}
        costs = sorted(float(row["cost"]) for row in own)
        lines.append([
            GROUPS[group], split, model, str(len(own)), f"{ratio}:1",
            *(f"{8 * total[column] / voxels:.3f}" for column in ("alone", "layer", "completion", "total")),
            f"{100 * (total['total'] / total['alone'] - 1):+.1f} %", f"{costs[0]:+.1f} to {costs[-1]:+.1f} %",
        ])  # fmt: skip
    columns = ["", "split", "model", "images", "preview", "alone", "layer", "completion", "together", "cost", "of each"]
    return report.table(columns, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, image by image into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    rows = {_key(row): row for row in report.read_rows(CSV)}
    for group in () if options.report else options.groups:
        found = names(group, options.split)
        for name in found[:: max(1, len(found) // options.images)] if options.images else found:
            known = [ratio for ratio in options.ratios if (name, options.model, str(ratio)) in rows]
            wanted = [ratio for ratio in options.ratios if ratio in options.redo or ratio not in known]
            for row in measure(read(name, group), options.split, options.model, wanted) if wanted else ():
                rows[_key(row)] = row
                print(f"{name}: {row['ratio']}:1 {row['cost']} %", file=sys.stderr, flush=True)
            if wanted:
                report.write_rows(CSV, COLUMNS, sorted(rows.values(), key=_order))
                report.write_machine(CSV, [versioned("volcomp")])
    report.publish("layered", summary(list(rows.values())), TARGET)


def _key(row: Row) -> tuple[str, str, str]:
    return row["image"], row["model"], row["ratio"]


def _order(row: Mapping[str, str]) -> tuple[int, str, str, str, int]:
    return list(GROUPS).index(row["group"]), row["split"], row["image"], row["model"], int(row["ratio"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layered", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--images", type=int, default=0, help="of a group, about so many, evenly spaced; default: all")
    parser.add_argument("--ratios", nargs="+", type=int, default=list(RATIOS))
    parser.add_argument("--redo", nargs="+", type=int, default=[], metavar="RATIO", help="measure these again")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--report", action="store_true", help="measure nothing: the table of what is in the CSV")
    return parser


if __name__ == "__main__":
    main()
