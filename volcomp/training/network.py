"""The trainable twin of the integer LSTM: its forward pass *is* the integer one, its backward pass goes straight
through the roundings (Bengio et al. 2013; quantisation-aware training).

So nothing can differ between training and coding, and the products run in int8 forwards and bfloat16 backwards: both
are several times as fast on a CPU as float32. Master weights are float32. Real values: input = x/64, hidden = h/128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit

from ..features import INPUTS
from ..lstm import cell as arithmetic

WEIGHT_LIMIT = 64  # int8 kernels cannot saturate their 16-bit pairs below this
SHIFT_LIMIT = 7
_i = np.int32


@njit(nogil=True, cache=True)
def _forward(
    accumulator: np.ndarray, shift: np.ndarray, cell: np.ndarray, z: np.ndarray, next_cell: np.ndarray,
    hidden: np.ndarray,
) -> None:  # fmt: skip
    """As `lstm.cell.step`, but keeping pre-activations z int16 [v, 4h] and cells int16 [v, h] for the backward pass."""
    h = cell.shape[1]
    for v in range(cell.shape[0]):
        for j in range(4 * h):
            z[v, j] = min(max(arithmetic.scaled(accumulator[v, j], shift[j]), _i(-8192)), _i(8192))
        for j in range(h):
            i = arithmetic.sigmoid(_i(z[v, j]))
            f = arithmetic.sigmoid(_i(z[v, h + j]))
            g = arithmetic.tanh(_i(z[v, 3 * h + j]))
            next_cell[v, j] = arithmetic.next_cell(i, f, g, _i(cell[v, j]))
        for j in range(h):
            o = arithmetic.sigmoid(_i(z[v, 2 * h + j]))
            hidden[v, j] = arithmetic.output(o, arithmetic.tanh(_i(_i(next_cell[v, j]) >> _i(2))))


@njit(inline="always")
def _sigmoid(z: Any) -> Any:
    z = min(max(z, np.float32(-4)), np.float32(4))
    return np.float32(0.5) + z * np.float32(0.25) - z * abs(z) * np.float32(0.03125)


@njit(inline="always")
def _sigmoid_slope(z: Any) -> Any:
    return max(np.float32(0.25) - abs(z) * np.float32(0.0625), np.float32(0))


@njit(inline="always")
def _tanh(z: Any) -> Any:
    z = min(max(z, np.float32(-2)), np.float32(2))
    return z - z * abs(z) * np.float32(0.25)


@njit(inline="always")
def _tanh_slope(z: Any) -> Any:
    return max(np.float32(1) - abs(z) * np.float32(0.5), np.float32(0))


@njit(nogil=True, cache=True)
def _backward(
    z: np.ndarray, cell: np.ndarray, next_cell: np.ndarray, d_hidden: np.ndarray, d_cell: np.ndarray, dz: np.ndarray,
) -> None:  # fmt: skip
    """Gradients of one step: d_hidden float32 [v, h] in, d_cell [v, h] in and out, dz float32 [v, 4h] out."""
    h = cell.shape[1]
    unit, cell_unit = np.float32(1 / 1024), np.float32(1 / 4096)
    for v in range(cell.shape[0]):
        for j in range(h):
            zi, zf = np.float32(z[v, j]) * unit, np.float32(z[v, h + j]) * unit
            zo, zg = np.float32(z[v, 2 * h + j]) * unit, np.float32(z[v, 3 * h + j]) * unit
            c, new = np.float32(cell[v, j]) * cell_unit, np.float32(next_cell[v, j]) * cell_unit
            o, squashed = _sigmoid(zo), _tanh(new)
            dh = d_hidden[v, j]
            dc = d_cell[v, j] + dh * o * _tanh_slope(new)
            dz[v, j] = dc * _tanh(zg) * _sigmoid_slope(zi)
            dz[v, h + j] = dc * c * _sigmoid_slope(zf)
            dz[v, 2 * h + j] = dh * squashed * _sigmoid_slope(zo)
            dz[v, 3 * h + j] = dc * _sigmoid(zi) * _tanh_slope(zg)
            d_cell[v, j] = dc * _sigmoid(zf)


def quantise(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Master weights [INPUTS + h, 4h] to int8 within ±64, and the shift of each column: as fine as its largest weight
    allows. An input's integer is in 1/64, half as fine as a hidden one's 1/128: hence the factor of two on its rows."""
    doubled = weights.clone()
    doubled[:INPUTS] *= 2
    largest = doubled.abs().amax(0).clamp(min=1e-6)
    shift = torch.floor(torch.log2(WEIGHT_LIMIT / largest)).clamp(0, SHIFT_LIMIT)
    integers = torch.round(doubled * torch.exp2(shift)).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    return integers.to(torch.int8), shift.to(torch.int32)


class RowLstm:
    """Master weights [INPUTS + h, 4h] float32, gates in the order i, f, o, g, and their hand-written passes.

    Autograd would keep and convert every intermediate of every step; this keeps two small integer arrays.
    """

    def __init__(self, hidden: int, generator: torch.Generator) -> None:
        self.hidden = hidden
        fan = (INPUTS + hidden) ** -0.5
        self.weights = (torch.rand(INPUTS + hidden, 4 * hidden, generator=generator) * 2 - 1) * fan
        self.weights[-hidden - 2, hidden : 2 * hidden] = 1.0  # the constant input starts the forget gates open
        self.weights.requires_grad_()

    def integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights that `forward` uses, int8 [INPUTS + h, 4h], and the shifts of their columns, int32 [4h]."""
        return quantise(self.weights.detach())

    def forward(self, inputs: np.ndarray) -> torch.Tensor:
        """Inputs and hidden outputs after them int8 [T, B, INPUTS + h], for inputs int8 [T, B, INPUTS], from a state of
        zeros."""
        steps, rows, _ = inputs.shape
        h = self.hidden
        integers, shift = self.integers()
        columns = integers.t().contiguous().t()
        self._real = integers.float() * torch.exp2(-shift.float())
        self._x = np.zeros((steps + 1, rows, INPUTS + h), np.int8)
        self._x[:steps, :, :INPUTS] = inputs
        self._z = np.empty((steps, rows, 4 * h), np.int16)
        self._cells = np.zeros((steps + 1, rows, h), np.int16)
        accumulator = torch.empty(rows, 4 * h, dtype=torch.int32)
        for t in range(steps):
            torch._int_mm(torch.from_numpy(self._x[t]), columns, out=accumulator)
            out = self._x[t + 1, :, INPUTS:]
            _forward(accumulator.numpy(), shift.numpy(), self._cells[t], self._z[t], self._cells[t + 1], out)
        return torch.from_numpy(np.concatenate([inputs, self._x[1:, :, INPUTS:]], axis=-1))

    def backward(self, d_hidden: torch.Tensor) -> None:
        """Add the gradient of the weights, given that of the hidden outputs, float32 [T, B, h] per unit of h/128."""
        steps, rows, h = d_hidden.shape
        recurrent = self._real[INPUTS:].t().to(torch.bfloat16).contiguous()  # [4h, h]
        dz = np.empty((steps, rows, 4 * h), np.float32)
        d_cell = np.zeros((rows, h), np.float32)
        carried = torch.zeros(rows, h)
        for t in range(steps - 1, -1, -1):
            total = (d_hidden[t] + carried).numpy()
            _backward(self._z[t], self._cells[t], self._cells[t + 1], total, d_cell, dz[t])
            carried = (torch.from_numpy(dz[t]).to(torch.bfloat16) @ recurrent).float()
        x = torch.from_numpy(self._x[:steps].reshape(steps * rows, -1)).to(torch.bfloat16)
        gradient = (x.t() @ torch.from_numpy(dz.reshape(steps * rows, -1)).to(torch.bfloat16)).float()
        gradient[:INPUTS] /= 64
        gradient[INPUTS:] /= 128
        self.weights.grad = gradient
