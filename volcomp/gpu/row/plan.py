"""The plan of a group of slabs: where its rows lie, at which times each is computed, the weights of the linear stage.

It consists of integer arrays with an entry per row or per slab, in the layout that kernels read fastest. The slabs may
belong to several volumes with the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...dtypes import Int16s, Int32s, Int64s
from ...pipelines.row.slab import Layout, Rows
from ...stages import linear

CHUNK = 32  # neighbours of the linear stage that are weighed at a time
# Columns of `Plan.slabs`.
PLANE, ROW, WIDTH, LIMIT, CANDIDATE, EXCLUDED, FIELDS = range(7)
NO_LEVEL = -1  # no candidate, no excluded level
# Columns of `Plan.fronts`.
TIME, LOW, HIGH, PLACE = range(4)


class Part(NamedTuple):
    """A slab of a group.

    layout
    limit       its largest grey level
    stage       its linear stage
    candidate   the grey level that may be a peak of the histogram, or None
    excluded    the grey level that the head does not learn from, or None
    """

    layout: Layout
    limit: int
    stage: linear.LinearWeights
    candidate: int | None
    excluded: int | None


class Plan(NamedTuple):
    """The integers of a group of slabs [s] with rows [r], ordered by slab and then by the time at which they start.

    size                      elements of all padded slabs, one after the other
    offsets int64 [s]         where each begins
    start int32 [r]           the time of a row's first voxel
    base int64 [r]            where that voxel would lie among the padded slabs at time 0
    depth int32 [r]           its slice in the slab, DEPTHS - 1 for all later ones
    sets int32 [r]            its group of weight sets
    last int32 [r]            1 where no row follows in the slice, else 0
    sources int32 [2, r]      the row above in the slice, and the row of the slice before; −1 for none
    slabs int64 [s, FIELDS]   strides of the padded slab, width, limit, candidate and excluded level or NO_LEVEL
    back int32 [s, n]         neighbours of the linear stage: how many slices back, n a multiple of CHUNK,
    flat int32 [s, n]         and dy·row + dx
    weights int16 [s, g, c, n]    4096 is 1.0
    bounds int32 [s, g, c - 1]    of activity, ascending
    fronts int64 [f, s, 4]    time, first row, the one after the last, voxels of the front in earlier slabs
    first int64 [f + 1]       voxels of all earlier fronts
    longest                   most rows of one slab in a front
    span                      the longest of the layouts

    A slab with fewer fronts than another ends with empty ones.
    """

    size: int
    offsets: Int64s
    start: Int32s
    base: Int64s
    depth: Int32s
    sets: Int32s
    last: Int32s
    sources: Int32s
    slabs: Int64s
    back: Int32s
    flat: Int32s
    weights: Int16s
    bounds: Int32s
    fronts: Int64s
    first: Int64s
    longest: int
    span: int

    def sizes(self, s: int) -> Int64s:
        """Return the number of voxels of every front of slab s that has any, int64 [f]."""
        counts = self.fronts[:, s, HIGH] - self.fronts[:, s, LOW]
        return counts[counts > 0]

    def places(self, s: int) -> Int64s:
        """Return where these fronts of slab s begin among all voxels of the group in order of fronts, int64 [f]."""
        counts = self.fronts[:, s, HIGH] - self.fronts[:, s, LOW]
        return (self.first[:-1] + self.fronts[:, s, PLACE])[counts > 0]


def make(parts: Sequence[Part]) -> Plan:
    """Make the plan of these slabs."""
    layouts = [part.layout for part in parts]
    offsets = np.cumsum([0, *(layout.size for layout in layouts)])
    rows = [layout.rows for layout in layouts]
    slabs = [
        [*part.layout.strides, part.layout.shape[2], part.limit]
        + [NO_LEVEL if level is None else level for level in (part.candidate, part.excluded)]
        for part in parts
    ]
    fronts = _fronts(layouts)
    counts = (fronts[:, :, HIGH] - fronts[:, :, LOW]).sum(axis=1)
    return Plan(
        int(offsets[-1]),
        offsets[:-1],
        np.concatenate([r.start for r in rows]).astype(np.int32),
        np.concatenate([r.base + offset for r, offset in zip(rows, offsets, strict=False)]),
        np.concatenate([r.depth for r in rows]).astype(np.int32),
        np.concatenate([r.group for r in rows]).astype(np.int32),
        np.concatenate([r.last for r in rows]).astype(np.int32),
        _sources(rows),
        np.array(slabs, np.int64),
        *_linear(parts),
        fronts,
        np.concatenate([[0], np.cumsum(counts)]),
        int((fronts[:, :, HIGH] - fronts[:, :, LOW]).max()),
        max(layout.span for layout in layouts),
    )


def _sources(rows: Sequence[Rows]) -> Int32s:
    """Make `Plan.sources`."""
    first, parts = 0, []
    for r in rows:
        own = np.stack([r.above, r.before])
        parts.append(np.where(own < 0, -1, own + first))
        first += len(r.start)
    return np.concatenate(parts, axis=1).astype(np.int32)


def _fronts(layouts: Sequence[Layout]) -> Int64s:
    fronts = np.zeros((max(len(layout.fronts) for layout in layouts), len(layouts), 4), np.int64)
    first = 0
    for s, layout in enumerate(layouts):
        own = np.array(layout.fronts, np.int64)
        fronts[: len(own), s, : HIGH + 1] = own + np.array([0, first, first])
        first += len(layout.rows.start)
    counts = fronts[:, :, HIGH] - fronts[:, :, LOW]
    fronts[:, :, PLACE] = np.cumsum(counts, axis=1) - counts
    return fronts


def _linear(parts: Sequence[Part]) -> tuple[Int32s, Int32s, Int16s, Int32s]:
    """Make `Plan.back`, `flat`, `weights` and `bounds`."""
    stages = [part.stage for part in parts]
    longest = max(len(stage.support.offsets) for stage in stages)
    size = (len(stages), -(-longest // CHUNK) * CHUNK)
    groups = max(stage.weights.shape[0] for stage in stages)
    classes = max(stage.weights.shape[1] for stage in stages)
    back, flat = np.zeros(size, np.int32), np.full(size, -1, np.int32)  # padding reads the voxel before,
    weights = np.zeros((size[0], groups, classes, size[1]), np.int16)  # with weight 0
    int32 = np.iinfo(np.int32)
    bounds = np.full((size[0], groups, classes - 1), int32.max, np.int32)  # above every activity
    for s, (part, stage) in enumerate(zip(parts, stages, strict=True)):
        # In memory order, so that adjacent neighbours are read together.
        order = sorted(range(len(stage.support.offsets)), key=stage.support.offsets.__getitem__)
        dz, dy, dx = np.array(stage.support.offsets)[order].T
        back[s, : len(order)] = -dz
        flat[s, : len(order)] = dy * part.layout.strides[1] + dx
        g, c, _ = stage.weights.shape
        weights[s, :g, :c, : len(order)] = stage.weights[:, :, order]
        bounds[s, :g, : c - 1] = stage.thresholds.clip(int32.min, int32.max)
    return back, flat, weights, bounds
