#!/usr/bin/env bash
# AVIF of a grey image by imagecodecs is lossless, whatever the level: nothing is saved by a lower one.
#
# Versions   imagecodecs 2026.3.6 (libavif with aom), numpy 2.4.6, Python 3.11
# Expected   avif_encode(image, level=L) of uint8 [y, x] loses more and takes less the lower L is, as of colours.
# Seen       The same bytes for every level, and an image that comes back exactly; so too with pixelformat="400". Three
#            equal channels follow the level. A bench that codes radiographs so compares a lossless file of 3 bits per
#            pixel with others at 0.5. Pillow's AVIF writer follows its quality for grey images as well.
#
#     level    grey: bytes, largest error    three equal channels: bytes, largest error
#     10       9942, 0                       422, 24
#     50       9942, 0                       663, 17
#     90       9942, 0                       4967, 6
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import imagecodecs
import numpy as np

y, x = np.mgrid[:128, :128]
noise = np.random.default_rng(0).normal(0, 4, (128, 128))
grey = (128 + 60 * np.sin(x / 9) * np.cos(y / 7) + noise).clip(0, 255).astype(np.uint8)
colour = np.stack([grey, grey, grey], -1)


def coded(image, level):
    data = imagecodecs.avif_encode(image, level=level, speed=6)
    again = imagecodecs.avif_decode(data).reshape(*image.shape[:2], -1)
    return len(data), int(np.abs(again.astype(int) - image.reshape(*image.shape[:2], -1)).max())


print("level    grey: bytes, largest error    three equal channels: bytes, largest error")
of_grey, of_colour = {}, {}
for level in (10, 50, 90):
    of_grey[level], of_colour[level] = coded(grey, level), coded(colour, level)
    print(f"{level:<9}{'%d, %d' % of_grey[level]:30}{'%d, %d' % of_colour[level]}")
assert len(set(of_grey.values())) == 1 and of_grey[10][1] == 0, of_grey
assert of_colour[10][0] < of_colour[50][0] < of_colour[90][0] and of_colour[10][1] > of_colour[90][1] > 0, of_colour
END
