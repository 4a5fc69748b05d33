"""Both passes and the inputs of blocks by Triton kernels, one launch each."""

from __future__ import annotations

import torch
import triton

from ..torchops import kernels as parts
from . import kernels
from .device import DevicePasses, PassArrays

Tensor = torch.Tensor
UNITS = 32  # hidden units at a time, at least
MOST_ROWS = kernels.UNIT_ELEMENTS // UNITS  # of a block


class Kernels(DevicePasses):
    """`DevicePasses` by Triton kernels, one launch per pass."""

    def __init__(self, hidden: int, shared: int, device: str) -> None:
        super().__init__(hidden, shared, device)
        if hidden % UNITS:
            raise ValueError(f"the kernels serve models of a multiple of {UNITS} hidden units, not {hidden}")
        if shared not in (0, 16, 32):
            raise ValueError(f"the kernels serve models that pass on 0, 16 or 32 of their outputs, not {shared}")

    def _tiles(self) -> tuple[tuple[int, ...], dict[str, int]]:
        """Return the grid and the constants of both kernels: a program has as many blocks as fit into its rows."""
        _, rows, blocks, _ = self._arrays.z.shape
        if rows > MOST_ROWS:
            raise ValueError(f"the kernels serve blocks of at most {MOST_ROWS} rows, not {rows}")
        tile = max(16, triton.next_power_of_2(rows))  # tensor cores need 16
        units = min(parts.depth_of(self.hidden), kernels.UNIT_ELEMENTS // tile)
        constants = {"H": self.hidden, "P": 2 * self.shared, "PER": tile // rows, "ROWS": tile, "UNITS": units}
        return (triton.cdiv(blocks, tile // rows),), constants

    def _forward(self, a: PassArrays, integers: Tensor, shift: Tensor) -> None:
        grid, constants = self._tiles()
        kernels.forward[grid](
            a.inputs, integers.T.contiguous(), shift, a.passed, a.hidden, a.cells, a.z, len(a.z), *self._block,
            a.z.shape[2], **constants, K=parts.depth_of(self.hidden), **kernels.OPTIONS,
        )  # fmt: skip

    def _backward(self, a: PassArrays, d_seen: Tensor, recurrent: Tensor) -> Tensor:
        grid, constants = self._tiles()
        dz = torch.empty(a.z.shape, dtype=torch.bfloat16, device=self.device)
        d_hidden, d_cell = torch.zeros((2, *a.cells.shape[1:]), device=self.device)
        d_passed = torch.empty(a.passed.shape, device=self.device)
        if self.device.type == "cpu":
            recurrent = recurrent.float()  # for the interpreter, which has no products of bfloat16
        kernels.backward[grid](
            a.z, a.cells, d_seen, recurrent, dz, d_hidden, d_cell, d_passed, len(a.z), *self._block, a.z.shape[2],
            **constants, COLUMNS=min(64, parts.depth_of(2 * self.shared + self.hidden)),
            K=parts.depth_of(4 * self.hidden), **kernels.OPTIONS,
        )  # fmt: skip
        return dz


def observe(
    known: Tensor, residual: Tensor, slabs: Tensor, places: Tensor, block: tuple[int, int, int],
    lanes: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Make inputs, errors and scale indices of blocks from the arrays of `blocks.Slabs`; see `Slabs.at`."""
    depth, height, voxels = block
    size = (voxels, depth, height, len(places))
    inputs = torch.empty((*size, lanes[0].shape[1]), dtype=torch.int8, device=known.device)
    error = torch.empty(size, device=known.device)
    scale = torch.empty(size, dtype=torch.int32, device=known.device)
    grid = (len(places), triton.cdiv(voxels * depth * height, kernels.BLOCK))
    kernels.observe[grid](
        known, residual, slabs, places, *lanes, inputs, error, scale, voxels, depth, height, len(places),
        PLACES=kernels.PLACES, BLOCK=kernels.BLOCK, **kernels.OBSERVING,
    )  # fmt: skip
    return inputs, error, scale
