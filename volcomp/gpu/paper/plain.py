"""Predictions in plain torch, on any device: for machines without Triton, and as a second definition of its kernel.

Matrix products are in float32, which is exact: the sums stay below 2^24 (`pipelines/paper/weights.py`).
"""

from __future__ import annotations

import torch

from ...pipelines.paper.reference import CELL_MOST, GATE_ONE, HIDDEN_MOST, SPLIT, VALUE_BITS, VALUE_SHIFT
from ...pipelines.paper.weights import OUTPUT_BITS, UNITS
from .network import DevicePaperLstm

CHUNK = 1 << 14  # voxels at a time; the sums of both halves take 64 MB
Tensor = torch.Tensor


class PlainPredictor:
    """`network.Predictor` in plain torch."""

    def __init__(self, network: DevicePaperLstm) -> None:
        self._n = network
        self._matrix = network.recurrent.to(torch.float32)
        self._middle = len(network.table) // 2

    def predict(self, known: Tensor, steps: Tensor, places: Tensor, begin: int, limit: int, out: Tensor) -> None:
        """Predict ranks, CHUNK voxels at a time; see `network.Predictor`."""
        for a in range(0, len(out), CHUNK):
            part = out[a : a + CHUNK]
            part[:] = self._ranks(known, steps, places[begin + a : begin + a + len(part)], limit)

    def _ranks(self, known: Tensor, steps: Tensor, places: Tensor, limit: int) -> Tensor:
        """Return predicted ranks int64 [v]."""
        n, most = self._n, max(limit, 1)
        hidden, cell = torch.zeros((2, len(places), UNITS), dtype=torch.int32, device=known.device)
        for step in steps.unbind():
            rank = known[places + step].to(torch.int64)
            value = (rank * (2 << VALUE_BITS) + most // 2) // most - (1 << VALUE_BITS)
            top = (hidden + 128) >> 8
            halves = torch.cat([top, hidden - (top << 8)]).to(torch.float32)
            high, low = (halves @ self._matrix).to(torch.int32).chunk(2)
            z = ((high << 8) + low) >> (n.shift + SPLIT)
            z += (value.to(torch.int32)[:, None] * n.entrance + n.bias) >> VALUE_SHIFT
            i, f, o, g = self._sigmoid(z).chunk(4, dim=1)
            cell = ((f * cell + ((i * (2 * g - GATE_ONE)) >> 3) + (1 << 14)) >> 15).clamp(-CELL_MOST, CELL_MOST)
            squashed = 2 * self._sigmoid((cell + 1) >> 1) - GATE_ONE
            hidden = ((o * squashed + (1 << 14)) >> 15).clamp(max=HIDDEN_MOST)
        output = (hidden.to(torch.int64) * n.head).sum(dim=1) + n.head_bias
        one = 1 << OUTPUT_BITS
        return ((output * limit + one * limit + one) >> (OUTPUT_BITS + 1)).clamp(0, limit)

    def _sigmoid(self, z: Tensor) -> Tensor:
        """Return σ in 1/32768 of z in 1/1024, int32 of the same shape."""
        last = self._middle - 1
        return self._n.table[z.clamp(-last, last).to(torch.int64) + self._middle].to(torch.int32)
