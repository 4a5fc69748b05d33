"""What the work runs on: compiled loops, exact products, threads. No voxels."""
