"""What a group of slabs is told before it sets out: where its rows lie, when each is at work, what neighbours weigh.

Plain arrays of integers, laid out as kernels like to read them: for every row or every slab. The slabs may be of
several volumes, if these have the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...pipelines.row.slab import Layout, Rows
from ...stages import linear

CHUNK = 32  # neighbours of the linear stage that are weighed at a time
# Columns of `Plan.slabs`.
PLANE, ROW, WIDTH, LIMIT, SPIKE, QUIET, FIELDS = range(7)
NO_LEVEL = -1  # no spike, nothing quiet
# Columns of `Plan.fronts`.
TIME, LOW, HIGH, PLACE = range(4)


class Part(NamedTuple):
    """A slab of a group: its layout, its largest grey level, its linear stage, and the grey levels that may be a peak
    and that the network does not learn from, or None."""

    layout: Layout
    limit: int
    stage: linear.Weights
    candidate: int | None
    excluded: int | None


class Plan(NamedTuple):
    """A group of slabs [s] with rows [r], those of the first slab first, each slab's in the order in which they start.

    size                      elements of all padded slabs, one after the other
    offsets int64 [s]         where each begins
    start int32 [r]           the time of a row's first voxel
    base int64 [r]            where that would lie among the padded slabs at time 0
    depth int32 [r]           its slice in the slab, DEPTHS - 1 for all later ones
    sets int32 [r]            which group of weight sets serves it
    last int32 [r]            1 where no row follows in the slice, else 0
    sources int32 [2, r]      which row is the one above in the slice, and which that of the slice before; −1 for none
    slabs int64 [s, FIELDS]   strides of the padded slab, width, largest grey level, spike and quiet or NO_LEVEL
    back int32 [s, n]         neighbours of the linear stage: how many slices back, n a multiple of CHUNK,
    flat int32 [s, n]         and dy·row + dx
    weights int16 [s, g, c, n]    4096 is 1.0
    bounds int32 [s, g, c - 1]    of activity, ascending
    fronts int64 [f, s, 4]    time, first row, past the last row, and how many voxels of the front are of earlier slabs
    first int64 [f + 1]       how many voxels are of earlier fronts
    longest                   most rows of one slab in a front
    span                      of the layouts, the longest

    A slab that has fewer fronts than another is left with empty ones.
    """

    size: int
    offsets: np.ndarray
    start: np.ndarray
    base: np.ndarray
    depth: np.ndarray
    sets: np.ndarray
    last: np.ndarray
    sources: np.ndarray
    slabs: np.ndarray
    back: np.ndarray
    flat: np.ndarray
    weights: np.ndarray
    bounds: np.ndarray
    fronts: np.ndarray
    first: np.ndarray
    longest: int
    span: int

    def sizes(self, s: int) -> np.ndarray:
        """Voxels of every front of slab s that has any: int64 [f]."""
        counts = self.fronts[:, s, HIGH] - self.fronts[:, s, LOW]
        return counts[counts > 0]

    def places(self, s: int) -> np.ndarray:
        """Where the fronts of slab s that have voxels begin among all voxels of the group, front after front."""
        counts = self.fronts[:, s, HIGH] - self.fronts[:, s, LOW]
        return (self.first[:-1] + self.fronts[:, s, PLACE])[counts > 0]


def make(parts: Sequence[Part]) -> Plan:
    """The plan for these slabs."""
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


def _sources(rows: Sequence[Rows]) -> np.ndarray:
    """`sources` of a plan."""
    first, parts = 0, []
    for r in rows:
        own = np.stack([r.above, r.before])
        parts.append(np.where(own < 0, -1, own + first))
        first += len(r.start)
    return np.concatenate(parts, axis=1).astype(np.int32)


def _fronts(layouts: Sequence[Layout]) -> np.ndarray:
    fronts = np.zeros((max(len(layout.fronts) for layout in layouts), len(layouts), 4), np.int64)
    first = 0
    for s, layout in enumerate(layouts):
        own = np.array(layout.fronts, np.int64)
        fronts[: len(own), s, : HIGH + 1] = own + np.array([0, first, first])
        first += len(layout.rows.start)
    counts = fronts[:, :, HIGH] - fronts[:, :, LOW]
    fronts[:, :, PLACE] = np.cumsum(counts, axis=1) - counts
    return fronts


def _linear(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`back`, `flat`, `weights` and `bounds` of a plan."""
    stages = [part.stage for part in parts]
    most = max(len(stage.support.offsets) for stage in stages)
    size = (len(stages), -(-most // CHUNK) * CHUNK)
    groups = max(stage.weights.shape[0] for stage in stages)
    classes = max(stage.weights.shape[1] for stage in stages)
    back, flat = np.zeros(size, np.int32), np.full(size, -1, np.int32)  # the rest reads the voxel before, and
    weights = np.zeros((size[0], groups, classes, size[1]), np.int16)  # weighs nothing
    reached = np.iinfo(np.int32)
    bounds = np.full((size[0], groups, classes - 1), reached.max, np.int32)  # which no activity is
    for s, (part, stage) in enumerate(zip(parts, stages, strict=True)):
        # Neighbours that lie side by side are read side by side.
        order = sorted(range(len(stage.support.offsets)), key=stage.support.offsets.__getitem__)
        dz, dy, dx = np.array(stage.support.offsets)[order].T
        back[s, : len(order)] = -dz
        flat[s, : len(order)] = dy * part.layout.strides[1] + dx
        g, c, _ = stage.weights.shape
        weights[s, :g, :c, : len(order)] = stage.weights[:, :, order]
        bounds[s, :g, : c - 1] = stage.thresholds.clip(reached.min, reached.max)
    return back, flat, weights, bounds
