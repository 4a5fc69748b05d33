"""The walk over the fronts of many slabs at once, on a device: `predict_slab` and `decode_slab` as `volcomp.pipelines.row.wavefront` has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ...errors import DamagedError
from ...pipelines.row.wavefront import Done, SlabInput, SlabStream
from ...runtime.compiled import entry
from ...stages.payload import Predictions
from .. import double_buffer
from .group import Group, need
from .network import Network, Steps
from .plan import Part


def predict_slabs(slabs: Sequence[SlabInput], network: Network, done: Done) -> list[Predictions]:
    """Walk over slabs that are known."""

    def walk(group: Sequence[SlabInput]) -> list[Predictions]:
        parts = [Part(given.layout, given.limit, given.stage, given.candidate, given.excluded) for given in group]
        with double_buffer.own_stream(network.device):
            at_work = Group(network, parts, [given.levels for given in group])
            network.steps(at_work).walk()
            found = _predictions_of(at_work, [given.candidate is not None for given in group])
        done(sum(given.levels.size for given in group))
        return found

    return double_buffer.fitting(walk, slabs, partial(need, network.weights))


@entry
def _pick(source: np.ndarray, places: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> None:
    """The pieces of a slab, front by front, from those of the whole group."""
    end = 0
    for f in range(sizes.shape[0]):
        begin, end = end, end + sizes[f]
        for v in range(sizes[f]):  # numba would allocate for a slice: they might overlap
            out[begin + v] = source[places[f] + v]


def _predictions_of(group: Group, spiked: Sequence[bool]) -> list[Predictions]:
    """What the trace says of every slab; contexts where there may be a spike."""
    plan, trace = group.plan, group.trace
    kinds = (np.int32, np.int32, np.uint8, np.uint8)
    arrays = [values.cpu().numpy() for values in (trace.voxel, trace.mean, trace.classes, trace.context)]
    found = []
    for s, has_contexts in enumerate(spiked):
        sizes, places = plan.sizes(s), plan.places(s)
        own: list[np.ndarray] = [np.empty(int(sizes.sum()), kind) for kind in kinds]
        for source, out in zip(arrays, own, strict=True):
            _pick(source, places, sizes, out)
        voxel, mean, classes, context = own
        found.append(Predictions(sizes, voxel, mean, classes, context if has_contexts else None))
    return found


def decode_slabs(slabs: Sequence[SlabStream], network: Network, done: Done) -> list[np.ndarray | DamagedError]:
    """The grey levels [Z, Y, X] of slabs from their symbols; a DamagedError where these cannot be."""

    def begin(group: Sequence[SlabStream]) -> tuple[Group, Steps]:
        parts = [Part(one.layout, one.limit, one.stage, one.symbols.peak, one.symbols.excluded) for one in group]
        at_work = Group(network, parts, None)
        return at_work, network.steps(at_work)

    return double_buffer.restore(slabs, begin, network.device, partial(need, network.weights), done)
