"""The pipeline `paper` on a GPU: all voxels of a slab at once in encoding, a front of many slabs in decoding."""
