"""How a device may compute the pipeline `row`, whether it gives the reference's numbers there, and slabs on it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np

from ...encoder import linear_fit
from ...errors import DamagedError
from ...pipelines.protocol import Done, Levels
from ...pipelines.row.slab import lay_out
from ...pipelines.row.wavefront import SlabInput, SlabStream
from ...pipelines.row.wavefront import predict_slab as definition
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from ...stages import linear
from ...stages.lstm import reference
from ...stages.lstm.weights import Weights
from ...stages.payload import Predictions, Reader
from .. import normal_equations
from ..batcher import Batcher
from . import plain, wavefront
from .group import Group
from .network import Network, Steps

__all__ = ["Network", "OnDevice", "check", "ways"]

# Slabs that are tried, and their largest grey levels: one is through before the other, and both learn.
_SHAPES = (((6, 9, 11), 900), ((3, 9, 11), 30_000))
BATCH_VOXELS = 1 << 28  # of several volumes, at most: 32 slabs of 32 slices of 512²
_FIT = 8, 1  # how their linear stage is fitted: runs, effort


class OnDevice:
    """As `device.Device` says; slabs of several volumes are at work together."""

    # In slices of 128² with `base` and a support that reaches far; in slices of 512², where margins and what rows pass
    # on weigh less, it is half of that.
    input_bytes, stream_bytes = 40, 30

    def __init__(self, network: Network) -> None:
        self.network, self.name = network, str(network.device)
        self._predict: Batcher[SlabInput, Predictions] = Batcher(
            lambda slabs, done: wavefront.predict_slabs(slabs, network, done), partial(self.room, self.input_bytes)
        )
        self._decode: Batcher[SlabStream, Levels | DamagedError] = Batcher(
            lambda slabs, done: wavefront.decode_slabs(slabs, network, done), partial(self.room, self.stream_bytes)
        )

    def predict(self, slabs: Sequence[SlabInput], done: Done) -> list[Predictions]:
        """As `Device` says."""
        return self._predict(slabs, done)

    def decode(self, slabs: Sequence[SlabStream], done: Done) -> list[Levels | DamagedError]:
        """As `Device` says."""
        return self._decode(slabs, done)

    def room(self, bytes_per_voxel: int, most: int = BATCH_VOXELS) -> int:
        """As `Device` says."""
        return min(self.network.free() // bytes_per_voxel, most)


def ways(device: str) -> list[Callable[[Group], Steps]]:
    """How a device may compute, fastest first."""
    if device != "cuda" or not importlib.util.find_spec("triton"):
        return [plain.Steps]
    from . import launch

    return [launch.Graphs, launch.Steps, plain.Steps]


def check(made: Network) -> None:
    """Fit the linear stage of small slabs and walk over them there and back; raises RuntimeError where the reference
    says otherwise."""
    slabs = [_slab(shape, largest, made.weights) for shape, largest in _SHAPES]
    numpy = reference.Network(made.weights)
    expected = [definition(given, numpy, Team(None, 1), lambda done: None) for given in slabs]
    found = wavefront.predict_slabs(slabs, made, lambda done: None)
    replays = [_Replay(given, survey) for given, survey in zip(slabs, expected, strict=True)]
    opened = [
        SlabStream(given.layout, cast(Reader, replay), given.limit, given.stage)
        for given, replay in zip(slabs, replays, strict=True)
    ]
    back = wavefront.decode_slabs(opened, made, lambda done: None)
    pairs = [pair for one in zip(found, expected, strict=True) for pair in zip(*one, strict=True)]
    same = [a is not None and b is not None and np.array_equal(a, b) for a, b in pairs]
    same += [isinstance(a, np.ndarray) and np.array_equal(a, b.levels) for a, b in zip(back, slabs, strict=True)]
    fits = [(normal_equations.fit(one.levels, *_FIT, made.device), one.stage) for one in slabs]
    same += [linear.to_bytes(a) == linear.to_bytes(b) for a, b in fits]
    if not all(same) or not all(replay.same for replay in replays):
        raise RuntimeError("it does not give the reference's numbers here")


def _slab(shape: tuple[int, int, int], largest: int, weights: Weights) -> SlabInput:
    """Smooth, noisy, and with a grey level that occurs often."""
    random = np.random.default_rng(largest)
    z, y, x = np.indices(shape)
    levels = largest * (0.5 + 0.3 * np.sin(0.3 * x + 0.2 * y + 0.5 * z)) + random.normal(0, 0.02 * largest, shape)
    levels = np.where(random.random(shape) < 0.2, largest // 3, levels).round().clip(0, largest).astype(np.int32)
    fitted = linear_fit.fit_by_effort(levels, *_FIT)
    quiet = largest // 3 if weights.learns else None
    return SlabInput(lay_out(shape, fitted), levels, largest, fitted, largest // 3, quiet)


class _Replay(ByCalls):
    """Stands for a `coding.Reader` of a slab that is known: it notes whether what it is told is what it should be."""

    def __init__(self, given: SlabInput, survey: Predictions) -> None:
        self.peak, self.excluded = given.candidate, given.excluded
        self.same = True
        self._survey, self._begin = survey, 0

    def take(self, mean: np.ndarray, classes: np.ndarray, context: np.ndarray) -> np.ndarray:
        """As `coding.Reader.take`."""
        here = slice(self._begin, self._begin + len(mean))
        self._begin = here.stop
        _, voxel, *said = self._survey
        pairs = zip((mean, classes, context), said, strict=True)
        self.same &= all(b is not None and np.array_equal(a, b[here]) for a, b in pairs)
        return voxel[here]

    def finish(self) -> None:
        """As `coding.Reader.finish`."""
