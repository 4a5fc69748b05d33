"""The walk over slabs on a device, there and back: `predict_slab` and `decode_slab` as `paper.slab` has them, for many slabs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neighbourhoods import flat_offsets, margins

from ...errors import DamagedError
from ...pipelines.paper.sequence import padded
from ...pipelines.paper.slab import SlabInput, SlabStream
from ...pipelines.protocol import Done
from .. import double_buffer
from .network import Group, Network, Steps

PART = 1 << 18  # voxels that are asked for at a time


def predict_slabs(slabs: Sequence[SlabInput], network: Network, done: Done) -> list[np.ndarray]:
    """Predicted ranks int32 [Z·Y·X] of slabs that are known, in raster order."""

    def walk(group: Sequence[SlabInput]) -> list[np.ndarray]:
        return [_predictions(one, network, done) for one in group]

    return [predicted for one in slabs for predicted in double_buffer.fitting(walk, [one], need)]


def _predictions(given: SlabInput, network: Network, done: Done) -> np.ndarray:
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    depth, height, width = given.shape
    known = torch.from_numpy(padded(given.ranks, offsets, given.limit).astype(np.int32)).to(network.device)
    steps = network.put(flat_offsets(offsets, tuple(known.shape)))
    places = torch.arange(known.numel(), device=network.device).view(known.shape)
    # A kernel reads it in one piece, which `flatten` alone does not promise.
    places = places[before:, radius : radius + height, radius : radius + width].flatten().contiguous()
    predicted = np.empty(depth * height * width, np.int32)
    for a in range(0, predicted.size, PART):
        out = torch.empty(min(PART, predicted.size - a), dtype=torch.int32, device=network.device)
        network.predictor.predict(known.view(-1), steps, places, a, given.limit, out)
        predicted[a : a + len(out)] = out.cpu().numpy()
        done(len(out))
    return predicted


def decode_slabs(slabs: Sequence[SlabStream], network: Network, done: Done) -> list[np.ndarray | DamagedError]:
    """The ranks [Z, Y, X] of slabs of one volume from their symbols; a DamagedError where these cannot be."""

    def begin(group: Sequence[SlabStream]) -> tuple[Group, Steps]:
        at_work = Group(network, group)
        return at_work, Steps(at_work)

    return double_buffer.restore(slabs, begin, network.device, need, done)


def need(slab: SlabInput | SlabStream) -> int:
    """Bytes of the device's memory that a slab takes, about: margins of small slices take more."""
    depth, height, width = slab.shape
    return depth * height * width * 24
