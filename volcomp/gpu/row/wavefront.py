"""The wavefront of many slabs at once, on a device; see `pipelines/row/wavefront.py` for one slab on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ...dtypes import Int64s, Levels
from ...errors import DamagedError
from ...pipelines.row.wavefront import Done, RowInput, RowStream
from ...runtime.compiled import entry
from ...stages.payload import Predictions
from .. import double_buffer
from .group import RowGroup, need
from .network import DeviceLstm, RowSteps
from .plan import Part


def predict_slabs(slabs: Sequence[RowInput], network: DeviceLstm, done: Done) -> list[Predictions]:
    """Predict all voxels of slabs whose voxels are known."""

    def run(group: Sequence[RowInput]) -> list[Predictions]:
        parts = [Part(slab.layout, slab.limit, slab.stage, slab.candidate, slab.excluded) for slab in group]
        with double_buffer.own_stream(network.device):
            prepared = RowGroup(network, parts, [slab.levels for slab in group])
            network.steps(prepared).run()
            found = _predictions_of(prepared, [slab.candidate is not None for slab in group])
        done(sum(slab.levels.size for slab in group))
        return found

    return double_buffer.fitting(run, slabs, partial(need, network.weights))


@entry
def _pick(source: np.ndarray, places: Int64s, sizes: Int64s, out: np.ndarray) -> None:
    """Copy the voxels of one slab, front by front, from an array of the whole group."""
    end = 0
    for f in range(sizes.shape[0]):
        begin, end = end, end + sizes[f]
        for v in range(sizes[f]):  # by element: numba allocates for a copy between slices, since they might overlap
            out[begin + v] = source[places[f] + v]


def _predictions_of(group: RowGroup, with_contexts: Sequence[bool]) -> list[Predictions]:
    """Split the trace into the predictions of every slab; contexts only where there is a candidate for a peak."""
    plan, trace = group.plan, group.trace
    kinds = (np.int32, np.int32, np.uint8, np.uint8)
    arrays = [values.cpu().numpy() for values in (trace.voxel, trace.mean, trace.classes, trace.context)]
    found = []
    for s, has_contexts in enumerate(with_contexts):
        sizes, places = plan.sizes(s), plan.places(s)
        own: list[np.ndarray] = [np.empty(int(sizes.sum()), kind) for kind in kinds]
        for source, out in zip(arrays, own, strict=True):
            _pick(source, places, sizes, out)
        voxel, mean, classes, context = own
        found.append(Predictions(sizes, voxel, mean, classes, context if has_contexts else None))
    return found


def decode_slabs(slabs: Sequence[RowStream], network: DeviceLstm, done: Done) -> list[Levels | DamagedError]:
    """Decode slabs to grey levels [Z, Y, X]; a damaged slab gives a DamagedError."""

    def begin(group: Sequence[RowStream]) -> tuple[RowGroup, RowSteps]:
        parts = [Part(slab.layout, slab.limit, slab.stage, slab.symbols.peak, slab.symbols.excluded) for slab in group]
        prepared = RowGroup(network, parts, None)
        return prepared, network.steps(prepared)

    return double_buffer.decode(slabs, begin, network.device, partial(need, network.weights), done)
