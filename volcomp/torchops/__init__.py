"""Stages in torch and in Triton, shared by coding and training on a GPU: the inputs and the gates of the LSTM."""
