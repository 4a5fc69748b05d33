"""Small DICOM files, written with pydicom in all the forms that archives must survive; and what to do to archives."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from volcomp.archive import pack
from volcomp.container.sections import Reader, SectionId
from volcomp.options import DecodeOptions, EncodeOptions

ONE = DecodeOptions(threads=1)


def image(
    path: Path,
    pixels: np.ndarray,
    *,
    z: float = 0.0,
    syntax: str = ExplicitVRLittleEndian,
    series: str = "1.2.3.4",
    stored: int | None = None,
    preamble: bool = True,
    raw: bytes | None = None,
    **elements: object,
) -> Path:
    """Write one image [Y,X] or a multi-frame one [Z,Y,X] of u1, i1, u2 or i2; `raw` overrides the pixel bytes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path.name), series, str(z)])
    meta.TransferSyntaxUID = syntax
    dataset = pydicom.Dataset()
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = series
    dataset.ImagePositionPatient = [0, 0, z]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.InstanceNumber = 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored = bits, stored or bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    big = syntax == pydicom.uid.ExplicitVRBigEndian
    data = raw if raw is not None else pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))
    for name, value in elements.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, implicit_vr=syntax == pydicom.uid.ImplicitVRLittleEndian, little_endian=not big)
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    return path


def noise(shape: tuple[int, ...], dtype: str = "i2", low: int = -1000, high: int = 3000, seed: int = 0) -> np.ndarray:
    """A smooth ramp with noise on it, clipped to the type."""
    random = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    ramp = np.linspace(low, high, shape[-1]) + random.normal(0, 20, shape)
    return ramp.clip(info.min, info.max).astype(dtype)


def series(folder: Path, slices: int = 4, size: int = 8, dtype: str = "i2", **options: object) -> Path:
    """A folder of `slices` images, whose names run against their positions."""
    low, high = 0 if dtype[0] == "u" else -1000, 100 if dtype[1] == "1" else 3000
    volume = noise((slices, size, size), dtype, low, high)
    for i, pixels in enumerate(volume):
        image(folder / f"IM{slices - i:04d}.dcm", pixels, z=2.5 * i, **{"InstanceNumber": i + 1, **options})
    return folder


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """Every file's bytes by its name, the target of every link, and None for every folder."""
    found: dict[str, bytes | str | None] = {}
    for here, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(here) / name
            value = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
            found[str(path.relative_to(folder))] = value
    return found


def compress(
    inputs: list[Path],
    output: Path,
    *,
    force: bool = False,
    times: bool = True,
    skip_errors: bool = False,
    **options: Any,
) -> pack.Summary:
    """Archive with one thread."""
    encoding = EncodeOptions(**{"threads": 1, **options})
    return pack.compress(list(inputs), output, encoding, force=force, times=times, skip_errors=skip_errors)


def damage(path: Path, section: SectionId, offset: int = 20) -> None:
    """Change a byte in the middle of a section."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        place = Reader(file).places[section]
    data[place.offset + min(offset, place.length - 1)] ^= 0xFF
    path.write_bytes(data)
