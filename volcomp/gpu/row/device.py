"""The ways to compute the pipeline `row` on a device, the check against the reference, and the batched calls."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np

from ...dtypes import Int32s, Levels, UInt8s
from ...encoder import linear_fit
from ...errors import DamagedError
from ...pipelines.protocol import Done
from ...pipelines.row.slab import lay_out
from ...pipelines.row.wavefront import RowInput, RowStream
from ...pipelines.row.wavefront import predict_slab as definition
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from ...stages import linear
from ...stages.lstm import reference
from ...stages.lstm.weights import LstmWeights
from ...stages.payload import Predictions, SymbolReader
from .. import normal_equations
from ..batcher import Batcher
from . import plain, wavefront
from .group import RowGroup
from .network import DeviceLstm, RowSteps

__all__ = ["check", "make_device", "make_network", "ways"]

# Test slabs and their largest grey levels: they end at different fronts, and the heads of both learn.
_SHAPES = (((6, 9, 11), 900), ((3, 9, 11), 30_000))
BATCH_VOXELS = 1 << 28  # at most, in a run of several volumes: 32 slabs of 32 slices of 512²
_FIT = 8, 1  # of their linear stage: runs, effort


class RowDevice:
    """A `device.Device` that works on slabs of several volumes together."""

    # For slices of 128², `base` and a support that reaches far. Slices of 512² take half, since margins and the outputs
    # that rows pass on are a smaller share.
    input_bytes, stream_bytes = 40, 30

    def __init__(self, network: DeviceLstm) -> None:
        self.network, self.name = network, str(network.device)
        self._predict: Batcher[RowInput, Predictions] = Batcher(
            lambda slabs, done: wavefront.predict_slabs(slabs, network, done), partial(self.capacity, self.input_bytes)
        )
        self._decode: Batcher[RowStream, Levels | DamagedError] = Batcher(
            lambda slabs, done: wavefront.decode_slabs(slabs, network, done), partial(self.capacity, self.stream_bytes)
        )

    def predict(self, slabs: Sequence[RowInput], done: Done) -> list[Predictions]:
        """Predict slabs, together with those of concurrent calls."""
        return self._predict(slabs, done)

    def decode(self, slabs: Sequence[RowStream], done: Done) -> list[Levels | DamagedError]:
        """Decode slabs, together with those of concurrent calls."""
        return self._decode(slabs, done)

    def capacity(self, bytes_per_voxel: int, most: int = BATCH_VOXELS) -> int:
        """Return how many voxels fit into the free memory, at most `most`."""
        return min(self.network.free() // bytes_per_voxel, most)


make_network, make_device = DeviceLstm, RowDevice


def ways(device: str) -> list[Callable[[RowGroup], RowSteps]]:
    """Return the ways to compute on a device, fastest first."""
    if device != "cuda" or not importlib.util.find_spec("triton"):
        return [plain.PlainSteps]
    from . import launch

    return [launch.Graphs, launch.TritonSteps, plain.PlainSteps]


def check(network: DeviceLstm) -> None:
    """Fit the linear stage of small slabs, predict and decode them; RuntimeError if a number is not the reference's."""
    slabs = [_slab(shape, largest, network.weights) for shape, largest in _SHAPES]
    numpy = reference.ReferenceLstm(network.weights)
    expected = [definition(slab, numpy, Team(None, 1), lambda done: None) for slab in slabs]
    found = wavefront.predict_slabs(slabs, network, lambda done: None)
    replays = [_Replay(slab, predictions) for slab, predictions in zip(slabs, expected, strict=True)]
    streams = [
        RowStream(slab.layout, cast(SymbolReader, replay), slab.limit, slab.stage)
        for slab, replay in zip(slabs, replays, strict=True)
    ]
    decoded = wavefront.decode_slabs(streams, network, lambda done: None)
    pairs = [pair for one in zip(found, expected, strict=True) for pair in zip(*one, strict=True)]
    same = [a is not None and b is not None and np.array_equal(a, b) for a, b in pairs]
    same += [isinstance(a, np.ndarray) and np.array_equal(a, b.levels) for a, b in zip(decoded, slabs, strict=True)]
    fits = [(normal_equations.fit(one.levels, *_FIT, network.device), one.stage) for one in slabs]
    same += [linear.to_bytes(a) == linear.to_bytes(b) for a, b in fits]
    if not all(same) or not all(replay.same for replay in replays):
        raise RuntimeError("it does not give the reference's numbers here")


def _slab(shape: tuple[int, int, int], largest: int, weights: LstmWeights) -> RowInput:
    """Make a smooth, noisy slab with a grey level that occurs often."""
    random = np.random.default_rng(largest)
    z, y, x = np.indices(shape)
    levels = largest * (0.5 + 0.3 * np.sin(0.3 * x + 0.2 * y + 0.5 * z)) + random.normal(0, 0.02 * largest, shape)
    levels = np.where(random.random(shape) < 0.2, largest // 3, levels).round().clip(0, largest).astype(np.int32)
    fitted = linear_fit.fit_by_effort(levels, *_FIT)
    excluded = largest // 3 if weights.learns else None
    return RowInput(lay_out(shape, fitted), levels, largest, fitted, largest // 3, excluded)


class _Replay(ByCalls):
    """Replaces a `payload.SymbolReader` for a known slab; `same` tells whether the outputs were the expected ones."""

    def __init__(self, slab: RowInput, predictions: Predictions) -> None:
        self.peak, self.excluded = slab.candidate, slab.excluded
        self.same = True
        self._predictions, self._begin = predictions, 0

    def pop(self, mean: Int32s, classes: UInt8s, context: UInt8s) -> Levels:
        """Return the next front's voxels and compare the outputs."""
        here = slice(self._begin, self._begin + len(mean))
        self._begin = here.stop
        _, voxel, expected_mean, expected_classes, expected_context = self._predictions
        self.same &= expected_context is not None and np.array_equal(context, expected_context[here])
        self.same &= np.array_equal(mean, expected_mean[here]) and np.array_equal(classes, expected_classes[here])
        return voxel[here]

    def finish(self) -> None:
        """Do nothing: there is no payload."""
