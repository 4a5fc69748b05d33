"""DICOM studies for tests of the server: small, made up, with all that searches ask for."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from tests.helpers import image, noise
from volcomp.archive import pack
from volcomp.options import EncodeOptions

QUICK = EncodeOptions(model="turbo", effort=1, threads=1)


def uid(*names: object) -> str:
    """A UID that is the same for the same names."""
    return str(generate_uid(entropy_srcs=["volcomp", *map(str, names)]))


def study(folder: Path, name: str, *, series: int = 1, slices: int = 4, size: int = 16, **elements: Any) -> Path:
    """Write a study of CT series, a folder each, with the UIDs of its name; return `folder`."""
    for s in range(series):
        volume = noise((slices, size, size), seed=s)
        for i, pixels in enumerate(volume):
            instance(folder / f"series{s}" / f"IM{i:03d}.dcm", pixels, name, s, i, **elements)
    return folder


def instance(path: Path, pixels: np.ndarray, name: str, s: int = 0, i: int = 0, **elements: Any) -> Path:
    """Write instance i of series s of the study of a name."""
    more: dict[str, Any] = {
        "StudyInstanceUID": uid(name),
        "SOPInstanceUID": uid(name, s, i),
        "StudyDate": "20200131",
        "StudyTime": "101530",
        "AccessionNumber": f"A-{name}",
        "ReferringPhysicianName": "Doctor^Who",
        "PatientName": f"{name}^Ann",
        "PatientID": f"P-{name}",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyID": "7",
        "StudyDescription": f"study of {name}",
        "SeriesDescription": f"series {s}",
        "SeriesNumber": s + 1,
        "InstanceNumber": i + 1,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "WindowCenter": [40, 400],
        "WindowWidth": [400, 1500],
    }
    options: dict[str, Any] = {"z": 2.5 * i, "series": uid(name, s)}
    return image(path, pixels, **{**options, **more, **elements})


def packed(folder: Path, archive: Path, options: EncodeOptions = QUICK) -> Path:
    """Archive a folder in the quickest way."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    pack.compress([folder], archive, options)
    return archive
