#!/usr/bin/env bash
# JPEG 2000 that is written as lossless loses the last columns, where the last tiles are narrow: by OpenJPEG, so by
# Pillow.
#
# Versions   pillow 13.0.0 (OpenJPEG 2.5.4), numpy 2.4.6, Python 3.11; opj_compress 2.5.0 of Debian 12 does the same
# Expected   What is saved with irreversible=False, which is the default, is read back bit for bit, whatever the tiles.
# Seen       With tiles of 500 and the default of 6 resolutions, all but a few samples of the last columns are wrong
#            where the last tile has 1 to 8 columns, and no warning is given. With 5 resolutions, or with tiles of 512,
#            nothing is lost. Such a tile has no columns left at the low resolutions, and is decomposed further where
#            its place is odd: 1000, 500, 250, 125, 63. OpenJPEG's issue 1575 seems to be of the same.
#
#     width    tiles    resolutions    wrong columns    wrong samples    largest error
#      1000      500        6                      0                0                0
#      1001      500        6              1000-1000              291               48
#      1008      500        6              1000-1007             2358               29
#      1009      500        6                      0                0                0
#      1001      500        5                      0                0                0
#      1001      512        6                      0                0                0
#       201      100        6                200-200              291               40
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io

import numpy as np
from PIL import Image

print("width    tiles    resolutions    wrong columns    wrong samples    largest error")
for width, side, resolutions, wrong in (
    (1000, 500, None, None),
    (1001, 500, None, (1000, 1000)),
    (1008, 500, None, (1000, 1007)),
    (1009, 500, None, None),
    (1001, 500, 5, None),
    (1001, 512, None, None),
    (201, 100, None, (200, 200)),
):
    image = np.random.default_rng(0).integers(0, 256, (300, width), np.uint8)
    file = io.BytesIO()
    more = {} if resolutions is None else {"num_resolutions": resolutions}
    Image.fromarray(image).save(file, "JPEG2000", tile_size=(side, min(side, 300)), irreversible=False, **more)
    back = np.asarray(Image.open(file))
    assert back.shape == image.shape and back.dtype == image.dtype
    error = np.abs(back.astype(int) - image)
    columns = np.flatnonzero(error.any(axis=0))
    found = (int(columns[0]), int(columns[-1])) if columns.size else None
    shown = f"{found[0]}-{found[1]}" if found else "0"
    print(f"{width:5}{side:9}{resolutions or 6:9}{shown:>23}{(error > 0).sum():17}{error.max():17}")
    assert found == wrong, (found, wrong)
END
