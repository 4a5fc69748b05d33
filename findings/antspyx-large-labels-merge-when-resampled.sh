#!/usr/bin/env bash
# ANTsPy resamples labels by nearest neighbour through float32: labels beyond 2^24 become others, and two become one.
#
# Versions   antspyx 0.6.3, nibabel 5.4.2, numpy 2.3.5, Python 3.11
# Expected   a label image that is read as "unsigned int" keeps its values where it is resampled by nearest neighbour,
#            reoriented or masked by a level; its pixel type stays "unsigned int", as ANTsPy says.
# Seen       the type stays, the values are those of float32. Structures of the Allen mouse atlas have such numbers, as
#            312782592 and 312782596, which are one afterwards; a mask of the one level has the voxels of both. Reading
#            without `pixeltype` does the same, and is documented: the default is "float". Nilearn 0.14.1 keeps all.
#
#     what                               labels
#     the file                           1 997 182305693 312782592 312782596 614454277
#     image_read                         1 997 182305696 312782592 614454272
#     image_read, unsigned int           1 997 182305693 312782592 312782596 614454277
#     … resample_image, nearest          1 997 182305696 312782592 614454272
#     … reorient_image2                  1 997 182305696 312782592 614454272
#     … mask_image, level 312782596      16 voxels of 8
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check antspyx==0.6.3 nibabel==5.4.2 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'END' 2> errors.txt || { cat errors.txt && exit 1; }
import ants
import nibabel
import numpy as np

labels = np.array([1, 997, 182305693, 312782592, 312782596, 614454277], np.uint32)
nibabel.save(nibabel.Nifti1Image(np.repeat(labels, 8).reshape(6, 4, 2), np.eye(4)), "atlas.nii.gz")
kept, changed = labels.tolist(), [1, 997, 182305696, 312782592, 614454272]


def values(image):
    return np.unique(image.numpy()).astype(np.int64).tolist()


read = ants.image_read("atlas.nii.gz", pixeltype="unsigned int")
nearest = ants.resample_image(read, (8, 4, 2), use_voxels=True, interp_type=1)
turned = ants.reorient_image2(read, "RAS")
assert read.pixeltype == nearest.pixeltype == turned.pixeltype == "unsigned int"
print("what                               labels")
for name, found, expected in (
    ("the file", np.unique(nibabel.load("atlas.nii.gz").dataobj).tolist(), kept),
    ("image_read", values(ants.image_read("atlas.nii.gz")), changed),
    ("image_read, unsigned int", values(read), kept),
    ("… resample_image, nearest", values(nearest), changed),
    ("… reorient_image2", values(turned), changed),
):
    print(f"{name:35}{' '.join(map(str, found))}")
    assert found == expected, f"now {found}"
masked = int(ants.mask_image(read, read, level=[312782596], binarize=True).numpy().sum())
print(f"… mask_image, level 312782596      {masked} voxels of 8")
assert masked == 16
END
