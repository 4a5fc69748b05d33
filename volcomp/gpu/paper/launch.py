"""Predictions by the Triton kernel: one launch for a front, or for a part of a slab in encoding."""

from __future__ import annotations

import torch
import triton

from . import kernels
from .network import DevicePaperLstm


class TritonPredictor:
    """`network.Predictor` by the Triton kernel."""

    def __init__(self, network: DevicePaperLstm) -> None:
        self._n = network
        self._transposed = network.recurrent.T.contiguous()

    def predict(
        self, known: torch.Tensor, steps: torch.Tensor, places: torch.Tensor, begin: int, limit: int, out: torch.Tensor
    ) -> None:
        """Predict ranks by one launch; see `network.Predictor`."""
        n = self._n
        kernels.predict[(triton.cdiv(len(out), kernels.BLOCK),)](
            known, steps, places, self._transposed, n.shift, n.entrance, n.bias, n.table, n.head, n.head_bias, out,
            begin, len(out), len(steps), limit, BLOCK=kernels.BLOCK, **kernels.OPTIONS,
        )  # fmt: skip
