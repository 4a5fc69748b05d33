"""One slab on its way through the pipeline: its padded voxels, the state of its rows, its fronts.

Encoder and decoder walk over the same fronts (`walk.py`) with the same two calls (after cmix's Predict and Perceive):
`predict` says where the mean of every voxel of a front lies and how sure that is, `perceive` takes the voxels in.
Nothing else is shared between them, and nothing else can differ.

Threads work on different slabs, and must not wait for each other: the loops hold no lock of Python's interpreter, and
what is between them is a few calls per front on arrays that are there from the start.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from neighbourhoods import Schedule

from ...constants import DEPTHS
from ...stages import features, linear, peak
from ...stages.grid import flat, geometry, unpadded
from ...stages.histogram_packing import level_type
from ...stages.linear_inputs import RowScratch, neighbours, scratch_for
from ...stages.lstm import cpu, learning, vector
from ...stages.lstm.state import State
from ...stages.lstm.weights import Weights
from . import fronts


class Network(Protocol):
    """What a backend does; `lstm.reference.Network` says what it means."""

    def step(self, state: State, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]: ...

    def learn(self, state: State, lo: int, hi: int, error: np.ndarray, classes: np.ndarray) -> None: ...


class Rows(NamedTuple):
    """The rows of a slab [r], in the order in which they start.

    start int64    the time of each one's first voxel
    base int64     where that would lie in the padded slab at time 0: a row's voxel of time t is at base + t
    depth uint8    the slice, DEPTHS - 1 for all later ones
    group uint8    which group of weight sets serves the slice
    last bool      whether no row follows in the slice
    above int64    which row is the one above in the slice, and which the same one in the slice before; −1 for none
    before int64
    """

    start: np.ndarray
    base: np.ndarray
    depth: np.ndarray
    group: np.ndarray
    last: np.ndarray
    above: np.ndarray
    before: np.ndarray


class Layout(NamedTuple):
    """Where the voxels of a slab lie, and when each one's time comes: the same on every device.

    shape           Z, Y, X
    size            elements of the padded slab
    strides         of its slices and rows, in elements
    lags            times from the start of a row to that of the next one, and of the same one in the next slice
    rows
    order int64     [Z, Y]: the number of every row
    fronts          (time, first, past the last row) of every front that has voxels
    span            times from the start of a row to that of the row in the next slice, at most, and one more
    """

    shape: tuple[int, int, int]
    size: int
    strides: tuple[int, int]
    lags: tuple[int, int]
    rows: Rows
    order: np.ndarray
    fronts: list[tuple[int, int, int]]
    span: int


def lay_out(shape: tuple[int, int, int], fitted: linear.Weights) -> Layout:
    """The layout of a slab [Z, Y, X] whose linear stage is `fitted`: its support decides on the schedule."""
    size, origin, strides = geometry(shape)
    seen = {*fitted.support.offsets, *features.LEVELS, *features.RESIDUALS, *features.ACTIVE}
    schedule = Schedule.of(tuple(sorted(seen)), recurrence=True)
    rows = schedule.rows(shape)
    start = rows.start.astype(np.int64)
    times = np.arange(schedule.fronts(shape))
    lo = np.searchsorted(start, times - shape[2], side="right").tolist()
    hi = np.searchsorted(start, times, side="right").tolist()
    order = np.full((shape[0] + 1, shape[1] + 1), -1)  # of the rows; what lies before the first ones are none
    order[rows.z, rows.y] = np.arange(len(start))
    ordered = Rows(
        start,
        rows.z.astype(np.int64) * strides[0] + rows.y * strides[1] + origin - start,
        np.minimum(rows.z, DEPTHS - 1).astype(np.uint8),
        linear.groups_of(shape[0], fitted.height, fitted.support)[rows.z],
        rows.y == shape[1] - 1,
        order[rows.z, rows.y - 1],
        order[rows.z - 1, rows.y],
    )
    fronts = [(t, a, b) for t, (a, b) in enumerate(zip(lo, hi, strict=True)) if a < b]
    lags = (schedule.b, schedule.c)
    return Layout(shape, size, strides, lags, ordered, order[:-1, :-1], fronts, schedule.c + 1)


class Slab:
    """One slab [Z, Y, X] of mapped grey levels 0 … limit while it is coded.

    known [n]          the padded slab, flat: the grey levels that have been coded
    mean int32 [r]     what `predict` said last of each row, in the order of coding: in sixteenths of a grey level,
    classes uint8 [r]  and how sure it was;
    context uint8 [r]  of the spike's flags, where a grey level is given that may be one
    """

    def __init__(
        self, layout: Layout, limit: int, fitted: linear.Weights, model: Weights, common: int | None = None
    ) -> None:
        self.shape, self.limit = layout.shape, limit
        self.strides, self._rows = layout.strides, layout.rows
        self.known = np.zeros(layout.size, level_type(limit))
        self._error = np.zeros(layout.size, np.int32)
        self._fitted = linear.ready(fitted, self.strides, limit)
        self._neighbours = neighbours(self.strides, model.observed)
        self._observed = model.observed
        group = linear.groups_of(self.shape[0], fitted.height, fitted.support)
        rank = layout.order.astype(np.int32).ravel()
        self._grid = fronts.Grid(*self.shape, *layout.lags, geometry(self.shape)[1], *self.strides, rank, group)
        count = rank.size
        self._room = RowScratch(*(np.empty(count, kind) for kind in (np.int32, np.int32, np.int32, np.uint8, np.int32)))
        self.mean, self.classes = np.empty(count, np.int32), np.empty(count, np.uint8)
        self.context = np.empty(count, np.uint8)
        common = -1 if common is None else common
        self._told = fronts.Told(self.mean, self.classes, self.context, common, flat(peak.NEIGHBOURS, self.strides))
        self._state = State(model, count, layout.span)
        self._arrays = self._state.arrays
        self._scratch = max(scratch_for(self._fitted), vector.scratch_for(self._state.inputs.shape[1]))

    def is_shared(self, network: Network) -> bool:
        """Whether parts of a front may be predicted on several threads at once."""
        return isinstance(network, cpu.Network) and network.packed is not None

    def predict(self, network: Network, t: int, begin: int = 0, end: int = 1 << 62) -> None:
        """Fill `mean`, `classes` and `context` of the rows that have a voxel at time t; of a network that `is_shared`,
        only of the voxels begin … end-1, counted slice by slice."""
        scratch = np.empty(self._scratch, np.int64)
        if isinstance(network, cpu.Network) and network.packed is not None:
            fronts.predict(
                t, begin, end, self._grid, self._room, self.known, self._error, self._fitted, self.limit,
                self._neighbours, self._arrays, self._observed, network.packed, network.weights.bias, self._told,
                scratch,
            )  # fmt: skip
            return
        fronts.look_at(
            t, self._grid, self._room, self.known, self._error, self._fitted, self.limit, self._neighbours,
            self._arrays, self._observed, scratch,
        )  # fmt: skip
        for lo, hi in self._ranges(t):
            offset, octaves = network.step(self._state, lo, hi)
            self._state.offset[lo:hi], self._state.octaves[lo:hi] = offset, octaves
        fronts.conclude(t, self._grid, self._room, self.known, self.limit, self._arrays, self._observed, self._told)

    def _ranges(self, t: int) -> list[tuple[int, int]]:
        """The rows of the grid that have a voxel at time t, first and past the last of every slice."""
        height = self.shape[1]
        found = [(z * height, fronts.rows_at(t, z, self._grid)) for z in range(self.shape[0])]
        return [(first + a, first + b) for first, (a, b) in found if a < b]

    def perceive(self, network: Network, t: int, lo: int, voxel: np.ndarray, quiet: int | None) -> None:
        """Take in the voxels int32 [v] of that front, which begins with the row of number lo and which `predict` has
        just been asked for; let the network learn from all that have not the grey level `quiet`."""
        arguments = (
            t, lo, self._grid, self._room, voxel, -1 if quiet is None else quiet, self.known, self._error
        )  # fmt: skip
        if isinstance(network, cpu.Network):
            w = network.weights
            fronts.perceive_and_learn(*arguments, self._arrays, w.unseen, w.slopes, network.metric, w.head_limit)
            return
        self._room.error[:] = learning.NOTHING  # of the rows that have no voxel now
        fronts.perceive(*arguments)
        network.learn(self._state, 0, self.mean.size, self._room.error, self._room.classes)

    def places(self, t: int, lo: int, hi: int) -> np.ndarray:
        """Where the voxels of rows lo … hi-1 at time t lie in the padded slab: int64 [hi - lo]."""
        return self._rows.base[lo:hi] + t

    def voxels(self) -> np.ndarray:
        """The grey levels [Z, Y, X], a view."""
        return unpadded(self.known, self.shape)
