"""The passes of the LSTM on a device, in plain torch; `launch.py` has them as kernels.

The integers equal the CPU's. Gradients differ from the CPU's by the rounding of bfloat16 and the order of sums.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from ..constants import INPUTS
from ..stages.lstm.state import AHEAD
from ..torchops.plain import clip, step
from .row_lstm import CpuPasses, Passes, real

Tensor = torch.Tensor


class PassArrays(NamedTuple):
    """What the forward pass stores for the backward pass: T voxels of R = Z·Y rows of B blocks, by voxel, not by time.

    inputs int8 [T, R, B, INPUTS]
    passed int8 [T, R, B, 2·shared]   outputs that neighbouring rows pass on
    hidden int8 [T + 1, R, B, h]      outputs, before the first voxel and after each
    cells int16 [T + 1, R, B, h]      likewise, in 1/4096
    z int16 [T, R, B, 4h]             pre-activations in 1/1024, within ±8
    """

    inputs: Tensor
    passed: Tensor
    hidden: Tensor
    cells: Tensor
    z: Tensor


class DevicePasses:
    """The `Passes` of a device, in plain torch: each step computes all rows of all blocks."""

    def __init__(self, hidden: int, shared: int, device: str) -> None:
        self.hidden, self.shared, self.device = hidden, shared, torch.device(device)
        self.lag = AHEAD + 1 if shared else 0

    def forward(self, inputs: Tensor, integers: Tensor, shift: Tensor) -> Tensor:
        """Run forwards; see `Passes.forward`."""
        voxels, depth, height, blocks, _ = inputs.shape
        size = (depth * height, blocks)

        def zeros(count: int, width: int, kind: torch.dtype) -> Tensor:
            return torch.zeros((count, *size, width), dtype=kind, device=self.device)

        h, self._block, self._real = self.hidden, (depth, height), real(integers, shift)
        self._arrays = PassArrays(
            inputs.reshape(voxels, *size, INPUTS).contiguous(),
            zeros(voxels, 2 * self.shared, torch.int8),
            zeros(voxels + 1, h, torch.int8),
            zeros(voxels + 1, h, torch.int16),
            zeros(voxels, 4 * h, torch.int16),
        )
        self._forward(self._arrays, integers, shift)
        a = self._arrays
        return torch.cat([a.inputs, a.passed, a.hidden[1:]], -1).reshape(voxels, depth, height, blocks, -1)

    def backward(self, d_seen: Tensor) -> Tensor:
        """Run backwards; see `Passes.backward`."""
        a = self._arrays
        flat = d_seen.reshape(*a.z.shape[:3], -1).contiguous()
        recurrent = self._real[INPUTS:].t().to(torch.bfloat16).contiguous()  # [4h, 2·shared + h]
        dz = self._backward(a, flat, recurrent).flatten(0, 2)
        x = torch.cat([a.inputs, a.passed, a.hidden[:-1]], -1).flatten(0, 2).to(torch.bfloat16)
        gradient = (x.t() @ dz).float()
        gradient[:INPUTS] /= 64
        gradient[INPUTS:] /= 128
        return gradient

    def _rows(self, t: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the rows [n] of a block that have a voxel at time t, these voxels, and the rows of both neighbours."""
        depth, height = self._block
        z, y = torch.meshgrid(torch.arange(depth), torch.arange(height), indexing="ij")
        begin, row = self.lag * (z + y).ravel(), torch.arange(depth * height)
        at_work = torch.nonzero((begin <= t) & (t < begin + len(self._arrays.z))).ravel()
        above = torch.where(y.ravel() > 0, row - 1, -1)  # −1 for none
        before = torch.where(z.ravel() > 0, row - height, -1)
        found = (at_work, t - begin[at_work], above[at_work], before[at_work])
        row, voxel, *sources = (part.to(self.device) for part in found)
        return row, voxel, sources

    def _times(self) -> int:
        return len(self._arrays.z) + self.lag * (sum(self._block) - 2)

    def _forward(self, a: PassArrays, integers: Tensor, shift: Tensor) -> None:
        """Fill all arrays except the inputs."""
        # Exact: the sums stay below 2^24, and torch computes in full float32 by default.
        matrix = integers.to(torch.float32)
        s, last, blocks = self.shared, len(a.z), a.z.shape[2]
        for t in range(self._times()):
            row, voxel, sources = self._rows(t)
            end = (voxel + self.lag).clamp(max=last)
            parts = [a.hidden[end, source, :, :s] * (source >= 0)[:, None, None] for source in sources]
            passed = torch.cat(parts, -1)
            seen = torch.cat([a.inputs[voxel, row], passed, a.hidden[voxel, row]], -1)
            accumulator = (seen.to(torch.float32).flatten(0, 1) @ matrix).to(torch.int32)
            z = clip((accumulator * 8) >> shift, 8192)
            cell, hidden = step(z, a.cells[voxel, row].flatten(0, 1).to(torch.int32))
            a.passed[voxel, row] = passed
            a.z[voxel, row] = z.to(torch.int16).reshape(len(row), blocks, 4 * self.hidden)
            a.cells[voxel + 1, row] = cell.to(torch.int16).reshape(len(row), blocks, self.hidden)
            a.hidden[voxel + 1, row] = hidden.to(torch.int8).reshape(len(row), blocks, self.hidden)

    def _backward(self, a: PassArrays, d_seen: Tensor, recurrent: Tensor) -> Tensor:
        """Return the gradient of the pre-activations, bfloat16 [T, R, B, 4h].

        d_seen float32 [T, R, B, 2·shared + h]: that of the outputs passed on by neighbours and of the row's outputs.
        """
        s, last = self.shared, len(a.z)
        dz = torch.zeros(a.z.shape, dtype=torch.bfloat16, device=self.device)
        d_hidden = torch.zeros(a.hidden.shape, device=self.device)
        d_hidden[1:] = d_seen[..., 2 * s :]
        d_cell = torch.zeros(a.cells.shape[1:], device=self.device)
        for t in reversed(range(self._times())):
            row, voxel, sources = self._rows(t)
            cells = a.cells[voxel, row], a.cells[voxel + 1, row]
            slopes, d_cell[row] = _slopes(a.z[voxel, row], *cells, d_hidden[voxel + 1, row], d_cell[row])
            dz[voxel, row] = slopes.to(torch.bfloat16)
            carried = (dz[voxel, row] @ recurrent).float()
            d_hidden[voxel, row] += carried[..., 2 * s :]
            d_passed = carried[..., : 2 * s] + d_seen[voxel, row][..., : 2 * s]
            end = (voxel + self.lag).clamp(max=last)
            for source, part in zip(sources, d_passed.chunk(2, -1), strict=True):
                exists = source >= 0
                d_hidden[end[exists], source[exists], :, :s] += part[exists]
        return dz


def _slopes(z: Tensor, cell: Tensor, next_cell: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of pre-activations float32 […, 4h] and of the cells before a voxel […, h].

    `d_hidden` and `d_cell` are those after the voxel. Functions are the smooth ones that `lstm.cell` rounds.
    """
    i, f, o, g = (z.float() / 1024).chunk(4, -1)
    before, after = cell.float() / 4096, next_cell.float() / 4096
    dc = d_cell + d_hidden * _sigmoid(o) * _tanh_slope(after)
    of_gates = (
        dc * _tanh(g) * _sigmoid_slope(i),
        dc * before * _sigmoid_slope(f),
        d_hidden * _tanh(after) * _sigmoid_slope(o),
        dc * _sigmoid(i) * _tanh_slope(g),
    )
    return torch.cat(of_gates, -1), dc * _sigmoid(f)


def _sigmoid(z: Tensor) -> Tensor:
    z = z.clamp(-4, 4)
    return 0.5 + z / 4 - z * z.abs() / 32


def _sigmoid_slope(z: Tensor) -> Tensor:
    return (0.25 - z.abs() / 16).clamp(min=0)


def _tanh(z: Tensor) -> Tensor:
    z = z.clamp(-2, 2)
    return z - z * z.abs() / 4


def _tanh_slope(z: Tensor) -> Tensor:
    return (1 - z.abs() / 2).clamp(min=0)


def ways(device: str) -> list[Callable[[int, int, str], DevicePasses]]:
    """Return the ways to compute the passes on a device, fastest first."""
    if not device.startswith("cuda") or not importlib.util.find_spec("triton"):
        return [DevicePasses]
    from .launch import Kernels

    return [Kernels, DevicePasses]


def passes(hidden: int, shared: int, device: str) -> Passes:
    """Make the passes of a device, in torch's spelling: by the first way that gives the CPU's numbers.

    "cpu" gives `CpuPasses`; "cpu:0" is the CPU as a device of torch, for tests. Raises RuntimeError where no way
    succeeds.
    """
    if device == "cpu":
        return CpuPasses(hidden, shared)
    for way in ways(device):
        try:
            made = way(hidden, shared, device)
            check(made)
            return made
        except Exception as error:  # of a driver, a compiler, the device: another way may work
            warnings.warn(f"{way.__name__} is left aside: {error}", RuntimeWarning, stacklevel=2)
    raise RuntimeError(f"{device} does not give the numbers that training needs")


def check(made: DevicePasses) -> None:
    """Run both passes over a few blocks; raises RuntimeError where the numbers are not the CPU's."""
    random, h, s = torch.Generator().manual_seed(1), made.hidden, made.shared
    inputs = torch.randint(-127, 128, (9, 2, 3, 5, INPUTS), dtype=torch.int8, generator=random)
    integers = torch.randint(-64, 65, (INPUTS + 2 * s + h, 4 * h), dtype=torch.int8, generator=random)
    shift = torch.randint(6, 8, (4 * h,), dtype=torch.int32, generator=random)
    d_seen = torch.randn((9, 2, 3, 5, 2 * s + h), generator=random)
    cpu = CpuPasses(h, s, torch.bfloat16)
    expected = cpu.forward(inputs.numpy(), integers, shift)
    if not torch.equal(made.forward(*(part.to(made.device) for part in (inputs, integers, shift))).cpu(), expected):
        raise RuntimeError("it does not give the CPU's integers")
    gradient, found = cpu.backward(d_seen), made.backward(d_seen.to(made.device)).cpu()
    if not (found - gradient).norm() <= 0.02 * gradient.norm():  # bfloat16 has 8 bits; `not <=` also rejects NaN
        raise RuntimeError("it does not give the CPU's gradients")
