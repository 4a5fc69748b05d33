"""The definition of the integer LSTM: one step in plain numpy, slow and readable. Every other backend must equal it."""

from __future__ import annotations

import numpy as np

from ...dtypes import Int32s, Int64s, UInt8s
from . import learning
from .state import State
from .weights import LstmWeights


def shifted(value: Int64s, bits: int) -> Int64s:
    """Compute value · 2^-bits, rounded to the nearest integer, halves up."""
    return (value + (1 << (bits - 1))) >> bits


def sigmoid(z: Int64s) -> Int64s:
    """Compute 1/2 + z/4 − z|z|/32 in 1/32768 for z in 1/1024 within ±4; constant beyond."""
    z = np.clip(z, -4096, 4096)
    return 16384 + 8 * z - ((z * abs(z)) >> 10)


def tanh(z: Int64s) -> Int64s:
    """Compute z − z|z|/4 in 1/32768 for z in 1/1024 within ±2; constant beyond."""
    z = np.clip(z, -2048, 2048)
    return 32 * z - ((z * abs(z)) >> 7)


class ReferenceLstm:
    """The network of the backend `reference`; `cpu.CpuLstm` is the fast one."""

    def __init__(self, weights: LstmWeights) -> None:
        self.weights = weights

    def step(self, state: State, lo: int, hi: int) -> tuple[Int32s, Int32s]:
        """Advance rows lo … hi-1 by one voxel, whose inputs are in `state`.

        Returns two arrays int32 [hi - lo]: the offset of the mean in 1/1024 of the scale, within ±8192, and the
        correction of the scale in 1/16 octave.
        """
        w = self.weights
        h = w.hidden
        accumulator = state.inputs[lo:hi].astype(np.int64) @ w.weights.astype(np.int64)  # [v, 4h]
        z = (accumulator * 8) >> w.shift  # in 1/1024
        i, f, o = (sigmoid(z[:, k * h : (k + 1) * h]) for k in range(3))
        g = tanh(z[:, 3 * h :])
        c = np.clip((f * state.cell[lo:hi] + ((i * g) >> 3) + (1 << 14)) >> 15, -32767, 32767)
        hidden = np.minimum(shifted(o * tanh(c >> 2), 23), 127)
        state.cell[lo:hi] = c
        state.hidden[lo:hi] = hidden
        sums = state.inputs[lo:hi, w.unseen :].astype(np.int64) @ state.head.astype(np.int64).T + w.bias
        return np.clip(sums[:, 0] >> 5, -8192, 8192).astype(np.int32), (sums[:, 1] >> 11).astype(np.int32)

    def learn(self, state: State, lo: int, hi: int, error: Int32s, classes: UInt8s) -> None:
        """Let the head learn from the voxels of rows lo … hi-1, all of a front, after their `step`.

        error int32 [r]     voxel minus mean, in sixteenths of a grey level; voxels with NOTHING are skipped
        classes uint8 [r]   from the network, before correction
        """
        w = self.weights
        if not w.learns:
            return
        learned = lo + np.flatnonzero(error[lo:hi] != learning.NOTHING)
        signed, c = error[learned].astype(np.int64), classes[learned].astype(np.int64)
        distance = (abs(signed) * learning.RECIPROCALS[np.maximum(c, learning.FINEST)]) >> 24
        slope = w.slopes[:, c, np.minimum(distance, learning.BINS - 1)].astype(np.int64)  # [2, v]
        slope[0] = np.where(signed > 0, -slope[0], slope[0])
        state.slope += slope @ state.inputs[learned, w.unseen :].astype(np.int64)
        state.count += learned.size
        if state.count[0] >= learning.ENOUGH:
            mean = (state.slope << learning.MEAN_BITS) // state.count[0]
            state.exact -= (mean @ w.metric.astype(np.int64).T) >> learning.STEP_SHIFT
            limit = w.head_limit << learning.EXACT_BITS
            np.clip(state.exact, -limit, limit, out=state.exact)
            state.head[:] = shifted(state.exact, learning.EXACT_BITS)
            state.slope[:] = 0
            state.count[:] = 0
