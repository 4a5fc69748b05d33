"""Bodies: the bytes of a file that hold its voxels, and what they become for the codec."""
