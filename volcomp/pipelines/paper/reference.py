"""The definition of the network: the published LSTM over a sequence, in integers and numpy. `cpu.py` must equal it.

A voxel's value is in 1/16384 from −1 to 1, pre-activations are in 1/1024, gates and hidden outputs in 1/32768, the cell
in 1/4096 within ±8, the output in 2^-28. Hidden outputs keep 16 bits, as two halves of 8 that go through the same
weights: with 8 alone, the prediction of 12-bit voxels would be off by grey levels.
"""

from __future__ import annotations

import numpy as np

from ...dtypes import Int32s, Int64s, Levels
from .weights import BIAS_BITS, OUTPUT_BITS, SIGMOID_STEPS, UNITS, PaperWeights

VALUE_BITS = 14
GATE_ONE = 1 << 15
HIDDEN_MOST = (127 << 8) + 127  # the largest whose halves are both int8
CELL_MOST = 32767
SPLIT = 5  # a hidden output is in 2^-15, a pre-activation in 2^-10
VALUE_SHIFT = BIAS_BITS - 10


def value_of(ranks: Levels, limit: int) -> Int32s:
    """Convert ranks 0 … limit to values −1 … 1 in 1/16384, int32 of the same shape; to −1 if there is only one rank."""
    most = max(limit, 1)
    return ((ranks.astype(np.int64) * (2 << VALUE_BITS) + most // 2) // most - (1 << VALUE_BITS)).astype(np.int32)


def rank_of(output: Int64s, limit: int) -> Int32s:
    """Return the ranks int32 [n] within 0 … limit that are nearest to outputs int64 [n] in 2^-28."""
    one = 1 << OUTPUT_BITS
    return np.clip((output * limit + one * limit + one) >> (OUTPUT_BITS + 1), 0, limit).astype(np.int32)


class ReferencePaperLstm:
    """The reference backend, and the base class of all others."""

    def __init__(self, weights: PaperWeights) -> None:
        self.weights = weights

    def predict(self, ranks: Levels, limit: int) -> Int32s:
        """Predict the ranks int32 [n] of voxels whose neighbours have the ranks [n, K] of 0 … limit, in the order of
        the sequence. Each prediction is independent of the other voxels in the batch."""
        w = self.weights
        hidden, cell = np.zeros((2, len(ranks), UNITS), np.int64)
        for value in value_of(ranks, limit).T.astype(np.int64):
            high = np.minimum((hidden + 128) >> 8, 127)
            low = hidden - (high << 8)
            # float64 holds the sums, which are integers below 2^24, and has a fast product.
            sums = [(half.astype(np.float64) @ w.recurrent).astype(np.int64) for half in (high, low)]
            z = ((sums[0] << 8) + sums[1]) >> (SPLIT + w.shift)
            z += (value[:, None] * w.entrance + w.bias) >> VALUE_SHIFT
            i, f, o, g = np.split(self._sigmoid(z), 4, axis=1)
            cell = (f * cell + ((i * (2 * g - GATE_ONE)) >> 3) + (1 << 14)) >> 15
            cell = np.clip(cell, -CELL_MOST, CELL_MOST)
            squashed = 2 * self._sigmoid((cell + 1) >> 1) - GATE_ONE
            hidden = np.minimum((o * squashed + (1 << 14)) >> 15, HIDDEN_MOST)
        return rank_of(hidden @ w.head.astype(np.int64) + w.head_bias[0], limit)

    def _sigmoid(self, z: np.ndarray) -> np.ndarray:
        """Compute σ in 1/32768 of z in 1/1024, from the table, which covers |z| below 8."""
        right = self.weights.sigmoid.astype(np.int64)[np.minimum(np.abs(z), 8 * SIGMOID_STEPS - 1)]
        return np.where(z < 0, GATE_ONE - right, right)
