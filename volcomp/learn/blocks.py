"""Slabs on a device, and blocks of them for training: gathered and converted to inputs on the device."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch

from ..constants import FRACTION_BITS, RADIUS
from ..torchops.lanes import lanes
from ..torchops.plain import REST, observe
from .data import Batch, Block, Sampler, TrainingSlab

Tensor = torch.Tensor


class Slabs:
    """The slabs [s] of a training, copied once; `kernels` is whether Triton makes the inputs.

    known int16 or int32 [n], residual int32 [n]   the padded slabs, slab by slab
    slabs int64 [s, 4]                             begin of each, its strides (slice, row), its width
    """

    def __init__(self, slabs: Sequence[TrainingSlab], device: str) -> None:
        sizes = [slab.known.size for slab in slabs]
        begins = np.cumsum([0, *sizes])
        kind = torch.int16 if max(int(slab.known.max()) for slab in slabs) < 1 << 15 else torch.int32
        self.known = torch.empty(int(begins[-1]), dtype=kind, device=device)
        self.residual = torch.empty(int(begins[-1]), dtype=torch.int32, device=device)
        for slab, a, b in zip(slabs, begins[:-1].tolist(), begins[1:].tolist(), strict=True):
            self.known[a:b] = torch.from_numpy(slab.known)
            self.residual[a:b] = torch.from_numpy(slab.residual)
        rows = [[begin, *slab.strides, slab.shape[2]] for slab, begin in zip(slabs, begins[:-1].tolist(), strict=True)]
        self.slabs = torch.tensor(rows, device=device)
        seen, active, scales = (torch.from_numpy(part).to(device) for part in lanes())
        self._lanes = seen, active, scales
        self.kernels = device.startswith("cuda") and importlib.util.find_spec("triton") is not None

    def at(self, places: Tensor, block: Block) -> Batch:
        """Make the blocks that begin at `places` int64 [B, 4] (slab, slice, row, voxel); see `data.blocks_of`."""
        if self.kernels:
            from . import launch

            return Batch(*launch.observe(self.known, self.residual, self.slabs, places, block, self._lanes))
        depth, height, voxels = block
        slab, *begin = places.unbind(1)
        first, plane, row, width = self.slabs[slab].unbind(1)
        t, z, y = (torch.arange(n, device=places.device) for n in (voxels, depth, height))
        z, y = begin[0] + z[:, None, None], begin[1] + y[:, None]  # [Z, 1, B], [Y, B]
        x = begin[2] + torch.minimum(t[:, None], width - 1)[:, None, None]  # [T, 1, 1, B]
        at = first + z * plane + (y + RADIUS) * row + x + RADIUS  # [T, Z, Y, B]
        shape, plane, row = at.shape, *(part.expand(at.shape).ravel() for part in (plane, row))
        at, z = at.ravel(), z.expand(shape).ravel()

        def near(lane: Tensor) -> Tensor:
            back, dy, dx = lane[:3].to(torch.int64)
            return at[:, None] - torch.minimum(back, z[:, None]) * plane[:, None] + dy * row[:, None] + dx

        seen, active, scales = self._lanes
        places_seen = near(seen)
        residual = self.residual[at].to(torch.int64)
        inputs, k = observe(
            self.known[places_seen].to(torch.int64),
            self.residual[places_seen[:, :REST]].to(torch.int64),
            self.residual[near(active)].to(torch.int64),
            (self.known[at].to(torch.int64) << FRACTION_BITS) - residual,
            z > 0,
            active,
            scales,
        )
        error = residual.to(torch.float32) / (1 << FRACTION_BITS)
        return Batch(inputs.reshape(*shape, -1), error.reshape(shape), k.to(torch.int32).reshape(shape))


class DeviceSampler(Sampler):
    """A `Sampler` that draws the same blocks in the same order and gathers them on the device."""

    def __init__(self, series: list[list[TrainingSlab]], block: Block, seed: int, device: str) -> None:
        super().__init__(series, block, seed)
        self.device = device
        self.held = Slabs(self.slabs, device)

    def batch(self, blocks: int) -> Batch:
        """Return a batch of that many blocks, as tensors."""
        return self.held.at(torch.from_numpy(self.places(blocks)).to(self.device), self.block)
