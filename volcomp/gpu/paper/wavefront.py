"""Predict and decode many slabs on a device; see `pipelines/paper/slab.py` for one slab on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neighbourhoods import flat_offsets, margins

from ...dtypes import Int32s, Levels
from ...errors import DamagedError
from ...pipelines.paper.sequence import padded
from ...pipelines.paper.slab import PaperInput, PaperStream
from ...pipelines.protocol import Done
from .. import double_buffer
from .network import DevicePaperLstm, PaperGroup, PaperSteps

PART = 1 << 18  # voxels that are predicted at a time


def predict_slabs(slabs: Sequence[PaperInput], network: DevicePaperLstm, done: Done) -> list[Int32s]:
    """Return the predicted ranks int32 [Z·Y·X], in raster order, of slabs whose voxels are known."""

    def run(group: Sequence[PaperInput]) -> list[Int32s]:
        return [_predictions(slab, network, done) for slab in group]

    return [predicted for slab in slabs for predicted in double_buffer.fitting(run, [slab], need)]


def _predictions(slab: PaperInput, network: DevicePaperLstm, done: Done) -> Int32s:
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    depth, height, width = slab.shape
    known = torch.from_numpy(padded(slab.ranks, offsets, slab.limit).astype(np.int32)).to(network.device)
    steps = network.put(flat_offsets(offsets, tuple(known.shape)))
    places = torch.arange(known.numel(), device=network.device).view(known.shape)
    # The kernel needs contiguous memory, which `flatten` alone does not promise.
    places = places[before:, radius : radius + height, radius : radius + width].flatten().contiguous()
    predicted = np.empty(depth * height * width, np.int32)
    for a in range(0, predicted.size, PART):
        out = torch.empty(min(PART, predicted.size - a), dtype=torch.int32, device=network.device)
        network.predictor.predict(known.view(-1), steps, places, a, slab.limit, out)
        predicted[a : a + len(out)] = out.cpu().numpy()
        done(len(out))
    return predicted


def decode_slabs(slabs: Sequence[PaperStream], network: DevicePaperLstm, done: Done) -> list[Levels | DamagedError]:
    """Decode slabs of one volume to ranks [Z, Y, X]; a damaged slab gives a DamagedError."""

    def begin(group: Sequence[PaperStream]) -> tuple[PaperGroup, PaperSteps]:
        prepared = PaperGroup(network, group)
        return prepared, PaperSteps(prepared)

    return double_buffer.decode(slabs, begin, network.device, need, done)


def need(slab: PaperInput | PaperStream) -> int:
    """Return about how many bytes of device memory a slab takes; margins of small slices take more."""
    depth, height, width = slab.shape
    return depth * height * width * 24
