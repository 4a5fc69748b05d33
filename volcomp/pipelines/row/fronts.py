"""The loops over a front's voxels: what is before the network, the network, what is after it, and what it learns.

A front has one voxel of each of its rows. They are coded in the order in which rows start, in which slices alternate;
they are worked on slice by slice, row by row, because what a row reads its neighbour has read just before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...constants import CLASSES, DEPTHS, RADIUS
from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from ...stages import features, linear, peak, symbols
from ...stages.linear_inputs import NarrowNeighbours, Neighbours, RowScratch, look
from ...stages.lstm import learning, vector
from ...stages.lstm.state import AHEAD, Arrays


class Grid(NamedTuple):
    """The rows of a slab, slice by slice [Z·Y], as the loops take them: a row's number is z · height + y.

    depth, height, width
    next_row, next_slice   `Layout.lags`
    origin, plane, line    where the first voxel lies in the padded slab, and its strides
    rank int32 [Z·Y]       each row's number in the order of coding
    group uint8 [Z]        which group of weight sets serves a slice
    """

    depth: int
    height: int
    width: int
    next_row: int
    next_slice: int
    origin: int
    plane: int
    line: int
    rank: np.ndarray
    group: np.ndarray


class Told(NamedTuple):
    """What `Slab.predict` tells of every row [r], in the order of coding.

    mean int32, classes uint8
    context uint8            of the spike's flags
    spike                    the grey level that may be a spike, or −1
    neighbours int64 [DEPTHS, n]  of a voxel, which the contexts are made of
    """

    mean: np.ndarray
    classes: np.ndarray
    context: np.ndarray
    spike: int
    neighbours: np.ndarray


@entry
def rows_at(t: int, z: int, grid: Grid) -> tuple[int, int]:
    """The first row of slice z with a voxel at time t, and past the last one."""
    since = t - z * grid.next_slice
    if since < 0:
        return 0, 0
    first = larger(since - grid.width + grid.next_row, 0) // grid.next_row
    return smaller(first, grid.height), smaller(since // grid.next_row + 1, grid.height)


@part
def _take_along(
    t: int, z: int, lo: int, hi: int, grid: Grid, passed: np.ndarray, inputs: np.ndarray, observed: int
) -> None:
    """What neighbouring rows have passed on into the inputs of rows lo … hi-1 of slice z: first from the row above,
    then from the slice before; AHEAD voxels further right, or at their end. Both arrays in words of eight (`State`); so
    many inputs come before."""
    times, _, words = passed.shape
    at = observed // 8
    for k, (lag, rows, has_any) in enumerate(((grid.next_row, 1, True), (grid.next_slice, grid.height, z > 0))):
        usual = t + AHEAD - lag
        slot = np.int64(usual % times)
        x = t - z * grid.next_slice - (lo - z * grid.height) * grid.next_row
        for v in range(lo, hi) if has_any else range(0):
            if k or v > z * grid.height:
                beyond = larger(x + AHEAD - (grid.width - 1), 0)
                source = slot if beyond == 0 else np.int64((usual - beyond) % times)
                for j in range(words):
                    inputs[v, at + k * words + j] = passed[np.uint64(source), np.uint64(v - rows), j]
            x -= grid.next_row


@part
def _pass_on(t: int, lo: int, hi: int, passed: np.ndarray, inputs: np.ndarray, observed: int) -> None:
    """What rows lo … hi-1 pass on, the first of their hidden outputs; in words of eight as well."""
    times, _, words = passed.shape
    hidden = observed // 8 + 2 * words
    slot = t % times
    for v in range(lo, hi):
        for j in range(words):
            passed[slot, v, j] = inputs[v, hidden + j]


@part
def _mean_and_class(lo: int, hi: int, room: RowScratch, offset: np.ndarray, octaves: np.ndarray, limit: int) -> None:
    """Means and classes of rows lo … hi-1 into the room, from both stages; the network's offset and octaves are of all
    rows."""
    for v in range(lo, hi):
        k = room.scale[v]
        m = room.prediction[v] + ((np.int64(offset[v]) * features.SCALES[np.uint64(k)] + (1 << 13)) >> 14)
        room.mean[v] = smaller(larger(m, 0), limit << 4)
        c = (k + octaves[v] + symbols.CLASS_ORIGIN) >> 2
        room.classes[v] = smaller(larger(c, 0), CLASSES - 1)


@part
def _tell(lo: int, hi: int, at: int, depth: int, grid: Grid, room: RowScratch, known: np.ndarray, told: Told) -> None:
    """What is known of rows lo … hi-1 of a slice, whose first voxel lies at `at`, to where it is in the order of
    coding."""
    has_spike = told.spike >= 0
    near = told.neighbours[depth]
    for v in range(lo, hi):
        r, mean, c = grid.rank[v], room.mean[v], np.int64(room.classes[v])
        told.mean[r] = mean
        told.classes[r] = c
        if has_spike:
            place = at + (v - lo) * (grid.line - grid.next_row)
            told.context[r] = peak.context(known, place, near, depth, told.spike, mean, c)


@entry
def look_at(
    t: int, grid: Grid, room: RowScratch, known: np.ndarray, error: np.ndarray, fitted: linear.Fitted, limit: int,
    around: Neighbours | NarrowNeighbours, state: Arrays, observed: int, scratch: np.ndarray,
) -> None:  # fmt: skip
    """All that comes before the network, for a front."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        if first < past:
            lo, hi = z * grid.height + first, z * grid.height + past
            at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
            depth, group = smaller(z, DEPTHS - 1), grid.group[z]
            step = grid.line - grid.next_row
            look(lo, hi, at, step, depth, group, room, known, error, fitted, limit, around, state.inputs, scratch)
            if state.passed.shape[2]:
                _take_along(t, z, lo, hi, grid, state.passed, state.words, observed)


@entry
def conclude(
    t: int, grid: Grid, room: RowScratch, known: np.ndarray, limit: int, state: Arrays, observed: int, told: Told
) -> None:
    """All that comes after the network."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        lo, hi = z * grid.height + first, z * grid.height + past
        if state.passed.shape[2]:
            _pass_on(t, lo, hi, state.passed, state.words, observed)
        _mean_and_class(lo, hi, room, state.offset, state.octaves, limit)
        at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
        _tell(lo, hi, at, smaller(z, DEPTHS - 1), grid, room, known, told)


@entry
def predict(
    t: int, begin: int, end: int, grid: Grid, room: RowScratch, known: np.ndarray, error: np.ndarray, fitted: linear.Fitted,
    limit: int, around: Neighbours | NarrowNeighbours, state: Arrays, observed: int, packed: vector.Packed,
    bias: np.ndarray, told: Told, scratch: np.ndarray,
) -> None:  # fmt: skip
    """All of `Slab.predict` for a network in vector instructions, and the voxels begin … end-1 of a front, slice by
    slice."""
    seen = 0
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        before, seen = seen, seen + past - first
        first, past = first + larger(begin - before, 0), past - larger(seen - end, 0)
        if first < past:
            lo, hi = z * grid.height + first, z * grid.height + past
            at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
            depth, group = smaller(z, DEPTHS - 1), grid.group[z]
            step = grid.line - grid.next_row
            look(lo, hi, at, step, depth, group, room, known, error, fitted, limit, around, state.inputs, scratch)
            if state.passed.shape[2]:
                _take_along(t, z, lo, hi, grid, state.passed, state.words, observed)
            vector.step(
                lo, hi, packed, state.words, state.inputs, state.cell, state.head, bias, state.offset, state.octaves,
                scratch,
            )  # fmt: skip
            if state.passed.shape[2]:
                _pass_on(t, lo, hi, state.passed, state.words, observed)
            _mean_and_class(lo, hi, room, state.offset, state.octaves, limit)
            _tell(lo, hi, at, depth, grid, room, known, told)


@part
def _take_in(
    t: int, front: int, grid: Grid, room: RowScratch, voxel: np.ndarray, quiet: int, known: np.ndarray, error: np.ndarray
) -> None:
    """Write voxels int32 [v] of a front, which begins with the row of number `front`, how far they lie from their
    means, their residuals, and the margins that begin or end with them (`neighbourhoods.borders`)."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
        x = t - z * grid.next_slice - first * grid.next_row
        for y in range(first, past):
            v = z * grid.height + y
            value = voxel[grid.rank[v] - front]
            e = (value << 4) - room.prediction[v]
            known[at] = value
            error[at] = e
            room.error[v] = (value << 4) - room.mean[v] if value != quiet else learning.NOTHING
            if x == 0 and y < grid.height - 1:
                for m in range(at + grid.line - RADIUS, at + grid.line):
                    known[m] = value
                    error[m] = e
            if x == grid.width - 1:
                for m in range(at + 1, at + 1 + RADIUS):
                    known[m] = value
                    error[m] = e
            at += grid.line - grid.next_row
            x -= grid.next_row


@entry
def perceive(
    t: int, front: int, grid: Grid, room: RowScratch, voxel: np.ndarray, quiet: int, known: np.ndarray, error: np.ndarray
) -> None:
    """All of `Slab.perceive` but what the network learns."""
    _take_in(t, front, grid, room, voxel, quiet, known, error)


@entry
def perceive_and_learn(
    t: int, front: int, grid: Grid, room: RowScratch, voxel: np.ndarray, quiet: int, known: np.ndarray, error: np.ndarray,
    state: Arrays, unseen: int, slopes: np.ndarray, metric: np.ndarray, head_limit: int,
) -> None:  # fmt: skip
    """All of `Slab.perceive`, for a network that computes here."""
    _take_in(t, front, grid, room, voxel, quiet, known, error)
    if metric.shape[0]:
        for z in range(grid.depth):
            first, past = rows_at(t, z, grid)
            lo, hi = z * grid.height + first, z * grid.height + past
            learning.collect(
                state.inputs, lo, hi, unseen, room.error, room.classes, slopes, state.slope, state.collected,
                state.sums,
            )  # fmt: skip
        learning.step(metric, head_limit, state.exact, state.head, state.slope, state.collected, state.mean)
