#!/usr/bin/env bash
# SimpleITK's series reader loses the tilt of a CT's gantry in silence: slices that are shifted along their columns come
# back as a straight block, as far off as the tilt has moved them.
#
# Versions   SimpleITK 2.5.7, pydicom 3.0.2, numpy 2.4.6, Python 3.11
# Expected   An error, a warning on the series, or a third direction that follows Image Position (Patient): the reader
#            knows the positions, since it orders and spaces the slices by them.
# Seen       The direction is orthonormal whatever the positions say, and nothing is said. The spacing is the distance
#            along the tilted axis, not along the normal, so slices are too far apart as well.
#
#     tilt    direction of the slices    spacing    last corner is off by
#       0°    0 0 1                        5.000     0.0 mm
#      20°    0 0 1                        5.321    35.1 mm
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import math
import os

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, SPACING = 20, 5.0


def write(folder, tilt):
    """Write an axial series whose slices move along y, as those of a tilted gantry do; returns names and positions."""
    os.mkdir(folder)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    names, places = [], []
    for z in range(SLICES):
        place = [0.0, SPACING * z * math.tan(math.radians(tilt)), SPACING * z]
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.Modality, data.InstanceNumber, data.GantryDetectorTilt = "CT", z + 1, tilt
        data.ImagePositionPatient, data.ImageOrientationPatient = [f"{v:.6f}" for v in place], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1, 1], SPACING
        data.Rows = data.Columns = 16
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = np.full((16, 16), z, np.int16).tobytes()
        data["PixelData"].VR = "OW"
        name = f"{folder}/{z:02}.dcm"
        data.save_as(name, enforce_file_format=True)
        names.append(name)
        places.append(place)
    return names, places


print("tilt    direction of the slices    spacing    last corner is off by")
for tilt, spacing, off in ((0, 5.0, 0.0), (20, 5.320889, 35.111)):
    names, places = write(f"tilt{tilt}", tilt)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    direction = image.GetDirection()[2::3]
    error = math.dist(image.TransformIndexToPhysicalPoint((0, 0, SLICES - 1)), places[-1])
    print(f"{tilt:3}°    {' '.join(f'{v:g}' for v in direction):27}{image.GetSpacing()[2]:7.3f}{error:8.1f} mm")
    assert direction == (0.0, 0.0, 1.0)
    assert abs(image.GetSpacing()[2] - spacing) < 1e-3 and abs(error - off) < 0.1, (image.GetSpacing(), error)
END
