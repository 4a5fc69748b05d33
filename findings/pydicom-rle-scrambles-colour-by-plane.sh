#!/usr/bin/env bash
# pydicom's Dataset.compress(RLELossless) scrambles colours that are stored by plane (Planar Configuration 1), without a
# word; RLE is the one lossless code that pydicom has without another package.
#
# Versions   pydicom 3.0.2, pylibjpeg-rle 2.2.0, pyjpegls 1.5.1, pylibjpeg-openjpeg 2.6.0, numpy 2.4.6, Python 3.11
# Expected   A lossless code gives back what went in. Planar Configuration is required, and may be 0 or 1.
# Seen       For RLE the bytes are taken for R G B of each sample, whatever the element says, by both encoders that come
#            with these packages. The file that results is valid, its image is garbled, and the original is not kept.
#            JPEG-LS and JPEG 2000 are right, and so is compress(RLELossless, arr=data.pixel_array).
#
#     code         encoder      Planar Configuration 0    Planar Configuration 1
#     RLE          pydicom      same                      garbled
#     RLE          pylibjpeg    same                      garbled
#     RLE, arr=    pydicom      same                      same
#     JPEG-LS      pyjpegls     same                      same
#     JPEG 2000    pylibjpeg    same                      same
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-rle==2.2.0 pylibjpeg-openjpeg==2.6.0 pyjpegls==1.5.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

y, x = np.ogrid[:64, :64]
image = np.stack((2 * x + 0 * y, 100 + y + 0 * x, 200 - x - y), axis=-1).astype(np.uint8)


def through_a_file(data):
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def uncompressed(planar):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.Rows, data.Columns, data.SamplesPerPixel = image.shape
    data.PhotometricInterpretation, data.PlanarConfiguration = "RGB", planar
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = (image.transpose(2, 0, 1) if planar else image).tobytes()
    data["PixelData"].VR = "OB"
    data = through_a_file(data)
    assert np.array_equal(data.pixel_array, image)
    return data


print("code         encoder      Planar Configuration 0    Planar Configuration 1")
for name, syntax, encoder, with_array, right in (
    ("RLE", RLELossless, "pydicom", False, False),
    ("RLE", RLELossless, "pylibjpeg", False, False),
    ("RLE, arr=", RLELossless, "pydicom", True, True),
    ("JPEG-LS", JPEGLSLossless, "pyjpegls", False, True),
    ("JPEG 2000", JPEG2000Lossless, "pylibjpeg", False, True),
):
    same = []
    for planar in (0, 1):
        data = uncompressed(planar)
        more = {"arr": data.pixel_array} if with_array else {}
        data.compress(syntax, encoding_plugin=encoder, **more)
        same.append(np.array_equal(through_a_file(data).pixel_array, image))
    print(f"{name:13}{encoder:13}{'same' if same[0] else 'garbled':26}{'same' if same[1] else 'garbled'}")
    assert same == [True, right]
END
