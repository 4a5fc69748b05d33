#!/usr/bin/env bash
# pydicom's pixel_array(…, raw=True) does not give the words that a native file has: bits beyond Bits Stored are gone, in
# which older files keep an overlay.
#
# Versions   pydicom 3.0.2, numpy 2.4.6, Python 3.11
# Expected   As little is done to raw pixels as there can be, so the 16 bits of a word are as they were.
#            Overlays in unused bits of Pixel Data (PS3.3, C.9.2, retired) are read in this way.
# Seen       Of 16 bits allocated and 12 stored, the upper four are zero, or the sign for signed pixels, with raw=True as
#            without it. The bytes of PixelData have them.
#
#     pixels      in the file    raw=True
#     unsigned         0xF123      0x0123
#     signed           0x5FFF      0xFFFF
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

print("pixels      in the file    raw=True")
for name, signed, word, seen in (("unsigned", 0, 0xF123, 0x0123), ("signed", 1, 0x5FFF, 0xFFFF)):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.Rows = data.Columns = 4
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, signed
    data.PixelData = np.full((4, 4), word, np.uint16).tobytes()
    data["PixelData"].VR = "OW"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    file.seek(0)
    read = dcmread(file)
    (stored,) = {*np.frombuffer(read.PixelData, "<u2").tolist()}
    (raw,) = {*pixel_array(read, raw=True).view(np.uint16).ravel().tolist()}
    print(f"{name:11} {f'0x{stored:04X}':>11}{f'0x{raw:04X}':>12}")
    assert stored == word and raw == seen, (hex(stored), hex(raw))
END
