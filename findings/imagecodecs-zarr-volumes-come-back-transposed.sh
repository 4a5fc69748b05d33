#!/usr/bin/env bash
# imagecodecs' lossless JPEG 2000 and HTJ2K codecs for Zarr take chunks of several slices and give them back with the
# axes in another order: the shape is Zarr's, the voxels are in other places, and nobody is told.
#
# Versions   imagecodecs 2026.3.6, imagecodecs-numcodecs 2026.3.6, zarr 3.1.6, numcodecs 0.16.6, numpy 2.4.6, Python 3.11
# Expected   What was written, as of a chunk of one slice; or an error. JPEG-LS of the same package refuses a volume, and
#            JPEG XL takes it as frames.
# Seen       By their number slices are taken for planes of a colour picture, or rows for rows of a picture whose samples
#            are x, and the decoder puts the axes elsewhere: (y, x, z) or (x, z, y). A codec of numcodecs is to return
#            memory as it was given; Zarr gives it the chunk's shape again without moving anything.
#
#     slices of a chunk    1       2 to 4     5 and more
#     JPEG 2000            same    changed    same
#     HTJ2K                same    same       changed
#     JPEG XL              same    same       same
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
import numpy as np
import zarr
from imagecodecs import numcodecs

volume = np.arange(8 * 64 * 64, dtype=np.uint16).reshape(8, 64, 64)
codecs = {
    "JPEG 2000": (numcodecs.Jpeg2k(level=0, reversible=True), {1: True, 2: False, 4: False, 8: True}),
    "HTJ2K": (numcodecs.Htj2k(reversible=True), {1: True, 2: True, 4: True, 8: False}),
    "JPEG XL": (numcodecs.Jpegxl(lossless=True), {1: True, 2: True, 4: True, 8: True}),
}
for name, (codec, expected) in codecs.items():
    for slices, same in expected.items():
        array = zarr.create_array(
            {}, shape=volume.shape, chunks=(slices, 64, 64), dtype="uint16", zarr_format=2, compressors=codec
        )
        array[:] = volume
        found = array[:]
        assert found.shape == volume.shape
        print(f"{name}, chunks of {slices}: {'same' if np.array_equal(found, volume) else 'changed'}")
        assert np.array_equal(found, volume) == same
        assert np.array_equal(np.sort(found.ravel()), volume.ravel())  # all voxels are there
END
