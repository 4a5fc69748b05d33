"""What a backend keeps of every row between two voxels."""

from __future__ import annotations

import numpy as np

from .weights import Weights


class State:
    """State of `rows` rows, zero before their first voxel.

    inputs int8 [rows, inputs + h]  the left part is filled by the caller before each step; the right part, `hidden`, is
                                    the output of the voxel before, so that one matrix product serves both
    cell int16 [rows, h]            in 1/4096
    offset, octaves int32 [rows]    what the head said last
    """

    def __init__(self, weights: Weights, rows: int) -> None:
        self.inputs = np.zeros((rows, weights.inputs + weights.hidden), np.int8)
        self.hidden = self.inputs[:, weights.inputs :]
        self.cell = np.zeros((rows, weights.hidden), np.int16)
        self.offset, self.octaves = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
