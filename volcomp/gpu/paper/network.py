"""A `paper` model on a device, and a group of slabs that are decoded there together: front f of the group is front f of
every slab, as with the other models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from neighbourhoods import Schedule, flat_offsets, margins

from ...pipelines.paper.reference import GATE_ONE
from ...pipelines.paper.sequence import padded
from ...pipelines.paper.slab import SlabStream, fronts_of, schedule_of
from ...pipelines.paper.weights import Weights
from ...pipelines.protocol import Shape
from ..memory import free


class Predictor(Protocol):
    """What computes on a device."""

    def predict(
        self, known: torch.Tensor, steps: torch.Tensor, places: torch.Tensor, begin: int, limit: int, out: torch.Tensor
    ) -> None:
        """Predicted ranks int32 [v] of as many voxels as `out` has room for.

        known int32 [n]    ranks 0 … limit within their margins, flat
        steps int64 [K]    from a voxel there to what the network reads at each step
        places int64       where the voxels are there, from `begin` on
        """
        ...


class Network:
    """A model's integers as tensors of one device, as `Weights` has them but for

    table int16 [16384]   σ for both signs, from −8 on; the first entry stands for nothing
    """

    def __init__(self, weights: Weights, device: str, make: Callable[[Network], Predictor]) -> None:
        """On a device as torch names it, where `make` computes."""
        self.weights, self.device, self.make = weights, torch.device(device), make
        right = weights.sigmoid.astype(np.int32)
        left = GATE_ONE - right[:0:-1]
        self.recurrent, self.shift = self.put(weights.recurrent), self.put(weights.shift)
        self.entrance, self.bias = self.put(weights.entrance), self.put(weights.bias)
        self.head, self.head_bias = self.put(weights.head), self.put(weights.head_bias)
        self.table = self.put(np.concatenate([left[:1], left, right]).astype(np.int16))
        self.predictor = make(self)

    def put(self, array: np.ndarray) -> torch.Tensor:
        """A copy of an array on the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def free(self) -> int:
        """Bytes of memory that slabs may take."""
        return free(self.device)


class Trace:
    """What goes to and fro for every voxel of a front: its rank, and the predicted one, int32 [v]."""

    def __init__(self, size: int, device: torch.device, pinned: bool = False) -> None:
        self.voxel, self.predicted = torch.zeros((2, size), dtype=torch.int32, device=device, pin_memory=pinned)
        self.said = self.predicted
        self.parts = (self.voxel, self.predicted)

    def on_host(self) -> Trace:
        """As much room on the CPU, from where a GPU may copy while Python goes on."""
        return Trace(len(self.voxel), torch.device("cpu"), pinned=self.voxel.device.type == "cuda")


class Group:
    """Slabs [s] of one volume while they are decoded, within their margins one after the other as slices of one array.

    known int32 [n]          their ranks, flat
    steps int64 [K]          as `Predictor` has them
    places int64 [v]         where the voxels are, in the order of coding
    pieces int64 [f, s, 2]   which voxels of a front are a slab's: from one, up to another
    trace                    of a front
    """

    def __init__(self, network: Network, slabs: Sequence[SlabStream]) -> None:
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
        self.trace = Trace(int(self.pieces[:, -1, 1].max()), network.device)

    def _order(self, schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
        """`places` and `pieces`."""
        of_shape = {shape: fronts_of(schedule, shape) for shape in {*self._shapes}}
        most = max(sizes.size for _, sizes in of_shape.values())
        sizes = np.stack([np.pad(of_shape[shape][1], (0, most - of_shape[shape][1].size)) for shape in self._shapes], 1)
        ends = sizes.cumsum(axis=1)
        pieces = np.stack([ends - sizes, ends], axis=2)
        begins = np.cumsum(ends[:, -1]) - ends[:, -1]
        places = np.empty(int(sizes.sum()), np.int64)
        for s, shape in enumerate(self._shapes):
            order, own = of_shape[shape][0], sizes[:, s]
            ahead = begins + pieces[:, s, 0] - (np.cumsum(own) - own)  # of where a front is in the slab's own order
            places[np.arange(order.size) + ahead.repeat(own)] = self._flat(s, shape)[order]
        return places, pieces

    def _flat(self, s: int, shape: Shape) -> np.ndarray:
        """Where the voxels of a slab are, int64 [Z·Y·X] in raster order."""
        z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
        _, height, width = self._padded
        return (((z + self._first[s]) * height + y + self._radius) * width + x + self._radius).ravel()

    def levels(self, s: int) -> np.ndarray:
        """The ranks [Z, Y, X] of slab s, once it is through: on the CPU."""
        depth, height, width = self._shapes[s]
        r, first = self._radius, self._first[s]
        slices = self.known.view(self._padded)[first : first + depth]
        return slices[:, r : r + height, r : r + width].cpu().numpy()


class Steps:
    """`predict` and `perceive` of one front after the other, in one group."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._sizes = group.pieces[:, -1, 1].tolist()
        self._front = self._begin = 0

    def predict(self) -> None:
        """The predicted ranks of the next front into the trace."""
        g, size = self._g, self._sizes[self._front]
        if size:
            g.network.predictor.predict(g.known, g.steps, g.places, self._begin, g.limit, g.trace.predicted[:size])

    def perceive(self) -> None:
        """Take in the front's voxels from the trace."""
        g, size = self._g, self._sizes[self._front]
        g.known[g.places[self._begin : self._begin + size]] = g.trace.voxel[:size]
        self._front, self._begin = self._front + 1, self._begin + size
