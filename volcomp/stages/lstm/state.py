"""The state of a backend: what it keeps of every row between two voxels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...dtypes import Int8s, Int16s, Int32s, Int64s
from . import learning
from .weights import LstmWeights

# A voxel gets the hidden outputs that neighbouring rows had this many voxels further right. The features look equally
# far, so this delays no schedule.
AHEAD = 2


class StateArrays(NamedTuple):
    """The arrays of a `State`, and how many inputs are observed (`LstmWeights.observed`), for compiled loops."""

    inputs: Int8s
    passed: Int64s
    words: Int64s
    cell: Int16s
    offset: Int32s
    octaves: Int32s
    head: learning.Head
    observed: int


class State:
    """State of `rows` rows, zero before their first voxel.

    inputs int8 [rows, inputs + h]  the caller fills the left part before each step; the right part, `hidden`, is the
                                    output of the voxel before, so that one matrix product serves both
    passed int64 [times, rows, s]   the `shared` hidden outputs of the last `times` times, eight to a word; those of
                                    time t lie at t modulo `times`
    words int64 [rows, …]           the inputs, eight to a word; no columns if they do not fill whole words
    cell int16 [rows, h]            in 1/4096
    offset, octaves int32 [rows]    the latest outputs of the head
    head, exact, slope, count       `weights`, `exact`, `slope` and `collected` of `learning.Head`
    """

    def __init__(self, weights: LstmWeights, rows: int, times: int = 1) -> None:
        self.inputs = np.zeros((rows, weights.inputs + weights.hidden), np.int8)
        self.hidden = self.inputs[:, weights.inputs :]
        self.passed = np.zeros((times, rows, weights.shared // 8), np.int64)
        self.words = self.inputs.view(np.int64) if self.inputs.shape[1] % 8 == 0 else np.empty((rows, 0), np.int64)
        self.cell = np.zeros((rows, weights.hidden), np.int16)
        self.offset, self.octaves = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self.head = np.array(weights.head, np.int16, order="C")
        self.exact = weights.head.astype(np.int64) << learning.EXACT_BITS
        self.slope = np.zeros(weights.head.shape, np.int64)
        self.count = np.zeros(1, np.int64)
        scratch = np.zeros(weights.head.shape, np.int32), np.zeros(weights.head.shape[1])
        head = learning.Head(self.head, self.exact, self.slope, self.count, *scratch)
        # All arrays, for compiled loops.
        self.arrays = StateArrays(
            self.inputs, self.passed, self.words, self.cell, self.offset, self.octaves, head, weights.observed
        )
