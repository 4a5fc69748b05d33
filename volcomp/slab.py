"""One slab on its way through the pipeline: its padded voxels, its rows in the order in which they start, its fronts.

Encoder and decoder walk over the same fronts (`walk.py`) with the same two calls (after cmix's Predict and Perceive):
`predict` says where the mean of every voxel of a front lies and how sure that is, `perceive` takes the voxels in.
Nothing else is shared between them, and nothing else can differ.

Threads work on different slabs, and must not wait for each other: the loops hold no lock of Python's interpreter, and
what is between them is a few calls per front on arrays that are there from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from neighbourhoods import Schedule, pad

from . import features, linear, residual, spike
from .lstm import learning
from .lstm.state import AHEAD, State
from .lstm.weights import FEATURES, Weights
from .padded import DEPTHS, flat

RADIUS = linear.RADIUS


class Network(Protocol):
    """What a backend does; `lstm.reference.Network` says what it means."""

    def step(self, state: State, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]: ...

    def learn(self, state: State, lo: int, hi: int, missed: np.ndarray, classes: np.ndarray) -> None: ...


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
    rows
    fronts          (time, first, past the last row) of every front that has voxels
    span            times from the start of a row to that of the row in the next slice, at most, and one more
    """

    shape: tuple[int, int, int]
    size: int
    strides: tuple[int, int]
    rows: Rows
    fronts: list[tuple[int, int, int]]
    span: int


class _Room(NamedTuple):
    """What is between the stages, for the voxel of each row at the time that is being coded.

    place int64        where it lies in the padded slab
    prediction int32   of the linear stage
    scale int32        its index
    missed int32       the voxel minus its mean, in sixteenths of a grey level; NOTHING for the quiet grey level
    """

    place: np.ndarray
    prediction: np.ndarray
    scale: np.ndarray
    missed: np.ndarray


@njit(nogil=True, cache=True)
def _look(
    t: int, lo: int, hi: int, rows: Rows, room: _Room, known: np.ndarray, error: np.ndarray, fitted: linear.Fitted,
    limit: int, neighbours: features.Neighbours, inputs: np.ndarray,
) -> None:  # fmt: skip
    """All that comes before the network, for rows lo … hi-1: into their `room` and their inputs int8 [r, …]."""
    place, prediction = room.place[lo:hi], room.prediction[lo:hi]
    place[:] = rows.base[lo:hi] + t
    linear.predict(known, place, rows.depth[lo:hi], rows.group[lo:hi], fitted, limit, prediction)
    features.observe(known, error, place, rows.depth[lo:hi], neighbours, prediction, room.scale[lo:hi], inputs[lo:hi])


@njit(nogil=True, cache=True)
def _take_along(t: int, lo: int, hi: int, rows: Rows, width: int, passed: np.ndarray, inputs: np.ndarray) -> None:
    """What neighbouring rows have passed on into the inputs of rows lo … hi-1: first from the row above, then from the
    slice before; AHEAD voxels further right, or at their end. Both arrays in words of eight (`State`)."""
    times, _, words = passed.shape
    for k, sources in enumerate((rows.above, rows.before)):
        at = FEATURES // 8 + k * words
        time, slot = np.int64(-1), np.int64(0)  # of the row before: the same in all but those that are at their end
        for v in range(lo, hi):
            source = sources[v]
            if source >= 0:
                wanted = rows.start[source] + min(t - rows.start[v] + AHEAD, width - 1)
                if wanted != time:
                    time, slot = wanted, wanted % times
                for j in range(words):
                    inputs[v, at + j] = passed[slot, source, j]


@njit(nogil=True, cache=True)
def _pass_on(t: int, lo: int, hi: int, passed: np.ndarray, inputs: np.ndarray) -> None:
    """What rows lo … hi-1 pass on, the first of their hidden outputs; in words of eight as well."""
    times, _, words = passed.shape
    hidden = FEATURES // 8 + 2 * words
    for v in range(lo, hi):
        for j in range(words):
            passed[t % times, v, j] = inputs[v, hidden + j]


@njit(nogil=True, cache=True)
def _mean_and_class(
    lo: int, hi: int, room: _Room, offset: np.ndarray, octaves: np.ndarray, limit: int, mean: np.ndarray,
    classes: np.ndarray,
) -> None:  # fmt: skip
    """Means int32 [r] in sixteenths of a grey level and classes uint8 [r] of rows lo … hi-1, from both stages; the
    network's offset and octaves are of these rows alone."""
    for v in range(lo, hi):
        k = room.scale[v]
        m = room.prediction[v] + ((np.int64(offset[v - lo]) * features.SCALES[k] + (1 << 13)) >> 14)
        mean[v] = min(max(m, 0), limit << 4)
        c = (k + octaves[v - lo] + residual.CLASS_ORIGIN) >> 2
        classes[v] = min(max(c, 0), residual.CLASSES - 1)


@njit(nogil=True, cache=True)
def _perceive(
    t: int, lo: int, hi: int, rows: Rows, room: _Room, voxel: np.ndarray, mean: np.ndarray, quiet: int,
    width: int, row_stride: int, known: np.ndarray, error: np.ndarray,
) -> None:  # fmt: skip
    """Write voxels int32 [hi - lo], how far they lie from their means, their residuals, and the margins that begin or
    end with them (`neighbourhoods.borders`)."""
    for v in range(lo, hi):
        at, value = room.place[v], voxel[v - lo]
        e = (value << 4) - room.prediction[v]
        known[at] = value
        error[at] = e
        room.missed[v] = (value << 4) - mean[v] if value != quiet else learning.NOTHING
        x = t - rows.start[v]
        if x == 0 and not rows.last[v]:
            for m in range(at + row_stride - RADIUS, at + row_stride):
                known[m] = value
                error[m] = e
        if x == width - 1:
            for m in range(at + 1, at + 1 + RADIUS):
                known[m] = value
                error[m] = e


def geometry(shape: tuple[int, int, int]) -> tuple[int, int, tuple[int, int]]:
    """Elements of the padded slab, where its first voxel lies, and its strides (slice, row)."""
    row = shape[2] + 2 * RADIUS
    plane = (shape[1] + 2 * RADIUS) * row
    return shape[0] * plane, RADIUS * row + RADIUS, (plane, row)


def unpadded(known: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The grey levels [Z, Y, X] of a padded slab that is stored flat, a view."""
    z, y, x = shape
    within = known.reshape(z, y + 2 * RADIUS, x + 2 * RADIUS)
    return within[:, RADIUS : RADIUS + y, RADIUS : RADIUS + x]


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
    return Layout(shape, size, strides, ordered, fronts, schedule.c + 1)


def level_type(limit: int) -> type[np.signedinteger]:
    """What a padded slab's grey levels 0 … limit are stored as: half of it stays longer in caches."""
    return np.int16 if limit < 1 << 15 else np.int32


def padded(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Levels [Z, Y, X] within their margins, flat; where they lie in that, int32 [Z, Y·X]; the strides."""
    _, origin, (plane, row) = geometry(levels.shape)
    z, y, x = (np.arange(size, dtype=np.int32) for size in levels.shape)
    index = (z[:, None, None] * plane + y[:, None] * row + (x + origin)).reshape(levels.shape[0], -1)
    return pad(levels, 0, RADIUS).reshape(-1), index, (plane, row)


class Slab:
    """One slab [Z, Y, X] of mapped grey levels 0 … limit while it is coded.

    known [n]          the padded slab, flat: the grey levels that have been coded
    mean int32 [r]     what `predict` said last of each row: in sixteenths of a grey level,
    classes uint8 [r]  and how sure it was
    """

    def __init__(self, layout: Layout, limit: int, fitted: linear.Weights, model: Weights) -> None:
        self.shape, self.limit = layout.shape, limit
        self.strides, self._rows = layout.strides, layout.rows
        self.known = np.zeros(layout.size, level_type(limit))
        self._error = np.zeros(layout.size, np.int32)
        self._fitted = linear.ready(fitted, self.strides, limit)
        self._neighbours = features.neighbours(self.strides)
        self._spike = flat(spike.NEIGHBOURS, self.strides)
        count = len(self._rows.start)
        self._room = _Room(*(np.empty(count, kind) for kind in (np.int64, np.int32, np.int32, np.int32)))
        self.mean, self.classes = np.empty(count, np.int32), np.empty(count, np.uint8)
        self._state = State(model, count, layout.span)

    def predict(self, network: Network, t: int, lo: int, hi: int) -> None:
        """Fill `mean` and `classes` of rows lo … hi-1 for their voxels of time t. May run on several threads at once
        for different rows."""
        _look(
            t, lo, hi, self._rows, self._room, self.known, self._error, self._fitted, self.limit, self._neighbours,
            self._state.inputs,
        )  # fmt: skip
        state = self._state
        if state.passed.size:
            _take_along(t, lo, hi, self._rows, self.shape[2], state.passed, state.words)
        offset, octaves = network.step(state, lo, hi)
        if state.passed.size:
            _pass_on(t, lo, hi, state.passed, state.words)
        _mean_and_class(lo, hi, self._room, offset, octaves, self.limit, self.mean, self.classes)

    def contexts(self, t: int, lo: int, hi: int, value: int) -> np.ndarray:
        """The spike's contexts uint8 [hi - lo] of that front, which `predict` has just been asked for."""
        context = np.empty(hi - lo, np.uint8)
        spike.contexts(
            self.known, self.places(t, lo, hi), self._rows.depth[lo:hi], self._spike, value, self.mean[lo:hi],
            self.classes[lo:hi], context,
        )  # fmt: skip
        return context

    def perceive(self, network: Network, t: int, lo: int, hi: int, voxel: np.ndarray, quiet: int | None) -> None:
        """Take in the voxels int32 [hi - lo] of that front, which `predict` has just been asked for, and let the
        network learn from all that have not the grey level `quiet`."""
        _perceive(
            t, lo, hi, self._rows, self._room, voxel, self.mean, -1 if quiet is None else quiet, self.shape[2],
            self.strides[1], self.known, self._error,
        )  # fmt: skip
        network.learn(self._state, lo, hi, self._room.missed, self.classes)

    def places(self, t: int, lo: int, hi: int) -> np.ndarray:
        """Where the voxels of rows lo … hi-1 at time t lie in the padded slab: int64 [hi - lo]."""
        return self._rows.base[lo:hi] + t

    def voxels(self) -> np.ndarray:
        """The grey levels [Z, Y, X], a view."""
        return unpadded(self.known, self.shape)


class Team:
    """Shares the rows of a front between threads, where a volume has fewer slabs than the machine has threads."""

    def __init__(self, executor: Executor | None, members: int) -> None:
        self._executor, self._members = executor, members

    def share(self, work: Callable[[int, int], None], count: int) -> None:
        """Have work(lo, hi) done for all of 0 … count, a part by every member; for heavy work on few things."""
        members = self._members if self._executor is not None and count >= 64 else 1
        cuts = [count * k // members for k in range(members + 1)]
        others = [self._executor.submit(work, a, b) for a, b in pairwise(cuts[1:])] if self._executor else []
        work(cuts[0], cuts[1])
        for other in others:
            other.result()

    def predict(self, slab: Slab, network: Network, t: int, lo: int, hi: int) -> None:
        """`Slab.predict`, with a part of the rows for every member."""
        if self._executor is None or hi - lo < 512:
            slab.predict(network, t, lo, hi)
            return
        cuts = [lo + (hi - lo) * k // self._members for k in range(self._members + 1)]
        others = [self._executor.submit(slab.predict, network, t, a, b) for a, b in pairwise(cuts[1:])]
        slab.predict(network, t, cuts[0], cuts[1])
        for other in others:
            other.result()
