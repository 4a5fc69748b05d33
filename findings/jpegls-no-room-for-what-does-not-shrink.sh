#!/usr/bin/env bash
# Two packages with CharLS inside cannot code images that JPEG-LS does not make smaller: tiny ones by pyjpegls, noise by
# imagecodecs, each the ones that the other can.
#
# Versions   pyjpegls 1.5.1, imagecodecs 2026.3.6 (CharLS 2.4.3), numpy 2.4.6, Python 3.11
# Expected   Every image that the format allows can be coded; some become larger, as with any lossless code.
# Seen       The room for the result is the image's size with some allowance, and where it does not suffice, an error
#            says "The destination buffer is too small". pyjpegls refuses any image of 1 × 1 or 2 × 2, and noise of 12
#            bits up to 4 × 4; it has no argument to ask for more room. imagecodecs refuses noise of 8 bits from some
#            100 × 100 (not of 12 bits, which come in 16); its argument `out`, as a number of bytes, gets it through.
#
#     image                        pyjpegls        imagecodecs    imagecodecs, out=
#     1²   8 bits, zero           too small                 72                   72
#     4²  12 bits, noise          too small                112                  112
#     512² 8 bits, noise             279380          too small               279424
#     512² 12 bits, noise            410573             420961               420961
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyjpegls==1.5.1 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import imagecodecs
import jpeg_ls
import numpy as np


def size(encode, image, **more):
    try:
        stream = bytes(encode(image, **more))
    except (RuntimeError, imagecodecs.JpeglsError) as error:
        assert "destination buffer is too small" in str(error), error
        return "too small"
    assert np.array_equal(imagecodecs.jpegls_decode(stream), image)
    return len(stream)


noise = np.random.default_rng(0)
print("image                        pyjpegls        imagecodecs    imagecodecs, out=")
for name, image, pyjpegls_can, imagecodecs_can in (
    ("1²   8 bits, zero", np.zeros((1, 1), np.uint8), False, True),
    ("4²  12 bits, noise", noise.integers(0, 4096, (4, 4), np.uint16), False, True),
    ("512² 8 bits, noise", noise.integers(0, 256, (512, 512), np.uint8), True, False),
    ("512² 12 bits, noise", noise.integers(0, 4096, (512, 512), np.uint16), True, True),
):
    one = size(jpeg_ls.encode_array, image)
    other = size(imagecodecs.jpegls_encode, image)
    roomy = size(imagecodecs.jpegls_encode, image, out=2 * image.nbytes + 1000)
    print(f"{name:20}{one:>18}{other:>19}{roomy:>21}")
    assert (one != "too small") == pyjpegls_can and (other != "too small") == imagecodecs_can, (one, other)
    assert roomy != "too small"
END
