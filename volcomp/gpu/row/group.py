"""A group of slabs on the device while they are coded: all that a front needs stays there from start to end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neighbourhoods import pad

from ...constants import RADIUS
from ...dtypes import Int64s, Levels
from ...pipelines.row.wavefront import RowInput, RowStream
from ...stages.grid import unpadded
from ...stages.histogram_packing import level_type
from ...stages.lstm import learning
from ...stages.lstm.weights import LstmWeights
from ...torchops.lanes import LANES
from . import plan
from .network import DeviceLstm
from .plan import Part


class RowTrace:
    """What the device and the entropy coder exchange for every voxel of a group in coding order, or of a front.

    voxel int16 or int32 [v]   grey levels
    mean int32 [v]             in 1/16 of a grey level
    classes uint8 [v]
    context uint8 [v]          of the flags of the peak; 0 in a slab that has none
    outputs uint8 [≥ 6·v]      the bytes of the last three, so that one copy moves them
    """

    def __init__(self, size: int, kind: torch.dtype, device: torch.device, pinned: bool = False) -> None:
        """Allocate `size` voxels with grey levels of type `kind`."""
        self.voxel = torch.zeros(size, dtype=kind, device=device, pin_memory=pinned)
        aligned = -(-size // 16) * 16  # so that all arrays start aligned and Triton compiles one kernel for them
        self.outputs = torch.zeros(6 * aligned, dtype=torch.uint8, device=device, pin_memory=pinned)
        self.mean = self.outputs[: 4 * aligned].view(torch.int32)[:size]
        self.classes, self.context = self.outputs[4 * aligned :][:size], self.outputs[5 * aligned :][:size]
        self.parts = (self.voxel, self.mean, self.classes, self.context)

    def on_host(self) -> RowTrace:
        """Allocate a trace of the same size on the CPU, pinned, so that a GPU copies from it while Python continues."""
        return RowTrace(len(self.voxel), self.voxel.dtype, torch.device("cpu"), pinned=self.voxel.device.type == "cuda")


class RowGroup:
    """Slabs [s] of one model and all their rows [r], in the order of `Plan`.

    known [n], error int32 [n]  the padded slabs and the linear stage's residuals, slab by slab
    prediction int32 [r]        of the linear stage, for the voxel that is being coded
    inputs int8 [r, INPUTS]     of that voxel
    along int8 [r, 2·S]         what neighbouring rows pass on to that voxel
    passed int8 [span, r, S]    what rows pass on: the first S hidden outputs of time t are at t modulo `span`
    hidden int8 [2, r, H]       read from one half and written to the other, alternately: units are read while others
                                of the same row are written
    cell int16 [r, H]
    head int32 [s, 2, N]        the head's weights; exact int64: the same in 1/65536
    slope int64 [s, 2, N]       sum of the slopes of the voxels since the last step of learning
    count int64 [s]             number of those voxels
    trace                       of all voxels where these are known, else of a front
    """

    def __init__(self, network: DeviceLstm, parts: Sequence[Part], levels: Sequence[Levels] | None) -> None:
        """Move slabs to the device. `levels`: the grey levels [Z, Y, X] of every slab in encoding, None in decoding."""
        n, self.network = network, network
        self._layouts = [part.layout for part in parts]
        self.plan = plan.make(parts)
        self.encodes = levels is not None
        p, device = self.plan, network.device
        kind = level_type(max(part.limit for part in parts))
        known = np.zeros(p.size, kind)
        for slab, offset in zip(levels or [], p.offsets.tolist(), strict=levels is not None):
            padded = pad(slab, 0, RADIUS).ravel()
            known[offset : offset + padded.size] = padded
        rows = len(p.start)
        self.known = torch.from_numpy(known).to(device)
        self.error = torch.zeros(p.size, dtype=torch.int32, device=device)
        self.prediction = torch.zeros(rows, dtype=torch.int32, device=device)
        self.inputs = torch.zeros((rows, LANES), dtype=torch.int8, device=device)
        self.along = torch.zeros((rows, 2 * n.shared), dtype=torch.int8, device=device)
        self.passed = torch.zeros((p.span, rows, n.shared), dtype=torch.int8, device=device)
        self.hidden = torch.zeros((2, rows, n.hidden), dtype=torch.int8, device=device)
        self.cell = torch.zeros((rows, n.hidden), dtype=torch.int16, device=device)
        self.head = n.head.repeat(len(parts), 1, 1)
        self.exact = self.head.to(torch.int64) << learning.EXACT_BITS
        self.slope = torch.zeros_like(self.exact)
        self.count = torch.zeros(len(parts), dtype=torch.int64, device=device)
        self.start, self.base, self.depth = n.put(p.start), n.put(p.base), n.put(p.depth)
        self.sets, self.last, self.sources = n.put(p.sets), n.put(p.last), n.put(p.sources)
        self.slabs, self.back, self.flat = n.put(p.slabs), n.put(p.back), n.put(p.flat)
        self.weights, self.bounds = n.put(p.weights), n.put(p.bounds)
        if not self.encodes:
            longest = int(np.diff(p.first).max())
            self.trace = RowTrace(longest, self.known.dtype, device)
            self.fronts = n.put(p.fronts)
            return
        self.trace = RowTrace(int(p.first[-1]), self.known.dtype, device)
        fronts = p.fronts.copy()
        fronts[:, :, plan.PLACE] += p.first[:-1, None]
        self.fronts = n.put(fronts)

    @property
    def pieces(self) -> Int64s:
        """Return int64 [f, s, 2]: the voxels of a front that belong to a slab, the first and the one after the last."""
        fronts = self.plan.fronts
        begin = fronts[:, :, plan.PLACE]
        return np.stack([begin, begin + fronts[:, :, plan.HIGH] - fronts[:, :, plan.LOW]], axis=2)

    def levels(self, s: int) -> Levels:
        """Return the grey levels [Z, Y, X] of slab s on the CPU, once all fronts are done."""
        layout, offset = self._layouts[s], int(self.plan.offsets[s])
        return unpadded(self.known[offset : offset + layout.size].cpu().numpy(), layout.shape)


def need(model: LstmWeights, slab: RowInput | RowStream) -> int:
    """Return the bytes of device memory that a slab takes in a group of this model, in encoding or in decoding."""
    depth, height, width = slab.shape
    padded = slab.layout.size * (np.dtype(level_type(slab.limit)).itemsize + 4)
    rows = depth * height * (LANES + 4 * model.hidden + (2 + slab.layout.span) * model.shared + 40)
    return padded + rows + (depth * height * width * 10 if isinstance(slab, RowInput) else 0)
