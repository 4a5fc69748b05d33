"""The corpus of real series: its place, its splits and its voxels.

It is not part of this repository. It is in $VOLCOMP_CORPUS or, by default, beside the repository in `../shared/corpus`.
Series are unpacked one at a time into $VOLCOMP_CACHE, by default `.cache/corpus`.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

ROOT = Path(__file__).resolve().parents[2]
DONE = ".complete"  # an empty file that marks a completely unpacked folder; not part of the series


@dataclass(frozen=True)
class Series:
    """A line of the corpus' splits.csv."""

    name: str
    modality: str  # "CT" or "MR"
    split: str  # "train" for training models, "valid" for measuring them
    extent: str  # "series", or "run" for a few neighbouring slices
    fold: int = 0  # of the cross-validation over twelve CT series, 1 to 4; 0 for the others
    subject: str = ""  # the patient or object; never in both training and test


def home() -> Path:
    """Return the folder of the corpus; FileNotFoundError with a sentence where there is none."""
    folder = Path(os.environ.get("VOLCOMP_CORPUS") or ROOT.parent / "shared" / "corpus")
    if not (folder / "splits.csv").is_file():
        raise FileNotFoundError(f"there is no corpus at {folder}: set VOLCOMP_CORPUS to the folder with its splits.csv")
    return folder


def splits() -> list[Series]:
    """Read all series, in the order of splits.csv."""
    with (home() / "splits.csv").open(newline="") as lines:
        return [
            Series(row["name"], row["modality"], row["split"], row["extent"], int(row["fold"] or 0), row["subject"])
            for row in csv.DictReader(lines)
        ]


def unpack(name: str) -> Path:
    """Return the folder of a series' DICOM files; the first call unpacks it (needs the package tomoz)."""
    folder = Path(os.environ.get("VOLCOMP_CACHE") or ROOT / ".cache" / "corpus") / name
    if (folder / DONE).exists():
        return folder
    import tomoz

    folder.mkdir(parents=True, exist_ok=True)
    for file_name, content in tomoz.unpack_dicom((home() / f"{name}.tmzd").read_bytes()):
        (folder / file_name).write_bytes(content)
    (folder / DONE).touch()
    return folder


def files(name: str) -> list[Path]:
    """Return the DICOM files of a series in slice order: every file name begins with the slice's place."""
    return sorted(path for path in unpack(name).iterdir() if path.name != DONE)


def is_compressed(name: str) -> bool:
    """Tell whether the series has a compressed transfer syntax, so that its voxels have to be decoded first."""
    return pydicom.dcmread(files(name)[0], stop_before_pixels=True).file_meta.TransferSyntaxUID.is_compressed


def volumes(name: str) -> list[np.ndarray]:
    """Read the stored values of a series, not rescaled: one volume [Z, Y, X] for each matrix and pixel type."""
    groups: dict[tuple[tuple[int, ...], np.dtype], list[np.ndarray]] = {}
    for path in files(name):
        pixels = _pixels(pydicom.dcmread(path))
        groups.setdefault((pixels.shape, pixels.dtype), []).append(pixels)
    return [np.stack(group) for group in groups.values()]


def image(path: Path) -> np.ndarray:
    """Read the stored values [Y, X] of a DICOM file of one frame."""
    return _pixels(pydicom.dcmread(path))


def _pixels(dataset: pydicom.Dataset) -> np.ndarray:
    """Read the stored values [Y, X] of a slice; compressed ones are JPEG 2000, JPEG-LS or JPEG Lossless."""
    import imagecodecs

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return dataset.pixel_array
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == JPEGLSLossless:
        return imagecodecs.jpegls_decode(frame)
    return imagecodecs.jpeg2k_decode(frame) if syntax == JPEG2000Lossless else imagecodecs.ljpeg_decode(frame)
