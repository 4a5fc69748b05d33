"""The published experiments, repeated: which causal neighbourhood an LSTM voxel predictor should see, at what price."""
