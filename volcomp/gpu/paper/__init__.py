"""`paper` on a GPU: the network reads the neighbourhoods of all voxels at once, or of a front of many slabs."""
