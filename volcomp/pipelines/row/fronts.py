"""The loops over the voxels of a front: the stages before the network, the network, the stages after it, and learning.

A front has one voxel of each of its rows. Voxels are coded in the order in which rows start, an order in which slices
alternate. The loops go slice by slice and row by row instead, because neighbouring rows read almost the same memory.
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
    """The rows of a slab in the order of the loops, slice by slice [Z·Y]: the number of a row is z · height + y.

    depth, height, width
    next_row, next_slice   `Layout.lags`
    origin, plane, line    position of the first voxel in the padded slab, and strides from slice to slice, row to row
    rank int32 [Z·Y]       the number of each row in the order of coding
    group uint8 [Z]        the group of weight sets of each slice
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


class Outputs(NamedTuple):
    """The outputs of `Slab.predict` for every row [r], in the order of coding.

    mean int32, classes uint8
    context uint8                 of the flags of the peak
    candidate                     the grey level that may be a peak, or −1
    neighbours int64 [DEPTHS, n]  where the neighbours lie that a context is computed from, relative to a voxel
    """

    mean: np.ndarray
    classes: np.ndarray
    context: np.ndarray
    candidate: int
    neighbours: np.ndarray


@entry
def rows_at(t: int, z: int, grid: Grid) -> tuple[int, int]:
    """Return the range [first, past) of rows y of slice z that have a voxel at time t."""
    since = t - z * grid.next_slice
    if since < 0:
        return 0, 0
    first = larger(since - grid.width + grid.next_row, 0) // grid.next_row
    return smaller(first, grid.height), smaller(since // grid.next_row + 1, grid.height)


@part
def _read_passed(
    t: int, z: int, lo: int, hi: int, grid: Grid, passed: np.ndarray, inputs: np.ndarray, observed: int
) -> None:
    """Copy the hidden outputs that neighbouring rows have passed on into the inputs of rows lo … hi-1 of slice z.

    First come those of the row above, then those of the same row in the slice before, both from AHEAD voxels further
    right or from the end of the row. Both arrays hold words of eight (`State`); `observed` inputs come before.
    """
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
    """Store the hidden outputs that rows lo … hi-1 pass on, which are the first ones, in words of eight."""
    times, _, words = passed.shape
    hidden = observed // 8 + 2 * words
    slot = t % times
    for v in range(lo, hi):
        for j in range(words):
            passed[slot, v, j] = inputs[v, hidden + j]


@part
def _mean_and_class(lo: int, hi: int, rows: RowScratch, offset: np.ndarray, octaves: np.ndarray, limit: int) -> None:
    """Write means and classes of rows lo … hi-1 to `rows`, from the linear stage and from the network. `offset` and
    `octaves`, the outputs of the network, are indexed by row, as in `rows`."""
    for v in range(lo, hi):
        k = rows.scale[v]
        m = rows.prediction[v] + ((np.int64(offset[v]) * features.SCALES[np.uint64(k)] + (1 << 13)) >> 14)
        rows.mean[v] = smaller(larger(m, 0), limit << 4)
        c = (k + octaves[v] + symbols.CLASS_ORIGIN) >> 2
        rows.classes[v] = smaller(larger(c, 0), CLASSES - 1)


@part
def _write_outputs(
    lo: int, hi: int, at: int, depth: int, grid: Grid, rows: RowScratch, known: np.ndarray, outputs: Outputs
) -> None:
    """Write the outputs for rows lo … hi-1 of a slice in the order of coding. The voxel of row lo lies at `at`."""
    has_candidate = outputs.candidate >= 0
    near = outputs.neighbours[depth]
    for v in range(lo, hi):
        r, mean, c = grid.rank[v], rows.mean[v], np.int64(rows.classes[v])
        outputs.mean[r] = mean
        outputs.classes[r] = c
        if has_candidate:
            place = at + (v - lo) * (grid.line - grid.next_row)
            outputs.context[r] = peak.context(known, place, near, depth, outputs.candidate, mean, c)


@entry
def look_at(
    t: int, grid: Grid, rows: RowScratch, known: np.ndarray, error: np.ndarray, stage: linear.Fitted, limit: int,
    around: Neighbours | NarrowNeighbours, state: Arrays, observed: int, scratch: np.ndarray,
) -> None:  # fmt: skip
    """Run the stages before the network for a front: linear stage, features, and what neighbouring rows passed on."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        if first < past:
            lo, hi = z * grid.height + first, z * grid.height + past
            at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
            depth, group = smaller(z, DEPTHS - 1), grid.group[z]
            step = grid.line - grid.next_row
            look(lo, hi, at, step, depth, group, rows, known, error, stage, limit, around, state.inputs, scratch)
            if state.passed.shape[2]:
                _read_passed(t, z, lo, hi, grid, state.passed, state.words, observed)


@entry
def conclude(
    t: int, grid: Grid, rows: RowScratch, known: np.ndarray, limit: int, state: Arrays, observed: int, outputs: Outputs
) -> None:
    """Run the stages after the network for a front: means, classes and contexts."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        lo, hi = z * grid.height + first, z * grid.height + past
        if state.passed.shape[2]:
            _pass_on(t, lo, hi, state.passed, state.words, observed)
        _mean_and_class(lo, hi, rows, state.offset, state.octaves, limit)
        at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
        _write_outputs(lo, hi, at, smaller(z, DEPTHS - 1), grid, rows, known, outputs)


@entry
def predict(
    t: int, begin: int, end: int, grid: Grid, rows: RowScratch, known: np.ndarray, error: np.ndarray,
    stage: linear.Fitted, limit: int, around: Neighbours | NarrowNeighbours, state: Arrays, observed: int,
    packed: vector.Packed, bias: np.ndarray, outputs: Outputs, scratch: np.ndarray,
) -> None:  # fmt: skip
    """Run all of `Slab.predict`, with the network in vector instructions, for the voxels begin … end-1 of a front,
    counted slice by slice."""
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
            look(lo, hi, at, step, depth, group, rows, known, error, stage, limit, around, state.inputs, scratch)
            if state.passed.shape[2]:
                _read_passed(t, z, lo, hi, grid, state.passed, state.words, observed)
            vector.step(
                lo, hi, packed, state.words, state.inputs, state.cell, state.head, bias, state.offset, state.octaves,
                scratch,
            )  # fmt: skip
            if state.passed.shape[2]:
                _pass_on(t, lo, hi, state.passed, state.words, observed)
            _mean_and_class(lo, hi, rows, state.offset, state.octaves, limit)
            _write_outputs(lo, hi, at, depth, grid, rows, known, outputs)


@entry
def perceive(
    t: int,
    front: int,
    grid: Grid,
    rows: RowScratch,
    voxel: np.ndarray,
    excluded: int,
    known: np.ndarray,
    error: np.ndarray,
) -> None:
    """Run `Slab.perceive` without learning: write the voxels int32 [v] of a front, their errors relative to mean and
    prediction, and the margins at the ends of rows (`neighbourhoods.borders`). `front` is the number of its first row
    in the order of coding."""
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
        x = t - z * grid.next_slice - first * grid.next_row
        for y in range(first, past):
            v = z * grid.height + y
            value = voxel[grid.rank[v] - front]
            e = (value << 4) - rows.prediction[v]
            known[at] = value
            error[at] = e
            rows.error[v] = (value << 4) - rows.mean[v] if value != excluded else learning.NOTHING
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
def perceive_and_learn(
    t: int, front: int, grid: Grid, rows: RowScratch, voxel: np.ndarray, excluded: int, known: np.ndarray,
    error: np.ndarray, state: Arrays, unseen: int, slopes: np.ndarray, metric: np.ndarray, head_limit: int,
) -> None:  # fmt: skip
    """Run all of `Slab.perceive`, learning included, for the `cpu` backend."""
    perceive(t, front, grid, rows, voxel, excluded, known, error)
    if metric.shape[0]:
        for z in range(grid.depth):
            first, past = rows_at(t, z, grid)
            lo, hi = z * grid.height + first, z * grid.height + past
            learning.collect(
                state.inputs, lo, hi, unseen, rows.error, rows.classes, slopes, state.slope, state.collected,
                state.sums,
            )  # fmt: skip
        learning.step(metric, head_limit, state.exact, state.head, state.slope, state.collected, state.mean)
