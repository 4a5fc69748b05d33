#!/usr/bin/env bash
# JPEG-LS by imagecodecs is larger than the standard asks for, and larger than by pyjpegls. Both have CharLS inside.
#
# Versions   imagecodecs 2026.3.6 (CharLS 2.4.3), pyjpegls 1.5.1, numpy 2.4.6, Python 3.11
# Expected   imagecodecs codes uint16 with 16 bits, and pyjpegls, told 16 bits, gives the same bytes.
# Seen       imagecodecs puts a SPIFF header of 44 bytes before the frame, which pyjpegls does not, and which the format
#            does not need. It has no argument for the depth: an image of 11 bits is coded as one of 16, whose larger
#            limits and first guesses cost some per cent. The smaller the image, the more.
#
#     size    imagecodecs   pyjpegls, 16 bits   pyjpegls, 11 bits   gain
#     48²            2076                2032                1679   19.1 %
#     512²         186064              186020              184849    0.7 %
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imagecodecs==2026.3.6 pyjpegls==1.5.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import imagecodecs
import jpeg_ls
import numpy as np

BITS = 11
print("size    imagecodecs   pyjpegls, 16 bits   pyjpegls, 11 bits   gain")
found = []
for side in (48, 512):
    y, x = np.ogrid[:side, :side]
    noise = np.random.default_rng(0).normal(0, 8, (side, side))
    image = np.rint(1000 + 900 * np.sin(x / 40) * np.cos(y / 50) + noise).clip(0, (1 << BITS) - 1).astype(np.uint16)
    about = {"rows": side, "columns": side, "samples_per_pixel": 1}
    theirs = bytes(imagecodecs.jpegls_encode(image))
    wide, true = (bytes(jpeg_ls.encode_pixel_data(image.tobytes(), bits_stored=n, **about)) for n in (16, BITS))
    for stream in (theirs, wide, true):
        assert np.array_equal(imagecodecs.jpegls_decode(stream), image)
    spiff = theirs.index(b"\xff\xf7") - wide.index(b"\xff\xf7")
    assert theirs[2:4] == b"\xff\xe8" and b"SPIFF" in theirs[:16], "there is no SPIFF header any more"
    assert theirs[2 + spiff :] == wide[2:], "the streams differ in more than the header"
    assert theirs[theirs.index(b"\xff\xf7") + 4] == 16, "imagecodecs states another depth than 16"
    assert true[true.index(b"\xff\xf7") + 4] == BITS
    found.append((len(theirs), len(wide), len(true)))
    print(f"{side}²{len(theirs):16}{len(wide):20}{len(true):20}{100 * (1 - len(true) / len(theirs)):7.1f} %")
gains = [1 - true / theirs for theirs, _, true in found]
assert all(theirs == wide + 44 for theirs, wide, _ in found), found
assert 0.15 < gains[0] < 0.25 and 0.005 < gains[1] < 0.01, gains
END
