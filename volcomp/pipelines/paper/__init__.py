"""`paper`, the published predictor, as a codec: an LSTM reads the neighbourhood of a voxel, one voxel a step (Nagoor et
al. 2022; Yuvaraj et al. 2023). It is the baseline that the other models are measured against. Start with `slab.py`."""
