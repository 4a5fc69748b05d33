"""One slab while it is coded: its padded voxels, the state of its rows, its fronts.

Encoder and decoder go through the same fronts (`wavefront.py`) with the same two calls (after cmix's Predict and
Perceive): `predict` computes the mean and the class of every voxel of a front, `perceive` writes the voxels. They share
nothing else, so nothing else can differ.

Threads work on different slabs and must not wait for each other. So the loops do not hold the lock of Python's
interpreter, and between them are only a few calls per front, on arrays that are allocated once per slab.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from neighbourhoods import Schedule

from ...constants import DEPTHS
from ...dtypes import Bools, Int32s, Int64s, Levels, UInt8s
from ...runtime.compiled import code_for
from ...stages import features, linear, peak
from ...stages.grid import PaddedSlab, RowScratch, beside, flat, geometry, unpadded
from ...stages.histogram_packing import level_type
from ...stages.linear_inputs import Fixed, neighbours, scratch_for
from ...stages.lstm import cpu, learning, vector
from ...stages.lstm.state import State
from ...stages.lstm.weights import LstmWeights
from . import fronts


class LstmBackend(Protocol):
    """The methods of a backend; `lstm.reference.ReferenceLstm` defines their results."""

    def step(self, state: State, lo: int, hi: int) -> tuple[Int32s, Int32s]: ...

    def learn(self, state: State, lo: int, hi: int, error: Int32s, classes: UInt8s) -> None: ...


class Rows(NamedTuple):
    """The rows of a slab [r], in the order in which they start.

    start int64    the time of its first voxel
    base int64     position in the padded slab, minus the time: the voxel of time t is at base + t
    depth uint8    the slice; DEPTHS - 1 for all later slices
    group uint8    the group of weight sets of the slice
    last bool      whether it is the last row of the slice
    above int64    the number of the row above it in the slice; −1 for none
    before int64   the number of the same row in the slice before; −1 for none
    """

    start: Int64s
    base: Int64s
    depth: UInt8s
    group: UInt8s
    last: Bools
    above: Int64s
    before: Int64s


class Layout(NamedTuple):
    """Where the voxels of a slab lie, and the times at which they are coded: the same on every device.

    shape           Z, Y, X
    size            elements of the padded slab
    strides         from slice to slice and from row to row, in elements
    lags            times from the start of a row to the start of the next row, and of the same row in the next slice
    rows
    order int64     [Z, Y]: the number of every row
    fronts          (time, first row, past the last row) of every front that has voxels
    span            times from the start of a row to the start of the same row in the next slice, plus one
    """

    shape: tuple[int, int, int]
    size: int
    strides: tuple[int, int]
    lags: tuple[int, int]
    rows: Rows
    order: Int64s
    fronts: list[tuple[int, int, int]]
    span: int


def lay_out(shape: tuple[int, int, int], stage: linear.LinearWeights) -> Layout:
    """Compute the layout of a slab [Z, Y, X]. The support of its linear stage determines the schedule."""
    size, origin, strides = geometry(shape)
    seen = {*stage.support.offsets, *features.LEVELS, *features.RESIDUALS, *features.ACTIVE}
    schedule = Schedule.of(tuple(sorted(seen)), recurrence=True)
    rows = schedule.rows(shape)
    start = rows.start.astype(np.int64)
    times = np.arange(schedule.fronts(shape))
    lo = np.searchsorted(start, times - shape[2], side="right").tolist()
    hi = np.searchsorted(start, times, side="right").tolist()
    order = np.full((shape[0] + 1, shape[1] + 1), -1)  # of the rows; −1 before the first row and the first slice
    order[rows.z, rows.y] = np.arange(len(start))
    ordered = Rows(
        start,
        rows.z.astype(np.int64) * strides[0] + rows.y * strides[1] + origin - start,
        np.minimum(rows.z, DEPTHS - 1).astype(np.uint8),
        linear.groups_of(shape[0], stage.height, stage.support)[rows.z],
        rows.y == shape[1] - 1,
        order[rows.z, rows.y - 1],
        order[rows.z - 1, rows.y],
    )
    fronts = [(t, a, b) for t, (a, b) in enumerate(zip(lo, hi, strict=True)) if a < b]
    lags = (schedule.b, schedule.c)
    return Layout(shape, size, strides, lags, ordered, order[:-1, :-1], fronts, schedule.c + 1)


class RowSlab:
    """One slab [Z, Y, X] of grey levels 0 … limit while it is coded.

    known [n]          the padded slab, flat: the grey levels that have been coded; after them the reference, if any
    mean int32 [r]     what `predict` last computed for each row, in the order of coding, in sixteenths of a grey level
    classes uint8 [r]  likewise: the class of the scale
    context uint8 [r]  likewise: the context of the flags of the peak, if there is a candidate
    """

    def __init__(
        self, layout: Layout, limit: int, stage: linear.LinearWeights, model: LstmWeights, candidate: int | None = None,
        reference: Levels | None = None, sees: bool = False,
    ) -> None:  # fmt: skip
        """`sees`: whether the network sees the reference, as well as the linear stage."""
        self.shape, self.limit, self._size = layout.shape, limit, layout.size
        self.strides, self._rows = layout.strides, layout.rows
        given = np.empty(0, np.int16) if reference is None else beside(reference)
        self.known = np.zeros(layout.size + given.size, level_type(limit))
        self.known[layout.size :] = given
        fitted = linear.ready(stage, self.strides, limit, layout.size)
        group = linear.groups_of(self.shape[0], stage.height, stage.support)
        rank = layout.order.astype(np.int32).ravel()
        count = rank.size
        prediction, scale, mean, error = (np.empty(count, np.int32) for _ in range(4))
        self._arrays = fronts.SlabArrays(
            fronts.Grid(*self.shape, *layout.lags, geometry(self.shape)[1], *self.strides, rank, group),
            PaddedSlab(self.known, np.zeros(layout.size, np.int32)),
            RowScratch(prediction, scale, mean, np.empty(count, np.uint8), error),
        )
        self.mean, self.classes = np.empty(count, np.int32), np.empty(count, np.uint8)
        self.context = np.empty(count, np.uint8)
        around = peak.Candidate(-1 if candidate is None else candidate, flat(peak.NEIGHBOURS, self.strides))
        self._stages = fronts.Stages(
            Fixed(fitted, neighbours(self.strides, model.observed, layout.size if sees else 0)),
            fronts.Outputs(self.mean, self.classes, self.context, around),
        )
        self._state = State(model, count, layout.span)
        self._scratch = max(scratch_for(fitted), vector.scratch_for(self._state.inputs.shape[1]))
        self._predict: Callable[..., None] | None = None  # the code of `fronts.predict` for these arrays
        self._perceive: Callable[..., None] | None = None

    def is_shared(self, network: LstmBackend) -> bool:
        """Return whether several threads may predict parts of a front at once."""
        return isinstance(network, cpu.CpuLstm) and network.packed is not None

    def predict(self, network: LstmBackend, t: int, begin: int = 0, end: int = 1 << 62) -> None:
        """Compute `mean`, `classes` and `context` of the rows that have a voxel at time t. If `is_shared(network)`, do
        so only for the voxels begin … end-1 of the front, counted slice by slice."""
        scratch = np.empty(self._scratch, np.int64)
        if isinstance(network, cpu.CpuLstm) and network.packed is not None:
            work = t, (begin, end), self._arrays, self._stages, self._state.arrays, network.packed, scratch
            self._predict = self._predict or code_for(fronts.predict, *work)
            self._predict(*work)
            return
        fronts.look_at(t, self._arrays, self._stages, self._state.arrays, scratch)
        for lo, hi in self._ranges(t):
            offset, octaves = network.step(self._state, lo, hi)
            self._state.offset[lo:hi], self._state.octaves[lo:hi] = offset, octaves
        fronts.conclude(t, self._arrays, self._stages, self._state.arrays)

    def _ranges(self, t: int) -> list[tuple[int, int]]:
        """Return the rows of the grid that have a voxel at time t: for every slice the first, and past the last."""
        height = self.shape[1]
        found = [(z * height, fronts.rows_at(t, z, self._arrays.grid)) for z in range(self.shape[0])]
        return [(first + a, first + b) for first, (a, b) in found if a < b]

    def perceive(self, network: LstmBackend, t: int, lo: int, voxel: Int32s, excluded: int | None) -> None:
        """Write the voxels int32 [v] of the front at time t, which begins with row number lo and which `predict` has
        just computed, and train the head of the network on all voxels except those of the grey level `excluded`."""
        arguments = (t, lo, self._arrays, voxel, -1 if excluded is None else excluded)
        if isinstance(network, cpu.CpuLstm):
            work = *arguments, self._state.arrays, network.rule
            self._perceive = self._perceive or code_for(fronts.perceive_and_learn, *work)
            self._perceive(*work)
            return
        scratch = self._arrays.scratch
        scratch.error[:] = learning.NOTHING  # for rows without a voxel at this time
        fronts.perceive(*arguments)
        network.learn(self._state, 0, self.mean.size, scratch.error, scratch.classes)

    def places(self, t: int, lo: int, hi: int) -> Int64s:
        """Return the positions in the padded slab of the voxels of rows lo … hi-1 at time t: int64 [hi - lo]."""
        return self._rows.base[lo:hi] + t

    def voxels(self) -> Levels:
        """Return the grey levels [Z, Y, X], as a view."""
        return unpadded(self.known[: self._size], self.shape)
