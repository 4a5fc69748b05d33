"""A `paper` model on a device, and a group of slabs that are decoded there together.

Front f of the group consists of front f of every slab, as in the pipeline `row`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from neighbourhoods import Schedule, flat_offsets, margins

from ...dtypes import Int64s, Levels
from ...pipelines.paper.reference import GATE_ONE
from ...pipelines.paper.sequence import padded
from ...pipelines.paper.slab import PaperStream, fronts_of, schedule_of
from ...pipelines.paper.weights import PaperWeights
from ...pipelines.protocol import Shape
from ..memory import free


class Predictor(Protocol):
    """The computation of a model on a device."""

    def predict(
        self, known: torch.Tensor, steps: torch.Tensor, places: torch.Tensor, begin: int, limit: int, out: torch.Tensor
    ) -> None:
        """Write the predicted ranks of voxels to `out` int32 [v].

        known int32 [n]    ranks 0 … limit within their margins, flat
        steps int64 [K]    offset from a voxel to what the network reads at each step
        places int64       places of the voxels in `known`, from `begin` on
        """
        ...


class DevicePaperLstm:
    """A model's integers as tensors of one device: those of `PaperWeights`, except

    table int16 [16384]   σ for both signs, from −8 on; the first entry is unused
    """

    def __init__(self, weights: PaperWeights, device: str, make: Callable[[DevicePaperLstm], Predictor]) -> None:
        """Move the model to a device, in torch's spelling; `make` makes its computation."""
        self.weights, self.device, self.make = weights, torch.device(device), make
        right = weights.sigmoid.astype(np.int32)
        left = GATE_ONE - right[:0:-1]
        self.recurrent, self.shift = self.put(weights.recurrent), self.put(weights.shift)
        self.entrance, self.bias = self.put(weights.entrance), self.put(weights.bias)
        self.head, self.head_bias = self.put(weights.head), self.put(weights.head_bias)
        self.table = self.put(np.concatenate([left[:1], left, right]).astype(np.int16))
        self.predictor = make(self)

    def put(self, array: np.ndarray) -> torch.Tensor:
        """Copy an array to the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def free(self) -> int:
        """Return the bytes of memory that slabs may take."""
        return free(self.device)


class PaperTrace:
    """What the device and the entropy coder exchange for a front: ranks and predicted ranks, int32 [v]."""

    def __init__(self, size: int, device: torch.device, pinned: bool = False) -> None:
        self.voxel, self.predicted = torch.zeros((2, size), dtype=torch.int32, device=device, pin_memory=pinned)
        self.outputs = self.predicted
        self.parts = (self.voxel, self.predicted)

    def on_host(self) -> PaperTrace:
        """Allocate a trace of the same size on the CPU, pinned, so that a GPU copies from it while Python continues."""
        return PaperTrace(len(self.voxel), torch.device("cpu"), pinned=self.voxel.device.type == "cuda")


class PaperGroup:
    """Slabs [s] of one volume while they are decoded, with their margins, stacked as slices of one array.

    known int32 [n]          their ranks, flat
    steps int64 [K]          of `Predictor.predict`
    places int64 [v]         places of the voxels in `known`, in the order of coding
    pieces int64 [f, s, 2]   the voxels of a front that belong to a slab, the first and the one after the last
    trace                    of a front
    """

    def __init__(self, network: DevicePaperLstm, slabs: Sequence[PaperStream]) -> None:
        offsets = network.weights.offsets
        empty = [padded(np.zeros(one.shape, np.int32), offsets, one.limit).astype(np.int32) for one in slabs]
        known = np.concatenate(empty)
        before, self._radius = margins(offsets)
        self._shapes = [one.shape for one in slabs]
        self._first = np.cumsum([before] + [len(one) for one in empty]).tolist()  # slices of voxels, not of margin
        self._padded = known.shape
        self.network, self.limit = network, slabs[0].limit
        self.known = network.put(known.ravel())
        self.steps = network.put(flat_offsets(offsets, known.shape))
        places, self.pieces = self._order(schedule_of(network.weights))
        self.places = network.put(places)
        self.trace = PaperTrace(int(self.pieces[:, -1, 1].max()), network.device)

    def _order(self, schedule: Schedule) -> tuple[Int64s, Int64s]:
        """Compute `places` and `pieces`."""
        of_shape = {shape: fronts_of(schedule, shape) for shape in {*self._shapes}}
        most = max(sizes.size for _, sizes in of_shape.values())
        sizes = np.stack([np.pad(of_shape[shape][1], (0, most - of_shape[shape][1].size)) for shape in self._shapes], 1)
        ends = sizes.cumsum(axis=1)
        pieces = np.stack([ends - sizes, ends], axis=2)
        begins = np.cumsum(ends[:, -1]) - ends[:, -1]
        places = np.empty(int(sizes.sum()), np.int64)
        for s, shape in enumerate(self._shapes):
            order, own = of_shape[shape][0], sizes[:, s]
            ahead = begins + pieces[:, s, 0] - (np.cumsum(own) - own)  # of its place in the slab's order
            places[np.arange(order.size) + ahead.repeat(own)] = self._flat(s, shape)[order]
        return places, pieces

    def _flat(self, s: int, shape: Shape) -> Int64s:
        """Return the places of a slab's voxels in `known`, int64 [Z·Y·X] in raster order."""
        z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
        _, height, width = self._padded
        return (((z + self._first[s]) * height + y + self._radius) * width + x + self._radius).ravel()

    def levels(self, s: int) -> Levels:
        """Return the ranks [Z, Y, X] of slab s on the CPU, once all fronts are done."""
        depth, height, width = self._shapes[s]
        r, first = self._radius, self._first[s]
        slices = self.known.view(self._padded)[first : first + depth]
        return slices[:, r : r + height, r : r + width].cpu().numpy()


class PaperSteps:
    """The two steps of each front of a group."""

    def __init__(self, group: PaperGroup) -> None:
        self._g = group
        self._sizes = group.pieces[:, -1, 1].tolist()
        self._front = self._begin = 0

    def predict(self) -> None:
        """Write the predicted ranks of the next front to the trace."""
        g, size = self._g, self._sizes[self._front]
        if size:
            g.network.predictor.predict(g.known, g.steps, g.places, self._begin, g.limit, g.trace.predicted[:size])

    def perceive(self) -> None:
        """Copy the front's voxels from the trace."""
        g, size = self._g, self._sizes[self._front]
        g.known[g.places[self._begin : self._begin + size]] = g.trace.voxel[:size]
        self._front, self._begin = self._front + 1, self._begin + size
