"""Sizes and speeds of volcomp beside other lossless codecs, measured on real series; and the scene of `make demo`."""
