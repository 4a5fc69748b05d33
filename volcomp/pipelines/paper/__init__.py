"""`paper`, the published predictor, as a codec: an LSTM reads a voxel's neighbourhood, one voxel a step (Nagoor et al.
2022; Yuvaraj et al. 2023). Kept as the reference that the other models are measured against. Begin with `slab.py`."""
