#!/usr/bin/env bash
# imageio gives rescaled DICOM levels that are all positive a signed type of half their range: bright pixels turn dark.
#
# Versions   imageio 2.38.1, VTK 9.7.2, pydicom 3.0.2 (which makes the files), numpy 2.3.5, Python 3.11
# Expected   slope 1 and intercept 0 change nothing; levels of 8 bits unsigned are uint8.
# Seen       where a header has a slope or an intercept, the type follows from the least and the largest value of the
#            slice, and for values of 0 and above it is the signed type of as many bits: up to 255 int8, up to 65,535
#            int16. There is no warning. A slice of 16 bits that is dark, as at the end of an MR series, is int8, its
#            neighbours are int16. Without slope and intercept, or with a negative value somewhere, all is well.
#            VTK's reader wraps where an intercept makes it choose a signed type: 65,535 less 1,024 become int16.
#
#     bits   levels        intercept   true              imageio             VTK
#     8      0 to 255      none        0 to 255          0 to 255            0 to 255
#     8      0 to 255      0           0 to 255          -128 to 127         0 to 255
#     16     0 to 255      0           0 to 255          -128 to 127         0 to 255
#     16     0 to 65535    0           0 to 65535        -32768 to 32767     0 to 65535
#     16     0 to 65535    -1024       -1024 to 64511    -1024 to 64511      -32768 to 32767
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    imageio==2.38.1 vtk==9.7.2 pydicom==3.0.2 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'END' 2> errors.txt || { cat errors.txt && exit 1; }
import imageio.v2 as imageio
import numpy as np
import vtk
from pydicom import Dataset, FileMetaDataset, dcmread, uid
from vtk.util.numpy_support import vtk_to_numpy


def write(path, levels, intercept):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, 1
    image.PixelSpacing, image.SliceThickness = [1, 1], 1
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns = levels.shape
    image.BitsAllocated = image.BitsStored = 8 * levels.itemsize
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    if intercept is not None:
        image.RescaleSlope, image.RescaleIntercept = 1, intercept
    image.PixelData = levels.tobytes()
    image.save_as(path, enforce_file_format=True)


def by_vtk(path):
    reader = vtk.vtkDICOMImageReader()
    reader.SetFileName(path)
    reader.Update()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())


def extent(values):
    return f"{values.min()} to {values.max()}"


print("bits   levels        intercept   true              imageio             VTK")
for bits, most, intercept, expected in (
    (8, 255, None, ["0 to 255"] * 3),
    (8, 255, 0, ["0 to 255", "-128 to 127", "0 to 255"]),
    (16, 255, 0, ["0 to 255", "-128 to 127", "0 to 255"]),
    (16, 65535, 0, ["0 to 65535", "-32768 to 32767", "0 to 65535"]),
    (16, 65535, -1024, ["-1024 to 64511", "-1024 to 64511", "-32768 to 32767"]),
):
    write("image.dcm", np.arange(most + 1, dtype=f"u{bits // 8}").reshape(16, -1), intercept)
    true = dcmread("image.dcm").pixel_array.astype(int) + (intercept or 0)
    found = [extent(values) for values in (true, imageio.imread("image.dcm", "DICOM"), by_vtk("image.dcm"))]
    shown = "none" if intercept is None else intercept
    print(f"{bits:<7}{f'0 to {most}':14}{shown:<12}{found[0]:18}{found[1]:20}{found[2]}")
    assert found == expected, f"now {found}"
END
