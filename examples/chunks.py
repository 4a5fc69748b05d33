"""Store an array in chunks and read one of them, as a chunked array store does it.

A volcomp file reads any slice, so a whole volume in one file is the simplest choice. Chunks serve a store that wants an
object for each piece, as Zarr does: pieces are written in any order, by several machines, and replaced alone.
"""

import tempfile
from pathlib import Path

import numpy as np
from phantom import phantom

import volcomp

# Slices of a chunk, which makes it one slab. Thin chunks cost size: a slab's first slices have none to look back at.
HEIGHT = 32


class Chunks:
    """An array [z, y, x] in a folder: one file for every HEIGHT slices, named by the number of the chunk."""

    def __init__(self, folder: Path, slices: int) -> None:
        self.folder, self.slices = folder, slices

    def write(self, number: int, voxels: np.ndarray) -> None:
        """Store one chunk."""
        (self.folder / f"{number}.0.0.vcz").write_bytes(volcomp.compress(voxels))

    def read(self, number: int) -> np.ndarray:
        """Get one chunk; no other file is opened."""
        return volcomp.decompress(self.folder / f"{number}.0.0.vcz")

    def __getitem__(self, wanted: slice) -> np.ndarray:
        """Get slices, from the chunks that hold them."""
        first, end, _ = wanted.indices(self.slices)
        parts = []
        for number in range(first // HEIGHT, -(-end // HEIGHT)):
            at = number * HEIGHT
            parts.append(self.read(number)[max(first - at, 0) : end - at])
        return np.concatenate(parts)


voxels = phantom(slices=112, size=48)

with tempfile.TemporaryDirectory() as folder:
    chunks = Chunks(Path(folder), len(voxels))
    for number, begin in enumerate(range(0, len(voxels), HEIGHT)):
        chunks.write(number, voxels[begin : begin + HEIGHT])

    sizes = [path.stat().st_size for path in sorted(Path(folder).iterdir())]
    print(f"{len(sizes)} chunks of {', '.join(map(str, sizes))} bytes; one file has {len(volcomp.compress(voxels))}")

    # One chunk, and slices that lie in two.
    third = chunks.read(2)
    print(f"chunk 2 holds slices 64 to {63 + len(third)}")
    assert np.array_equal(third, voxels[64:96])
    assert np.array_equal(chunks[30:34], voxels[30:34])

    # A chunk is replaced, and the others stay as they are.
    chunks.write(1, third)
    assert np.array_equal(chunks[:], np.concatenate([voxels[:32], voxels[64:96], voxels[64:]]))

print("the voxels are the same")
