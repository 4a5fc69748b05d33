#!/usr/bin/env bash
# pydicom cannot compress to JPEG 2000 what has fewer than 32 rows or columns, and does not say that this is why.
#
# Versions   pydicom 3.0.2, pylibjpeg-openjpeg 2.6.0 (OpenJPEG), imagecodecs 2026.3.6, numpy 2.4.6, Python 3.11
# Expected   Any image that the format allows, with fewer resolutions where it is small, as by imagecodecs and Pillow.
# Seen       RuntimeError "failure result from 'opj_start_compress()'", as six resolutions are always asked for and one
#            is the most that a line allows. compress() has no argument for it. A long strip of few rows is refused too.
#
#     rows × columns    pydicom    imagecodecs
#            32 × 32    coded      coded
#            31 × 31    refused    coded
#          16 × 1024    refused    coded
#          1024 × 16    refused    coded
#              1 × 1    refused    coded
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, SecondaryCaptureImageStorage, generate_uid

print("rows × columns    pydicom    imagecodecs")
for rows, columns, can in ((32, 32, True), (31, 31, False), (16, 1024, False), (1024, 16, False), (1, 1, False)):
    image = np.random.default_rng(0).integers(0, 4096, (rows, columns), np.uint16)
    assert np.array_equal(imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(image)), image)
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.set_pixel_data(image, "MONOCHROME2", 12)
    try:
        data.compress(JPEG2000Lossless)
        assert np.array_equal(data.pixel_array, image)
        result = "coded"
    except RuntimeError as error:
        assert "opj_start_compress" in str(error), error
        result = "refused"
    print(f"{f'{rows} × {columns}':>14}    {result:11}coded")
    assert (result == "coded") == can
END
