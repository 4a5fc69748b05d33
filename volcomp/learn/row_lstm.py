"""The trainable twin of the integer LSTM (quantisation-aware training).

Its forward pass *is* the integer one, so training and coding cannot differ; its backward pass ignores the roundings
(straight-through estimator, Bengio et al. 2013). Products use what this processor is fastest at: forwards int8 where it
has instructions for that, else float32 with the same numbers; backwards bfloat16 or float32. Master weights are
float32. Real values: input = x/64, hidden = h/128.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch

from ..constants import INPUTS, WEIGHT_LIMIT
from ..runtime import products
from ..runtime.compiled import entry, part
from ..stages.lstm import cell as arithmetic
from ..stages.lstm.state import AHEAD

SHIFT_LIMIT = 7
_i = np.int32


@entry
def _forward(
    accumulator: np.ndarray, shift: np.ndarray, cell: np.ndarray, z: np.ndarray, next_cell: np.ndarray,
    hidden: np.ndarray,
) -> None:  # fmt: skip
    """Do `lstm.cell.step`, and keep pre-activations z int16 [v, 4h] and cells int16 [v, h] for the backward pass."""
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


REAL_TYPES = (torch.bfloat16, torch.float32)


@cache
def _real_type() -> torch.dtype:
    """Return the type of the products of the backward pass: bfloat16 where it is faster here than float32.

    Other work disturbs a single measurement, and then two runs would learn different weights: the best of eight counts.
    """
    kinds = {kind: (torch.ones(512, 256, dtype=kind), torch.ones(256, 128, dtype=kind)) for kind in REAL_TYPES}
    seconds = dict.fromkeys(REAL_TYPES, float("inf"))
    for _ in range(8):
        for kind, (x, y) in kinds.items():
            begin = time.perf_counter()
            x @ y
            seconds[kind] = min(seconds[kind], time.perf_counter() - begin)
    return min(seconds, key=seconds.__getitem__)


@part
def _sigmoid(z: Any) -> Any:
    z = min(max(z, np.float32(-4)), np.float32(4))
    return np.float32(0.5) + z * np.float32(0.25) - z * abs(z) * np.float32(0.03125)


@part
def _sigmoid_slope(z: Any) -> Any:
    return max(np.float32(0.25) - abs(z) * np.float32(0.0625), np.float32(0))


@part
def _tanh(z: Any) -> Any:
    z = min(max(z, np.float32(-2)), np.float32(2))
    return z - z * abs(z) * np.float32(0.25)


@part
def _tanh_slope(z: Any) -> Any:
    return max(np.float32(1) - abs(z) * np.float32(0.5), np.float32(0))


@entry
def _backward(
    z: np.ndarray, cell: np.ndarray, next_cell: np.ndarray, d_hidden: np.ndarray, d_cell: np.ndarray, dz: np.ndarray,
) -> None:  # fmt: skip
    """Compute gradients of one step: d_hidden float32 [v, h] in, d_cell [v, h] in and out, dz float32 [v, 4h] out."""
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
    """Round master weights [INPUTS + h, 4h] to int8 within ±64; returns them and the shift of each column.

    A column is as fine as its largest weight allows. An input's integer is in 1/64, half as fine as a hidden output's
    1/128: hence the factor of two on its rows.
    """
    doubled = weights.clone()
    doubled[:INPUTS] *= 2
    largest = doubled.abs().amax(0).clamp(min=1e-6)
    # Computed exactly, from exponents, so that every device gives the same integers.
    shift = (torch.frexp(WEIGHT_LIMIT / largest).exponent - 1).clamp(0, SHIFT_LIMIT)
    integers = torch.round(doubled * (1 << shift)).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    return integers.to(torch.int8), shift.to(torch.int32)


class Passes(Protocol):
    """Both passes of the LSTM over *blocks* of neighbouring rows [Z, Y] (`CpuPasses`, `device.DevicePasses`).

    A block is computed like a slab in the codec. The row above and the slice before pass on to a voxel their first
    `shared` hidden outputs AHEAD voxels further right, so every row is AHEAD + 1 steps behind them. At the upper and
    front edges of a block these are zeros, as at those of a slab.
    """

    def forward(self, inputs: Any, integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Return what the head sees, int8 [T, Z, Y, B, INPUTS + 2·shared + h], for inputs int8 [T, Z, Y, B, INPUTS].

        It consists of inputs, outputs passed on by neighbours, and hidden outputs after this voxel. The state is zero
        at first.

        integers int8 [INPUTS + 2·shared + h, 4h]   the weights, gates in the order i, f, o, g
        shift int32 [4h]                            of their columns
        """
        ...

    def backward(self, d_seen: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the real weights, float32 [INPUTS + 2·shared + h, 4h].

        d_seen float32 [T, Z, Y, B, 2·shared + h]: that of the last result of `forward` without the inputs, in units of
        1/128.
        """
        ...


def real(integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Convert integer weights to real ones, float32, for factors in 1/128."""
    return integers.float() / (1 << shift)


class CpuPasses:
    """The `Passes` of the CPU, in int8 and bfloat16, by torch and numba.

    Autograd would keep and convert every intermediate of every step; this class keeps two small integer arrays.
    """

    def __init__(self, hidden: int, shared: int, real_type: torch.dtype | None = None) -> None:
        """`real_type`, bfloat16 or float32, is that of the products of the backward pass; None takes the faster."""
        self.hidden, self.shared, self._real_type = hidden, shared, real_type

    def _sources(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield each row (z, y) of a block with each neighbour in the block, and the first column of its outputs."""
        for z, y in np.ndindex(*self._block):
            if y:
                yield z, y, z, y - 1, INPUTS
            if z:
                yield z, y, z - 1, y, INPUTS + self.shared

    def forward(self, inputs: np.ndarray, integers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Run forwards; see `Passes.forward`."""
        voxels, depth, height, blocks, _ = inputs.shape
        h, own, s = self.hidden, INPUTS + 2 * self.shared, self.shared
        self._block, self._voxels = (depth, height), voxels
        lag = AHEAD + 1 if s else 0
        steps = voxels + lag * (depth + height - 2)
        rows = depth * height * blocks
        shape = (integers.shape[0], integers.shape[1])
        product = products.by_speed(shape)[0](integers.numpy())
        self._real = real(integers, shift)
        x = self._x = np.zeros((steps + 1, depth, height, blocks, own + h), np.int8)
        begin = self._begin = lag * np.add.outer(np.arange(depth), np.arange(height))
        for z, y in np.ndindex(depth, height):
            x[begin[z, y] : begin[z, y] + voxels, z, y, :, :INPUTS] = inputs[:, z, y]
        self._z = np.empty((steps, rows, 4 * h), np.int16)
        self._cells = np.zeros((steps + 1, rows, h), np.int16)
        sources = [*self._sources()] if s else []
        accumulator = np.empty((rows, 4 * h), np.int32)
        for t in range(steps):
            for z, y, zz, yy, at in sources:
                if begin[z, y] <= t < begin[z, y] + voxels:
                    x[t, z, y, :, at : at + s] = x[min(t, begin[zz, yy] + voxels), zz, yy, :, own : own + s]
            flat = x[t].reshape(rows, -1)
            product(flat, accumulator)
            out = x[t + 1].reshape(rows, -1)[:, own:]
            _forward(accumulator, shift.numpy(), self._cells[t], self._z[t], self._cells[t + 1], out)
        seen = np.empty((voxels, depth, height, blocks, own + h), np.int8)
        for z, y in np.ndindex(depth, height):
            b = begin[z, y]
            seen[:, z, y, :, :own] = x[b : b + voxels, z, y, :, :own]
            seen[:, z, y, :, own:] = x[b + 1 : b + 1 + voxels, z, y, :, own:]
        return torch.from_numpy(seen)

    def backward(self, d_seen: torch.Tensor) -> torch.Tensor:
        """Run backwards; see `Passes.backward`."""
        (depth, height), voxels, h, s = self._block, self._voxels, self.hidden, self.shared
        begin, blocks = self._begin, d_seen.shape[3]
        steps, rows = len(self._z), depth * height * blocks
        real_type = self._real_type or _real_type()
        recurrent = self._real[INPUTS:].t().to(real_type).contiguous()  # [4h, 2·shared + h]
        by_output = np.zeros((steps, depth, height, blocks, h), np.float32)
        by_passed = np.zeros((steps, depth, height, blocks, 2 * s), np.float32)
        gradients = d_seen.numpy()
        for z, y in np.ndindex(depth, height):
            span = slice(begin[z, y], begin[z, y] + voxels)
            by_output[span, z, y] = gradients[:, z, y, :, 2 * s :]
            by_passed[span, z, y] = gradients[:, z, y, :, : 2 * s]
        dz = np.empty((steps, rows, 4 * h), np.float32)
        d_cell = np.zeros((rows, h), np.float32)
        sources = [*self._sources()] if s else []
        for t in range(steps - 1, -1, -1):
            _backward(self._z[t], self._cells[t], self._cells[t + 1], by_output[t].reshape(rows, h), d_cell, dz[t])
            carried = (torch.from_numpy(dz[t]).to(real_type) @ recurrent).float().numpy()
            carried = carried.reshape(depth, height, blocks, -1)
            if t:
                by_output[t - 1] += carried[..., 2 * s :]
            for z, y, zz, yy, at in sources:
                if begin[z, y] <= t < begin[z, y] + voxels:
                    k = at - INPUTS
                    total = carried[z, y, :, k : k + s] + by_passed[t, z, y, :, k : k + s]
                    by_output[min(t, begin[zz, yy] + voxels) - 1, zz, yy, :, :s] += total
        x = torch.from_numpy(self._x[:steps].reshape(steps * rows, -1)).to(real_type)
        gradient = (x.t() @ torch.from_numpy(dz.reshape(steps * rows, -1)).to(real_type)).float()
        gradient[:INPUTS] /= 64
        gradient[INPUTS:] /= 128
        return gradient


class RowLstm:
    """Master weights float32 [INPUTS + 2·shared + h, 4h], gates in the order i, f, o, g, and their passes."""

    def __init__(self, hidden: int, shared: int, generator: torch.Generator, passes: Passes | None = None) -> None:
        """Draw the weights. `passes`: those of the device that the weights will be on; by default the CPU's."""
        self.hidden, self.shared = hidden, shared
        self.passes = passes or CpuPasses(hidden, shared)
        rows = INPUTS + 2 * shared + hidden
        self.weights = (torch.rand(rows, 4 * hidden, generator=generator) * 2 - 1) * rows**-0.5
        self.weights[INPUTS - 2, hidden : 2 * hidden] = 1.0  # of the constant input: forget gates begin open
        self.weights.requires_grad_()

    def integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights of `forward`, int8 [INPUTS + 2·shared + h, 4h], and their columns' shifts, int32 [4h]."""
        return quantise(self.weights.detach())

    def forward(self, inputs: Any) -> torch.Tensor:
        """Run forwards with the weights of `integers`; see `Passes.forward`."""
        return self.passes.forward(inputs, *self.integers())

    def backward(self, d_seen: torch.Tensor) -> None:
        """Store the gradient in the weights' `grad`; see `Passes.backward`."""
        self.weights.grad = self.passes.backward(d_seen)
