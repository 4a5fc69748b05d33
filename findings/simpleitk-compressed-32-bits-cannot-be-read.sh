#!/usr/bin/env bash
# SimpleITK writes labels of 32 bits as compressed DICOM without a complaint, and cannot read the file; nor can others.
#
# Versions   SimpleITK 2.5.7, pydicom 3.0.2, pylibjpeg-openjpeg 2.6.0, imagecodecs 2026.3.6, numpy 2.4.6, Python 3.11
# Expected   useCompression=True is lossless for DICOM, or fails as it does for 64 bits: that the type is not supported.
# Seen       uint32 and int32 are written as JPEG 2000 Lossless with a depth of 32, which the library inside does not
#            read (it takes up to 31): reading is a RuntimeError. That all labels are small does not matter. uint32 is
#            what ConnectedComponent and GetImageFromArray of an array of uint32 give. Uncompressed, all is well; so it
#            is with 16 bits; and SetCompressor("JPEG") refuses 32 bits when it writes. ITK's issue 4517 is of the same.
#
#     type      compression     written    read by SimpleITK    by pydicom    by imagecodecs
#     uint16    JPEG 2000       yes        same                 same          same
#     uint32    none            yes        same                 same          -
#     uint32    JPEG 2000       yes        RuntimeError         error         error
#     int32     JPEG 2000       yes        RuntimeError         error         error
#     uint32    JPEG            no         -                    -             -
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    SimpleITK==2.5.7 pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END' 2> errors.txt || { cat errors.txt && exit 1; }
import imagecodecs
import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.encaps import generate_frames

labels = np.arange(64 * 64).reshape(64, 64) // 512


def compared(read):
    try:
        return "same" if np.array_equal(np.squeeze(read()), labels) else "other values"
    except (RuntimeError, imagecodecs.Jpeg2kError) as error:
        return "RuntimeError" if "SimpleITK" in str(error) else "error"


print("type      compression     written    read by SimpleITK    by pydicom    by imagecodecs")
for kind, compressor, expected in (
    ("uint16", "JPEG2000", ["yes", "same", "same", "same"]),
    ("uint32", "", ["yes", "same", "same", "-"]),
    ("uint32", "JPEG2000", ["yes", "RuntimeError", "error", "error"]),
    ("int32", "JPEG2000", ["yes", "RuntimeError", "error", "error"]),
    ("uint32", "JPEG", ["no", "-", "-", "-"]),
):
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName("labels.dcm")
    writer.SetUseCompression(bool(compressor))
    writer.SetCompressor(compressor)
    try:
        writer.Execute(SimpleITK.GetImageFromArray(labels.astype(kind)))
        data = dcmread("labels.dcm")
        found = ["yes"]
        found.append(compared(lambda: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("labels.dcm"))))
        found.append(compared(lambda: data.pixel_array))
        if compressor:
            frame = next(generate_frames(data.PixelData, number_of_frames=1))
            found.append(compared(lambda: imagecodecs.jpeg2k_decode(frame)))
        else:
            found.append("-")
    except RuntimeError as error:
        assert "Could not change the Transfer Syntax for Compression" in str(error), error
        found = ["no", "-", "-", "-"]
    shown = {"JPEG2000": "JPEG 2000", "": "none"}.get(compressor, compressor)
    print(f"{kind:10}{shown:16}{found[0]:11}{found[1]:21}{found[2]:14}{found[3]}")
    assert found == expected, (found, expected)
END
