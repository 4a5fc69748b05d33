"""Compress an array, look at the file, get the array back."""

import numpy as np
from phantom import phantom

import volcomp

voxels = phantom()  # int16 [z, y, x]; all 8- and 16-bit integers will do

# The file is a bytes object: write it where you like. It has been decoded and compared already (verify=True).
data = volcomp.compress(voxels)
print(f"{voxels.nbytes} bytes became {len(data)}, a ratio of {voxels.nbytes / len(data):.2f}")

# A report reads the header and the index. It decodes no voxel, so it costs next to nothing.
volume = volcomp.inspect(data).volumes[0]
print(f"{volume.shape} {volume.dtype}, {volume.model}, {volume.bits_per_voxel:.3f} bits per voxel")

# A larger model makes a smaller file and takes longer. The file names its model, so a reader need not be told.
smaller = volcomp.compress(voxels, model="base")
print(f"base takes {len(smaller)} bytes")

assert np.array_equal(volcomp.decompress(data), voxels)
assert np.array_equal(volcomp.decompress(smaller), voxels)
print("the voxels are the same")
