#!/usr/bin/env bash
# zarr writes records whose fields are big-endian to format 3 as they lie in memory, and reads them as little-endian:
# every number changes, and nobody is told.
#
# Versions   zarr 3.1.6, numcodecs 0.16.6, numpy 2.4.6, Python 3.11
# Expected   The values that were written, in either byte order, as of plain numbers; or an error when the array is made.
# Seen       The metadata name the fields' types without a byte order. The codec `bytes` turns plain numbers to its
#            configured byte order, and leaves records alone. Opened again, the array has little-endian fields:
#
#     written  0 1 2 3
#     read     0 256 512 768
#
#            The array that wrote them still reads them right, so that a look at it finds nothing.
#
# Fails when the values come back, or are refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'END'
import numpy as np
import zarr

records = np.zeros(4, [("a", ">i2"), ("b", ">f4")])
records["a"], records["b"] = np.arange(4), np.arange(4) / 3
array = zarr.create_array("records.zarr", data=records, chunks=(4,))
assert np.array_equal(array[:]["a"], records["a"])
found = zarr.open_array("records.zarr", mode="r")[:]
print("written ", *records["a"])
print("read    ", *found["a"])
assert found["a"].tolist() == [0, 256, 512, 768], found
assert not np.array_equal(found["b"], records["b"])

plain = zarr.create_array("plain.zarr", data=np.arange(4, dtype=">i2"), chunks=(4,))
assert zarr.open_array("plain.zarr", mode="r")[:].tolist() == [0, 1, 2, 3]
END
