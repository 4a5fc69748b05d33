"""What the codec runs on: compiled loops, exact products, threads. Nothing here depends on voxels."""
