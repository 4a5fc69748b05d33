"""Read one slice of a volume without decoding the rest."""

import tempfile
import time
from pathlib import Path

import numpy as np
from phantom import phantom

import volcomp

voxels = phantom(slices=160)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "phantom.vcz"
    path.write_bytes(volcomp.compress(voxels))

    # A volume is cut into slabs of about 32 slices, and no slab depends on another. A slice costs its slab.
    slabs = volcomp.inspect(path).volumes[0].slabs
    print(f"{len(voxels)} slices in {slabs} slabs")

    # Given a path, volcomp reads the bytes of the slabs that it needs, and no others.
    begin = time.perf_counter()
    middle = volcomp.decompress(path, slices=slice(80, 81), threads=1)
    one = time.perf_counter() - begin

    begin = time.perf_counter()
    whole = volcomp.decompress(path, threads=1)
    everything = time.perf_counter() - begin

print(f"one slice took {one:.2f} s, the volume {everything:.2f} s, on one thread")
assert np.array_equal(middle, voxels[80:81])
assert np.array_equal(whole, voxels)
print("the voxels are the same")
