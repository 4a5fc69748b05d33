#!/usr/bin/env bash
# nibabel saves labels 0 and 3 from get_fdata() as 0 and 3.00000006, though uint8, the type of the file, holds them as
# they are.
#
# Versions   nibabel 5.4.2, numpy 2.4.6, Python 3.11
# Expected   Loading labels, and saving get_fdata() with the same header, gives the same labels: they are whole numbers,
#            and within the range of the header's type. Scale factors, which are documented, are for what does not fit.
# Seen       The scale is always chosen to fill the type, and kept as float32. Labels are stored as 0 and 255, and are
#            no whole numbers any more, so that `labels == 3` is nowhere true. Of Hounsfield units, all change a little,
#            and the file compresses worse: values are spread over all of int16. Saving of integers, as by
#            np.asarray(image.dataobj), or get_fdata().astype(np.int16), leaves all as it is.
#
#     what              saved as    values that changed    largest change    stored values    bytes by gzip
#     labels            floats              22620/48000           5.9e-08    0 to 255                   227
#     labels            integers                0/48000                 0    0 to 3                     222
#     Hounsfield units  floats              48000/48000             0.031    -32768 to 32767          80520
#     Hounsfield units  integers                0/48000                 0    -1024 to 3000            68918
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import gzip

import nibabel
import numpy as np

z, y, x = np.ogrid[:20, :40, :60]
labels = np.where((x > 20) & (y > 10) & (z >= 0), 3, 0).astype(np.uint8)
noise = np.random.default_rng(0).normal(0, 10, labels.shape)
units = np.rint(1000 * np.sin(x / 9) * np.cos(y / 7) + 10 * z + noise).astype(np.int16)
units[0, 0, :2] = -1024, 3000
print("what              saved as    values that changed    largest change    stored values    bytes by gzip")
for name, values in (("labels", labels), ("Hounsfield units", units)):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), "first.nii")
    first = nibabel.load("first.nii")
    assert np.array_equal(first.get_fdata(), values)
    for kind, data in (("floats", first.get_fdata()), ("integers", first.get_fdata().astype(values.dtype))):
        nibabel.save(nibabel.Nifti1Image(data, first.affine, first.header), "second.nii")
        second = nibabel.load("second.nii")
        assert second.get_data_dtype() == values.dtype
        change = np.abs(second.get_fdata() - values)
        stored = second.dataobj.get_unscaled()
        with open("second.nii", "rb") as file:
            size = len(gzip.compress(file.read()))
        extent = f"{stored.min()} to {stored.max()}"
        count = f"{np.count_nonzero(change)}/{change.size}"
        print(f"{name:18}{kind:12}{count:>19}{change.max():18.2g}    {extent:17}{size:13}")
        assert (change.max() > 0) == (kind == "floats")
        if name == "labels" and kind == "floats":
            assert not (second.get_fdata() == 3).any() and np.array_equal(np.unique(stored), (0, 255))
END
