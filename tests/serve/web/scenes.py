"""Synthetic series for the pages: a chest CT, a head that is cut sagittally, a radiograph, a picture in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from benchmarks import phantom
from tests import helpers

STUDY, OTHER = "1.2.826.0.1.3680043.10.1561.1", "1.2.826.0.1.3680043.10.1561.2"
CT, SAGITTAL, XRAY, COLOUR = f"{STUDY}.1", f"{STUDY}.2", f"{OTHER}.1", f"{OTHER}.2"
MODEL = "turbo"


def make(folder: Path, slices: int = 20, size: int = 64) -> dict[Path, Path]:
    """Write four series and pack each; return their folders, and the archive of each."""
    series = {"ct": CT, "sagittal": SAGITTAL, "xray": XRAY, "colour": COLOUR}
    ct(folder / "ct", slices, size)
    sagittal(folder / "sagittal")
    radiograph(folder / "xray")
    colour(folder / "colour")
    made = {}
    for name in series:
        archive = folder / "tree" / f"{name}.vcz"
        archive.parent.mkdir(exist_ok=True)
        helpers.compress([folder / name], archive, model=MODEL)
        made[folder / name] = archive
    return made


def _described(path: Path, study: str, series: str, number: int, **elements: object) -> None:
    header = pydicom.dcmread(path)
    header.StudyInstanceUID, header.SeriesInstanceUID = study, series
    header.PatientName = "Specimen^Anna" if study == STUDY else "Specimen^Bela"
    header.PatientID = "S-0001" if study == STUDY else "S-0002"
    header.StudyDate = "20260314" if study == STUDY else "20251102"
    header.StudyDescription = "Chest and head" if study == STUDY else "Chest X-ray"
    header.AccessionNumber = "A1" if study == STUDY else "A2"
    header.SeriesNumber = number
    for name, value in elements.items():
        setattr(header, name, value)
    header.save_as(path)


def ct(folder: Path, slices: int, size: int) -> None:
    """A chest CT: stored values from 0, in Hounsfield units from -1024."""
    phantom.write(folder, phantom.scan(slices, size))
    for path in folder.iterdir():
        _described(
            path, STUDY, CT, 1, SeriesDescription="Chest, soft kernel", BodyPartExamined="CHEST", WindowCenter=40,
            WindowWidth=400,
        )  # fmt: skip


def sagittal(folder: Path) -> None:
    """Slices from the patient's right to left, with values that tell their place: int16, 12 of 24×16."""
    z, y, x = np.mgrid[:12, :24, :16]
    for k, pixels in enumerate((100 * z + 10 * y + x - 900).astype(np.int16)):
        path = helpers.image(
            folder / f"{k:02d}.dcm", pixels, series=SAGITTAL, ImagePositionPatient=[3.0 * k, 0, 0],
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1], InstanceNumber=12 - k,
        )  # fmt: skip
        _described(path, STUDY, SAGITTAL, 2, SeriesDescription="Sagittal", Modality="MR")


def radiograph(folder: Path) -> None:
    """One picture of 12 bits, black where bones are white in others (MONOCHROME1)."""
    y, x = np.mgrid[:200, :160]
    pixels = (3000 - 12 * np.hypot(y - 100, x - 80) + np.random.default_rng(0).normal(0, 8, y.shape)).clip(0, 4095)
    path = helpers.image(
        folder / "dx.dcm", pixels.astype(np.uint16), series=XRAY, stored=12, PhotometricInterpretation="MONOCHROME1"
    )
    header = pydicom.dcmread(path)
    del header.ImagePositionPatient, header.ImageOrientationPatient
    header.save_as(path)
    _described(path, OTHER, XRAY, 1, SeriesDescription="Chest, posterior-anterior", Modality="DX")


def colour(folder: Path) -> None:
    """One picture of three colours."""
    y, x = np.mgrid[:40, :50]
    pixels = np.stack([5 * x, 6 * y, 0 * x], axis=-1).astype(np.uint8)
    path = helpers.image(folder / "sc.dcm", pixels[..., 0], series=COLOUR, raw=pixels.tobytes())
    _described(
        path, OTHER, COLOUR, 2, SeriesDescription="Capture", Modality="OT", SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )  # fmt: skip
