"""The wavefront of a slab on the CPU: front after front of voxels that are independent of each other.

`predict_slab`, for an encoder, reads the voxels from the slab; `decode_slab` pops them from the entropy coder. The two
mirror each other. `gpu/row/wavefront.py` has the same two for many slabs at once.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from neighbourhoods import Shape

from ...dtypes import Int64s, Levels
from ...runtime.compiled import entry
from ...runtime.scalars import smaller
from ...runtime.team import Team
from ...stages import linear, payload
from ...stages.lstm import cpu, reference
from ..protocol import Done
from .slab import Layout, RowSlab

Lstm = cpu.CpuLstm | reference.ReferenceLstm
SHARED_ROWS = 512  # of a front: from this number on, the threads of a team share it
AT_ONCE = 32  # rows that are reordered together: their levels stay in the first-level cache


def mean_type(limit: int) -> type[np.integer]:
    """Return the type in which the means of a whole slab are stored: uint16 if it holds sixteenths of all grey levels
    0 … limit, else int32."""
    return np.uint16 if limit << 4 < 1 << 16 else np.int32


class RowInput(NamedTuple):
    """A slab whose voxels are known.

    layout
    levels       its grey levels int16 or int32 [Z, Y, X], 0 … limit
    limit
    stage        its linear stage
    candidate    the grey level that may be a peak of the histogram, or None
    excluded     the grey level that the network does not learn from, or None
    reference    levels of the same type and shape that the linear stage or the network has neighbours in, or None
    sees         whether the network has
    """

    layout: Layout
    levels: Levels
    limit: int
    stage: linear.LinearWeights
    candidate: int | None
    excluded: int | None
    reference: Levels | None = None
    sees: bool = False

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        return self.layout.shape


class RowStream(NamedTuple):
    """A slab whose voxels are still symbols. The other fields are those of `RowInput`."""

    layout: Layout
    symbols: payload.SymbolReader
    limit: int
    stage: linear.LinearWeights
    reference: Levels | None = None
    sees: bool = False

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        return self.layout.shape


@entry
def _in_order(levels: Levels, row: Int64s, start: Int64s, begin: Int64s, out: Levels) -> None:
    """Compute `in_order`.

    levels [rows, width]   slice by slice
    row int64 [rows]       for every row in the order of coding, its number in `levels`
    start int64 [rows]     and the time of its first voxel
    begin int64 [times]    for every time, where the voxel of row 0 would lie in `out`
    """
    width = levels.shape[1]
    for first in range(0, row.shape[0], AT_ONCE):
        past, lo, hi = smaller(first + AT_ONCE, row.shape[0]), first, first
        for t in range(start[first], start[past - 1] + width):
            while hi < past and start[hi] <= t:
                hi += 1
            while lo < hi and start[lo] + width <= t:
                lo += 1
            for r in range(lo, hi):
                out[begin[t] + r] = levels[row[r], t - start[r]]


def in_order(levels: Levels, layout: Layout) -> Levels:
    """Return the levels [Z, Y, X] in the order of coding, of the same type."""
    sizes = np.array([hi - lo for _, lo, hi in layout.fronts])
    times, first, _ = np.array(layout.fronts).T
    begin = np.zeros(int(times[-1]) + 1, np.int64)
    begin[times] = np.cumsum(sizes) - sizes - first
    out = np.empty(levels.size, levels.dtype)
    _in_order(
        np.ascontiguousarray(levels).reshape(-1, levels.shape[2]), np.argsort(layout.order, axis=None),
        layout.rows.start, begin, out,
    )  # fmt: skip
    return out


def predict_slab(slab_input: RowInput, network: Lstm, team: Team, done: Done) -> payload.Predictions:
    """Compute means and classes of all voxels of a slab, exactly as a decoder will."""
    layout, levels, limit, stage, candidate, excluded, reference, sees = slab_input
    # The slab is filled front by front, as in decoding: near its first slice, some voxels are read before they are
    # coded, and count as 0 (docs/format.md). So the voxels are put in the order of coding before the slab is allocated.
    voxel = in_order(levels, layout)
    del slab_input, levels  # which frees the levels
    slab = RowSlab(layout, limit, stage, network.weights, candidate, reference, sees)
    mean, classes = np.empty(voxel.size, mean_type(limit)), np.empty(voxel.size, np.uint8)
    context = None if candidate is None else np.empty(voxel.size, np.uint8)
    sizes = []
    end = 0
    for t, lo, hi in layout.fronts:
        begin, end = end, end + hi - lo
        _predict(slab, network, team, t, hi - lo)
        mean[begin:end], classes[begin:end] = slab.mean[lo:hi], slab.classes[lo:hi]
        if context is not None:
            context[begin:end] = slab.context[lo:hi]
        slab.perceive(network, t, lo, voxel[begin:end].astype(np.int32), excluded)  # the type that a decoder passes
        sizes.append(hi - lo)
        done(hi - lo)
    return payload.Predictions(np.array(sizes), voxel, mean, classes, context)


def decode_slab(stream: RowStream, network: Lstm, team: Team, done: Done) -> Levels:
    """Decode the grey levels [Z, Y, X] of a slab. Raises DamagedError for symbols that no encoder writes."""
    symbols = stream.symbols
    slab = RowSlab(
        stream.layout, stream.limit, stream.stage, network.weights, symbols.peak, stream.reference, stream.sees
    )
    for t, lo, hi in stream.layout.fronts:
        _predict(slab, network, team, t, hi - lo)
        context = None if symbols.peak is None else slab.context[lo:hi]
        voxel = symbols.pop(slab.mean[lo:hi], slab.classes[lo:hi], context)
        slab.perceive(network, t, lo, voxel, symbols.excluded)
        done(hi - lo)
    symbols.finish()
    return slab.voxels()


def _predict(slab: RowSlab, network: Lstm, team: Team, t: int, rows: int) -> None:
    """Predict a front, with a part of its rows on every thread of the team; see `RowSlab.predict`."""
    if slab.is_shared(network):
        team.share(partial(slab.predict, network, t), rows, SHARED_ROWS)
    else:
        slab.predict(network, t)
