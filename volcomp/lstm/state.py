"""What a backend keeps of every row between two voxels."""

from __future__ import annotations

import numpy as np

from . import learning
from .weights import Weights

# Voxels: how far to the right of a voxel neighbouring rows are when they pass their state on to it. The features see as
# far, so that no schedule has to wait for it.
AHEAD = 2


class State:
    """State of `rows` rows, zero before their first voxel.

    inputs int8 [rows, inputs + h]  the left part is filled by the caller before each step; the right part, `hidden`, is
                                    the output of the voxel before, so that one matrix product serves both
    passed int64 [times, rows, s]   the `shared` hidden outputs of so many times, eight to a word: those of time t at t
                                    modulo `times`
    words int64 [rows, …]           the inputs, eight to a word: how what is passed on is copied; of no columns where
                                    nothing is
    cell int16 [rows, h]            in 1/4096
    offset, octaves int32 [rows]    what the head said last
    head float32 [2, n]             integers: the head's weights, which start as the model's and may learn
    exact int64 [2, n]              the same in 1/65536
    slope int64 [2, n]              what the voxels since the last step of learning say about them
    count int64 [1]                 how many voxels those are
    """

    def __init__(self, weights: Weights, rows: int, times: int = 1) -> None:
        self.inputs = np.zeros((rows, weights.inputs + weights.hidden), np.int8)
        self.hidden = self.inputs[:, weights.inputs :]
        self.passed = np.zeros((times, rows, weights.shared // 8), np.int64)
        self.words = self.inputs.view(np.int64) if weights.shared else np.empty((rows, 0), np.int64)
        self.cell = np.zeros((rows, weights.hidden), np.int16)
        self.offset, self.octaves = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self.head = np.ascontiguousarray(weights.head, np.float32)  # strided, sums would not run on vector units
        self.exact = weights.head.astype(np.int64) << learning.EXACT_BITS
        self.slope = np.zeros(weights.head.shape, np.int64)
        self.count = np.zeros(1, np.int64)
