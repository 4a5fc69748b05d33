"""How a device may compute `paper`, and whether it gives the reference's numbers there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from ...errors import DamagedError
from ...pipelines.paper import reference
from ...pipelines.paper.slab import Predicted, Reader, SlabInput, SlabStream, fronts_of, schedule_of
from ...pipelines.paper.slab import predict_slab as definition
from ...pipelines.paper.weights import Weights
from ...pipelines.protocol import Done, Levels, Shape
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from . import plain, wavefront
from .network import Network, Predictor

__all__ = ["Network", "OnDevice", "check", "ways"]

# Slabs that are tried: one is through before the other, and neither fills the programs of its fronts. With as many
# grey levels as a scanner gives, and with as many as there can be.
GROUP_VOXELS = 1 << 28  # at once, at most
_SHAPES, _LIMITS = ((2, 7, 9), (1, 7, 9)), (4095, 65535)


class OnDevice:
    """As `device.Device` says; its voxels need no company, so a slab's volume is at work alone."""

    input_bytes, stream_bytes = 40, 30

    def __init__(self, network: Network) -> None:
        self.network, self.name = network, str(network.device)

    def predict(self, slabs: Sequence[SlabInput], done: Done) -> list[Predicted]:
        """As `Device` says."""
        return wavefront.predict_slabs(slabs, self.network, done)

    def decode(self, slabs: Sequence[SlabStream], done: Done) -> list[Levels | DamagedError]:
        """As `Device` says."""
        return wavefront.decode_slabs(slabs, self.network, done)

    def room(self, bytes_per_voxel: int, most: int = GROUP_VOXELS) -> int:
        """As `Device` says."""
        return min(self.network.free() // bytes_per_voxel, most)


def ways(device: str) -> list[Callable[[Network], Predictor]]:
    """How a device may compute, fastest first."""
    if device != "cuda" or not importlib.util.find_spec("triton"):
        return [plain.Predictor]
    from . import launch

    return [launch.Predictor, plain.Predictor]


def check(made: Network) -> None:
    """Walk over small slabs there and back; raises RuntimeError where the reference says otherwise."""
    for limit in _LIMITS:
        slabs = [SlabInput(_ranks(shape, limit), limit) for shape in _SHAPES]
        numpy = reference.Network(made.weights)
        expected = [definition(given, numpy, Team(), _nothing) for given in slabs]
        found = wavefront.predict_slabs(slabs, made, _nothing)
        same = [np.array_equal(a, b) for a, b in zip(found, expected, strict=True)]
        replays = [Replay(*one, made.weights) for one in zip(slabs, expected, strict=True)]
        opened = [
            SlabStream(shape, cast(Reader, replay), limit) for shape, replay in zip(_SHAPES, replays, strict=True)
        ]
        back = wavefront.decode_slabs(opened, made, _nothing)
        same += [
            isinstance(a, np.ndarray) and np.array_equal(a, b.ranks) and replay.through
            for a, b, replay in zip(back, slabs, replays, strict=True)
        ]
        if not all(same):
            raise RuntimeError("it does not give the reference's numbers here")


def _ranks(shape: Shape, limit: int) -> np.ndarray:
    """Noise of all sizes, and a part of it at the ends of the range, where gates are as far as they go."""
    random = np.random.default_rng(limit)
    ranks = random.integers(0, limit + 1, shape)
    return np.where(random.random(shape) < 0.3, random.choice([0, limit], shape), ranks).astype(np.int32)


class Replay(ByCalls):
    """Stands for a `paper.slab.Reader` of a slab that is known, and notes whether it is told what it should be."""

    def __init__(self, given: SlabInput, predicted: np.ndarray, weights: Weights) -> None:
        order, _ = fronts_of(schedule_of(weights), given.shape)
        self._voxel, self._predicted = given.ranks.reshape(-1)[order], predicted[order]
        self._begin, self._same = 0, True

    def take(self, predicted: np.ndarray) -> np.ndarray:
        """As `Reader.take`."""
        here = slice(self._begin, self._begin + predicted.size)
        self._begin = here.stop
        self._same &= np.array_equal(predicted, self._predicted[here])
        return self._voxel[here]

    def finish(self) -> None:
        """As `Reader.finish`."""

    @property
    def through(self) -> bool:
        """Whether all was asked for, and rightly."""
        return self._same and self._begin == self._voxel.size


def _nothing(done: int) -> None:
    """Nobody wants to know."""
