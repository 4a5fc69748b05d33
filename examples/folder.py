"""Archive a folder of files and restore it: a DICOM series, and a text beside it."""

import tempfile
from pathlib import Path

import numpy as np
from phantom import phantom
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import volcomp


def write_slice(path: Path, pixels: np.ndarray, number: int, series: str) -> None:
    """Write the least that makes a slice of a CT."""
    header = FileMetaDataset()
    header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    header.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = header
    image.SOPClassUID, image.SOPInstanceUID = header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.InstanceNumber, image.Modality = series, number, "CT"
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2.5 * number], [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelData = pixels.astype("<i2").tobytes()
    image.save_as(path, enforce_file_format=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Map every file's name to its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


voxels, series = phantom(), generate_uid()

with tempfile.TemporaryDirectory() as scratch:
    study, archive, restored = Path(scratch) / "study", Path(scratch) / "study.vcz", Path(scratch) / "restored"
    study.mkdir()
    for number, pixels in enumerate(voxels):
        write_slice(study / f"slice{number:03d}.dcm", pixels, number, series)
    (study / "report.txt").write_text("Two rods of bone in water, no finding.\n")

    # Slices of one series become a volume. All other bytes, the report and the DICOM headers, are kept under zstd.
    # `volcomp compress study` does the same.
    done = volcomp.compress_files(study, archive)
    print(f"{done.files} files of {done.raw_bytes} bytes became {done.packed_bytes}")

    # Every file comes back byte for byte, and its SHA-256 is compared. `volcomp decompress study.vcz` does the same.
    volcomp.decompress_files(archive, restored)
    assert contents(restored) == contents(study)
    print("the files are the same")

    # So the voxels are the same as well.
    names = sorted(restored.glob("*.dcm"))
    assert np.array_equal(np.stack([dcmread(name).pixel_array for name in names]), voxels)
    print("the voxels are the same")
