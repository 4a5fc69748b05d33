"""The ways to compute the pipeline `paper` on a device, and the check against the reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from ...dtypes import Int32s, Levels
from ...errors import DamagedError
from ...pipelines.paper import reference
from ...pipelines.paper.slab import PaperInput, PaperReader, PaperStream, Predicted, fronts_of, schedule_of
from ...pipelines.paper.slab import predict_slab as definition
from ...pipelines.paper.weights import PaperWeights
from ...pipelines.protocol import Done, Shape
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from . import plain, wavefront
from .network import DevicePaperLstm, Predictor

__all__ = ["check", "make_device", "make_network", "ways"]

GROUP_VOXELS = 1 << 28  # at once, at most
# Test slabs: one has fewer fronts than the other, and neither fills the programs of its fronts. Their limits: that of
# most scanners, and the highest possible.
_SHAPES, _LIMITS = ((2, 7, 9), (1, 7, 9)), (4095, 65535)


class PaperDevice:
    """A `device.Device` without batching: the voxels of one volume suffice to fill a GPU."""

    input_bytes, stream_bytes = 40, 30

    def __init__(self, network: DevicePaperLstm) -> None:
        self.network, self.name = network, str(network.device)

    def predict(self, slabs: Sequence[PaperInput], done: Done) -> list[Predicted]:
        """Predict slabs, one after the other."""
        return wavefront.predict_slabs(slabs, self.network, done)

    def decode(self, slabs: Sequence[PaperStream], done: Done) -> list[Levels | DamagedError]:
        """Decode slabs of one volume together."""
        return wavefront.decode_slabs(slabs, self.network, done)

    def capacity(self, bytes_per_voxel: int, most: int = GROUP_VOXELS) -> int:
        """Return how many voxels fit into the free memory, at most `most`."""
        return min(self.network.free() // bytes_per_voxel, most)


make_network, make_device = DevicePaperLstm, PaperDevice


def ways(device: str) -> list[Callable[[DevicePaperLstm], Predictor]]:
    """Return the ways to compute on a device, fastest first."""
    if device != "cuda" or not importlib.util.find_spec("triton"):
        return [plain.PlainPredictor]
    from . import launch

    return [launch.TritonPredictor, plain.PlainPredictor]


def check(network: DevicePaperLstm) -> None:
    """Encode and decode small slabs; raises RuntimeError where a number differs from the reference's."""
    for limit in _LIMITS:
        slabs = [PaperInput(_ranks(shape, limit), limit) for shape in _SHAPES]
        numpy = reference.ReferencePaperLstm(network.weights)
        expected = [definition(slab, numpy, Team(), _nothing) for slab in slabs]
        found = wavefront.predict_slabs(slabs, network, _nothing)
        same = [np.array_equal(a, b) for a, b in zip(found, expected, strict=True)]
        replays = [Replay(*one, network.weights) for one in zip(slabs, expected, strict=True)]
        streams = [
            PaperStream(shape, cast(PaperReader, replay), limit) for shape, replay in zip(_SHAPES, replays, strict=True)
        ]
        decoded = wavefront.decode_slabs(streams, network, _nothing)
        same += [
            isinstance(a, np.ndarray) and np.array_equal(a, b.ranks) and replay.is_complete
            for a, b, replay in zip(decoded, slabs, replays, strict=True)
        ]
        if not all(same):
            raise RuntimeError("it does not give the reference's numbers here")


def _ranks(shape: Shape, limit: int) -> Int32s:
    """Make noise over the whole range, with 30 % of the voxels at its ends, where gates saturate."""
    random = np.random.default_rng(limit)
    ranks = random.integers(0, limit + 1, shape)
    return np.where(random.random(shape) < 0.3, random.choice([0, limit], shape), ranks).astype(np.int32)


class Replay(ByCalls):
    """Replaces a `paper.slab.PaperReader` for a known slab, and compares the predictions with the expected ones."""

    def __init__(self, slab: PaperInput, predicted: Int32s, weights: PaperWeights) -> None:
        order, _ = fronts_of(schedule_of(weights), slab.shape)
        self._voxel, self._predicted = slab.ranks.reshape(-1)[order], predicted[order]
        self._begin, self._same = 0, True

    def pop(self, predicted: Int32s) -> Levels:
        """Return the next front's voxels and compare its predictions."""
        here = slice(self._begin, self._begin + predicted.size)
        self._begin = here.stop
        self._same &= np.array_equal(predicted, self._predicted[here])
        return self._voxel[here]

    def finish(self) -> None:
        """Do nothing: there is no payload."""

    @property
    def is_complete(self) -> bool:
        """Tell whether all voxels were requested, with the expected predictions."""
        return self._same and self._begin == self._voxel.size


def _nothing(done: int) -> None:
    """Ignore progress."""
