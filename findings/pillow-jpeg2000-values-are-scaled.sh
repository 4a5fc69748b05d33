#!/usr/bin/env bash
# Pillow reads other values from lossless JPEG 2000 of 12 bits than the file has: 16 times as large.
#
# Versions   pillow 13.0.0 (OpenJPEG 2.5.4), imagecodecs 2026.3.6, pylibjpeg-openjpeg 2.6.0, numpy 2.4.6, Python 3.11
# Expected   A grey image of 12 bits opens in mode I;16 with values of 0 to 4095, as by the other readers.
# Seen       Values are scaled to fill the 8 or 16 bits of the mode, and 32768 is added to signed ones, so that they fit
#            nothing that goes by the file's depth: a DICOM file's window and rescale slope, for instance. Nothing on
#            the image tells how many bits it had. What Pillow writes itself has 8 or 16 bits, and does not show it.
#
#     depth        mode    the sample 9 by Pillow    by imagecodecs    by pylibjpeg-openjpeg
#      4 bits         L                       144                 9                        9
#      8 bits         L                         9                 9                        9
#     10 bits      I;16                       576                 9                        9
#     12 bits      I;16                       144                 9                        9
#     16 bits      I;16                         9                 9                        9
#     12 signed    I;16                     32912                 9                        9
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pillow==13.0.0 imagecodecs==2026.3.6 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io

import imagecodecs
import numpy as np
import openjpeg
from PIL import Image

print("depth        mode    the sample 9 by Pillow    by imagecodecs    by pylibjpeg-openjpeg")
for bits, signed, mode, expected in (
    (4, False, "L", 144),
    (8, False, "L", 9),
    (10, False, "I;16", 576),
    (12, False, "I;16", 144),
    (16, False, "I;16", 9),
    (12, True, "I;16", 32768 + 144),
):
    kind = np.int16 if signed else np.uint8 if bits <= 8 else np.uint16
    low, high = (-1 << bits - 1, 1 << bits - 1) if signed else (0, 1 << bits)
    image = np.random.default_rng(0).integers(low, high, (64, 64), kind)
    image[0, 0] = 9
    stream = imagecodecs.jpeg2k_encode(image, bitspersample=bits, codecformat="j2k")
    opened = Image.open(io.BytesIO(stream))
    pillow, others = np.asarray(opened), (imagecodecs.jpeg2k_decode(stream), openjpeg.decode(stream))
    assert all(np.array_equal(other, image) for other in others)
    scale = 1 << (8 if bits <= 8 else 16) - bits
    assert np.array_equal(pillow.astype(int), (image.astype(int) - (low if signed else 0)) * scale)
    shown = f"{bits:2} {'signed' if signed else 'bits'}"
    print(f"{shown:13}{opened.mode:>4}{pillow[0, 0]:26}{others[0][0, 0]:18}{others[1][0, 0]:25}")
    assert opened.mode == mode and pillow[0, 0] == expected
END
