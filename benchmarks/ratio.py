"""Sizes: volcomp's whole files against the streams of the other codecs, on the corpus.

    python -m benchmarks.ratio                        # the valid split; measures what ratio.csv lacks
    python -m benchmarks.ratio --redo base fast       # these codecs once more
    python -m benchmarks.ratio --series mr_pd_ge_signa --codecs jpegls base

volcomp is measured as users run it: the `.vcz` file that the command line makes of a folder of DICOM files, with
headers, checksums and index, restored by the command line and compared file by file. The others have an advantage: they
code the voxels alone, without headers. Every result is decoded and compared; one that differs is an error, not a row.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from volcomp.training import corpus

from . import report
from .command import same_files, timed, volcomp
from .rivals import CODECS, OURS, Codec, from_zero

CSV = Path(__file__).with_name("ratio.csv")
COLUMNS = ("series", "modality", "split", "codec", "voxels", "bytes", "bpv", "encode_s", "decode_s", "verified")

Row = dict[str, str]
Measured = tuple[int, float, float]  # bytes, seconds to encode, seconds to decode


class NotLossless(Exception):
    """A codec did not reproduce its input."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    chosen = [s for s in corpus.splits() if s.split == options.split and s.name in (options.series or [s.name])]
    rows = {(row["series"], row["codec"]): row for row in report.read_rows(CSV)}
    for series in chosen:
        for codec in [c for c in CODECS if c in options.codecs]:
            if (series.name, codec) in rows and codec not in options.redo:
                continue
            print(f"{series.name}: {codec}", end=" ", flush=True, file=sys.stderr)
            row = measure(series, codec, options.threads)
            print(f"{row['bpv']} bits per voxel", file=sys.stderr)
            rows[series.name, codec] = row
            save(rows, codec)
    report.publish("ratio", summary(list(rows.values()), "valid"))


def measure(series: corpus.Series, codec: str, threads: int) -> Row:
    """One row of the CSV. Raises NotLossless where the codec is not."""
    volumes = corpus.volumes(series.name)
    # A series in a compressed transfer syntax goes into an archive as it is: then it is the voxels that tell something.
    if CODECS[codec] in OURS and not corpus.is_compressed(series.name):
        size, encoding, decoding = _archive(CODECS[codec], series.name, threads)
    else:
        size, encoding, decoding = _arrays(CODECS[codec], volumes, threads)
    voxels = sum(volume.size for volume in volumes)
    row = {"series": series.name, "modality": series.modality, "split": series.split, "codec": codec}
    sizes = {"voxels": str(voxels), "bytes": str(size), "bpv": f"{8 * size / voxels:.4f}"}
    return row | sizes | {"encode_s": f"{encoding:.2f}", "decode_s": f"{decoding:.2f}", "verified": "yes"}


def save(rows: dict[tuple[str, str], Row], measured: str) -> None:
    """Write all rows: series in the order of their names, codecs in the order of the table. And the versions of the
    codec that has just been measured: those of the others are not what their rows were made with."""
    order = list(CODECS)
    ordered = sorted(rows.values(), key=lambda row: (row["series"], order.index(row["codec"])))
    report.write_rows(CSV, COLUMNS, ordered)
    report.write_machine(CSV, CODECS[measured].versions)


def summary(rows: Sequence[Row], split: str) -> str:
    """The table: mean bits per voxel over the series of a split, by codec, and how that compares.

    Only codecs with a row for every series that any codec has in the split: a mean over fewer would compare nothing.
    """
    bpv = {(row["codec"], row["series"]): float(row["bpv"]) for row in rows if row["split"] == split}
    modality = {row["series"]: row["modality"] for row in rows if row["split"] == split}
    whole = [codec for codec in CODECS if modality and all((codec, series) in bpv for series in modality)]

    groups = {f"all {len(modality)} series": list(modality)}
    for kind in sorted(set(modality.values())):
        members = [series for series in modality if modality[series] == kind]
        groups[f"{kind} ({len(members)})"] = members
    means = {codec: [mean(bpv[codec, series] for series in group) for group in groups.values()] for codec in whole}

    def against(codec: str, other: str) -> str:
        return f"{100 * (means[codec][0] / means[other][0] - 1):+.1f} %" if other in whole else ""

    lines = [
        [CODECS[c].title, *(f"{value:.3f}" for value in means[c]), against(c, "jpegxl-e9"), against(c, "tomoz")]
        for c in whole
    ]
    return report.table(["", *groups, "to JPEG XL, effort 9", "to Tomoz"], lines)


def _arrays(codec: Codec, volumes: Sequence[np.ndarray], threads: int) -> Measured:
    """The streams of all volumes of a series."""
    total = np.zeros(3)
    for volume in map(from_zero, volumes):
        streams, encoding = timed(partial(codec.encode, volume, threads))
        decoded, decoding = timed(partial(codec.decode, streams, volume.shape, threads))
        if decoded.dtype != volume.dtype or not np.array_equal(decoded, volume):
            by = " and ".join(codec.versions)
            raise NotLossless(f"{by}: {codec.name} does not give back the voxels of {volume.shape}")
        total += sum(map(len, streams)), encoding, decoding
    return int(total[0]), total[1], total[2]


def _archive(codec: Codec, name: str, threads: int) -> Measured:
    """The whole archive of a series; the times include the start of the program and the verification that it does."""
    with tempfile.TemporaryDirectory() as folder:
        source, packed, restored = Path(folder, name), Path(folder, "series.vcz"), Path(folder, "restored")
        source.mkdir()
        for path in corpus.files(name):
            shutil.copy(path, source)
        options = (*codec.options, "--threads", str(threads))
        _, encoding = timed(lambda: volcomp("compress", source, "-o", packed, *options))
        _, decoding = timed(lambda: volcomp("decompress", packed, "-o", restored))
        if not same_files(source, restored):
            raise NotLossless(f"volcomp {codec.name} does not give back the files of {name}")
        return packed.stat().st_size, encoding, decoding


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ratio", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--split", default="valid", choices=("valid", "train"))
    parser.add_argument("--series", nargs="+", metavar="NAME", help="only these of the split")
    names: dict[str, Any] = {"nargs": "+", "metavar": "CODEC", "choices": CODECS}
    parser.add_argument("--codecs", **names, default=list(CODECS), help=f"only these of: {', '.join(CODECS)}")
    parser.add_argument("--redo", **names, default=(), help="measure these again")
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
