#!/usr/bin/env bash
# imagecodecs' codecs for Zarr scramble every array of `order="F"`, and nobody is told.
#
# Versions   imagecodecs 2026.3.6, imagecodecs-numcodecs 2026.3.6, zarr 3.1.6, numcodecs 0.16.6, numpy 2.4.6, Python 3.11
# Expected   What was written, as by the codecs of numcodecs itself; or an error, as PNG gives.
# Seen       A codec of numcodecs gets a chunk as an array that lies in memory in Fortran order, and is to return that
#            memory. These encode the array as it is indexed, and return one in C order. Zarr takes its memory for that
#            of an array in Fortran order: rows and columns change places, without transposing the picture.
#
#     JPEG XL, JPEG-LS, JPEG 2000, HTJ2K, LERC, TIFF    changed
#     numcodecs' Zstd                                   same
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    imagecodecs==2026.3.6 imagecodecs-numcodecs==2026.3.6 zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'END'
import numcodecs as reference
import numpy as np
import zarr
from imagecodecs import numcodecs

image = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)
codecs = {
    "JPEG XL": numcodecs.Jpegxl(lossless=True),
    "JPEG-LS": numcodecs.Jpegls(),
    "JPEG 2000": numcodecs.Jpeg2k(level=0, reversible=True),
    "HTJ2K": numcodecs.Htj2k(reversible=True),
    "LERC": numcodecs.Lerc(),
    "TIFF": numcodecs.Tiff(),
    "Zstd of numcodecs": reference.Zstd(),
}
for name, codec in codecs.items():
    for order in "CF":
        array = zarr.create_array(
            {}, shape=image.shape, chunks=image.shape, dtype="uint16", zarr_format=2, compressors=codec, order=order
        )
        array[:] = image
        same = np.array_equal(array[:], image)
        print(f"{name}, order {order}: {'same' if same else 'changed'}")
        assert same == (order == "C" or name.startswith("Zstd"))
END
