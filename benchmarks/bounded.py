"""Sizes with a bounded error: volcomp's whole files with `--max-error`, against JPEG-LS with the same bound.

    python -m benchmarks.bounded                        # the valid split; measures what bounded.csv lacks
    python -m benchmarks.bounded --series mr_pd_ge_signa --errors 2

volcomp is measured as users run it: the `.vcz` file that the command line makes of a folder of DICOM files, headers and
all, restored by the command line. JPEG-LS codes the slices' voxels alone, each at the true depth of its volume. Every
result is decoded and compared with the original: a voxel beyond the bound is an error, not a row.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import pydicom

from volcomp.training import corpus

from . import report
from .command import volcomp
from .rivals import depth, from_zero, imagecodecs, jpeg_ls, versioned

CSV = Path(__file__).with_name("bounded.csv")
COLUMNS = ("series", "modality", "codec", "max_error", "voxels", "bytes", "bpv", "largest_error")
ERRORS = (1, 2, 4)
CODECS = ("fast", "base", "jpegls")

Row = dict[str, str]
Key = tuple[str, str, str]  # series, codec, largest error


class BeyondBound(Exception):
    """A codec changed a voxel by more than was allowed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    rows: dict[Key, Row] = {(row["series"], row["codec"], row["max_error"]): row for row in report.read_rows(CSV)}
    for series in corpus.splits():
        if series.split != "valid" or series.name not in (options.series or [series.name]):
            continue
        for error in options.errors:
            for codec in options.codecs:
                if (series.name, codec, str(error)) in rows:
                    continue
                row = measure(series, codec, error, options.threads)
                print(f"{series.name}: {codec}, at most {error}: {row['bpv']} bits per voxel", flush=True)
                rows[series.name, codec, str(error)] = row
                report.write_rows(CSV, COLUMNS, (rows[key] for key in sorted(rows)))
                report.write_machine(CSV, [versioned("pyjpegls" if codec == "jpegls" else "volcomp")])
    report.publish("bounded", summary(list(rows.values())))


def measure(series: corpus.Series, codec: str, error: int, threads: int) -> Row:
    """One row of the CSV. Raises BeyondBound."""
    volumes = corpus.volumes(series.name)
    voxels = sum(volume.size for volume in volumes)
    size, largest = _jpeg_ls(volumes, error) if codec == "jpegls" else _archive(series.name, codec, error, threads)
    if largest > error:
        raise BeyondBound(f"{codec} changes a voxel of {series.name} by {largest}, where {error} was allowed")
    names = {"series": series.name, "modality": series.modality, "codec": codec, "max_error": str(error)}
    bpv = f"{8 * size / voxels:.4f}"
    return names | {"voxels": str(voxels), "bytes": str(size), "bpv": bpv, "largest_error": str(largest)}


def _jpeg_ls(volumes: Sequence[np.ndarray], error: int) -> tuple[int, int]:
    """Bytes of the streams, and the largest error."""
    size, largest = 0, 0
    for volume in map(from_zero, volumes):
        bits = depth(volume)
        planes = volume if bits > 8 else volume.astype(np.uint8)
        for plane in planes:
            rows, columns = plane.shape
            stream = jpeg_ls.encode_pixel_data(
                plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes(),
                rows=rows, columns=columns, samples_per_pixel=1, bits_stored=bits, lossy_error=error,
            )  # fmt: skip
            size += len(stream)
            again = imagecodecs.jpegls_decode(bytes(stream)).astype(np.int32)
            largest = max(largest, int(np.abs(again - plane).max()))
    return size, largest


def _archive(name: str, model: str, error: int, threads: int) -> tuple[int, int]:
    """Bytes of the archive of a series, and the largest error of what is restored."""
    with tempfile.TemporaryDirectory() as folder:
        source, packed, restored = Path(folder, name), Path(folder, "series.vcz"), Path(folder, "restored")
        source.mkdir()
        for path in corpus.files(name):
            shutil.copy(path, source)
        how = ("--model", model, "--max-error", str(error), "--lossy", "--threads", str(threads))
        volcomp("compress", source, "-o", packed, *how)
        volcomp("decompress", packed, "-o", restored)
        largest = 0
        for path in source.iterdir():
            given, again = (pydicom.dcmread(one / path.name, force=True) for one in (source, restored))
            if "PixelData" in given:
                difference = given.pixel_array.astype(np.int32) - again.pixel_array
                largest = max(largest, int(np.abs(difference).max()))
        return packed.stat().st_size, largest


def summary(rows: Sequence[Row]) -> str:
    """The table: mean bits per voxel by codec and bound, over the series that all codecs have."""
    bpv = {(row["codec"], row["max_error"], row["series"]): float(row["bpv"]) for row in rows}
    codecs = [codec for codec in CODECS if any(codec == key[0] for key in bpv)]
    lines = []
    for error in map(str, ERRORS):
        whole = [s for s in {row["series"] for row in rows} if all((codec, error, s) in bpv for codec in codecs)]
        if not whole:
            continue
        means = [mean(bpv[codec, error, series] for series in whole) for codec in codecs]
        against = [f"{100 * (value / means[-1] - 1):+.1f} %" for value in means[:-1]]
        worst = max(bpv[codecs[0], error, series] / bpv[codecs[-1], error, series] - 1 for series in whole)
        lines.append(
            [f"±{error}", *(f"{value:.3f}" for value in means), *against, f"{100 * worst:+.1f} %", str(len(whole))]
        )
    titles = {"fast": "volcomp fast", "base": "volcomp base", "jpegls": "JPEG-LS"}
    columns = ["bound", *(titles[codec] for codec in codecs), *(f"{titles[codec]} to JPEG-LS" for codec in codecs[:-1])]
    return report.table([*columns, "worst series", "series"], lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounded", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", nargs="+", metavar="NAME", help="only these of the valid split")
    parser.add_argument("--errors", nargs="+", type=int, choices=ERRORS, default=ERRORS)
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=("fast", "jpegls"))
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
