"""The loops over the voxels of a front: the stages before the network, the network, the stages after it, and learning.

A front has one voxel of each of its rows. Voxels are coded in the order in which rows start, an order in which slices
alternate. The loops go slice by slice and row by row instead, because neighbouring rows read almost the same memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...constants import CLASSES, DEPTHS, RADIUS
from ...dtypes import Int32s, Int64s, UInt8s
from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from ...stages import features, linear_inputs, peak, symbols
from ...stages.grid import PaddedSlab, RowScratch, SliceRows
from ...stages.linear_inputs import look
from ...stages.lstm import learning, vector
from ...stages.lstm.state import AHEAD, StateArrays


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
    rank: Int32s
    group: UInt8s


class Outputs(NamedTuple):
    """The outputs of `RowSlab.predict` for every row [r], in the order of coding.

    mean int32, classes uint8
    context uint8           of the flags of the candidate, if there is one
    """

    mean: Int32s
    classes: UInt8s
    context: UInt8s
    candidate: peak.Candidate


class SlabArrays(NamedTuple):
    """A slab while it is coded: its geometry, its padded voxels, and scratch for its rows."""

    grid: Grid
    padded: PaddedSlab
    scratch: RowScratch


class Stages(NamedTuple):
    """The stages around the network: what those before it read, and what those after it write."""

    before: linear_inputs.Fixed
    outputs: Outputs


@entry
def rows_at(t: int, z: int, grid: Grid) -> tuple[int, int]:
    """Return the range [first, past) of rows y of slice z that have a voxel at time t."""
    since = t - z * grid.next_slice
    if since < 0:
        return 0, 0
    first = larger(since - grid.width + grid.next_row, 0) // grid.next_row
    return smaller(first, grid.height), smaller(since // grid.next_row + 1, grid.height)


@part
def _rows(t: int, z: int, first: int, past: int, grid: Grid) -> SliceRows:
    """Return the rows first … past-1 of slice z at time t."""
    step = grid.line - grid.next_row
    at = grid.origin + z * (grid.plane - grid.next_slice) + first * step + t
    begin = z * grid.height
    return SliceRows(begin + first, begin + past, at, step, smaller(z, DEPTHS - 1), grid.group[z])


@part
def _read_passed(t: int, z: int, lo: int, hi: int, grid: Grid, state: StateArrays) -> None:
    """Copy the hidden outputs that neighbouring rows have passed on into the inputs of rows lo … hi-1 of slice z.

    First come those of the row above, then those of the same row in the slice before, both from AHEAD voxels further
    right or from the end of the row. They follow the observed inputs.
    """
    passed, inputs = state.passed, state.words
    times, _, words = passed.shape
    at = state.observed // 8
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
def _pass_on(t: int, lo: int, hi: int, state: StateArrays) -> None:
    """Store the hidden outputs that rows lo … hi-1 pass on, which are the first ones, in words of eight."""
    passed, inputs = state.passed, state.words
    times, _, words = passed.shape
    hidden = state.observed // 8 + 2 * words
    slot = t % times
    for v in range(lo, hi):
        for j in range(words):
            passed[slot, v, j] = inputs[v, hidden + j]


@part
def _mean_and_class(lo: int, hi: int, scratch: RowScratch, state: StateArrays, limit: int) -> None:
    """Write means and classes of rows lo … hi-1 to `scratch`, from the linear stage and from the network."""
    for v in range(lo, hi):
        k = scratch.scale[v]
        m = scratch.prediction[v] + ((np.int64(state.offset[v]) * features.SCALES[np.uint64(k)] + (1 << 13)) >> 14)
        scratch.mean[v] = smaller(larger(m, 0), limit << 4)
        c = (k + state.octaves[v] + symbols.CLASS_ORIGIN) >> 2
        scratch.classes[v] = smaller(larger(c, 0), CLASSES - 1)


@part
def _write_outputs(rows: SliceRows, slab: SlabArrays, outputs: Outputs) -> None:
    """Write the outputs for rows of a slice in the order of coding."""
    rank, scratch, candidate = slab.grid.rank, slab.scratch, outputs.candidate
    for v in range(rows.lo, rows.hi):
        r, mean, c = rank[v], scratch.mean[v], np.int64(scratch.classes[v])
        outputs.mean[r] = mean
        outputs.classes[r] = c
        if candidate.value >= 0:
            place = rows.at + (v - rows.lo) * rows.step
            outputs.context[r] = peak.context(slab.padded.known, place, rows.depth, candidate, mean, c)


@entry
def look_at(t: int, slab: SlabArrays, stages: Stages, state: StateArrays, scratch: Int64s) -> None:
    """Run the stages before the network for a front: linear stage, features, and what neighbouring rows passed on."""
    grid = slab.grid
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        if first < past:
            rows = _rows(t, z, first, past, grid)
            look(rows, slab.padded, stages.before, slab.scratch, state.inputs, scratch)
            if state.passed.shape[2]:
                _read_passed(t, z, rows.lo, rows.hi, grid, state)


@entry
def conclude(t: int, slab: SlabArrays, stages: Stages, state: StateArrays) -> None:
    """Run the stages after the network for a front: means, classes and contexts."""
    grid = slab.grid
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        rows = _rows(t, z, first, past, grid)
        if state.passed.shape[2]:
            _pass_on(t, rows.lo, rows.hi, state)
        _mean_and_class(rows.lo, rows.hi, slab.scratch, state, stages.before.fitted.limit)
        _write_outputs(rows, slab, stages.outputs)


@entry
def predict(
    t: int, part: tuple[int, int], slab: SlabArrays, stages: Stages, state: StateArrays, packed: vector.Packed,
    scratch: Int64s,
) -> None:  # fmt: skip
    """Run all of `RowSlab.predict`, with the network in vector instructions, for part of a front: from the first of the
    two numbers of voxels to the one before the second, counted slice by slice."""
    grid, (begin, end) = slab.grid, part
    seen = 0
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        before, seen = seen, seen + past - first
        first, past = first + larger(begin - before, 0), past - larger(seen - end, 0)
        if first < past:
            rows = _rows(t, z, first, past, grid)
            look(rows, slab.padded, stages.before, slab.scratch, state.inputs, scratch)
            if state.passed.shape[2]:
                _read_passed(t, z, rows.lo, rows.hi, grid, state)
            vector.step(rows.lo, rows.hi, packed, state, scratch)
            if state.passed.shape[2]:
                _pass_on(t, rows.lo, rows.hi, state)
            _mean_and_class(rows.lo, rows.hi, slab.scratch, state, stages.before.fitted.limit)
            _write_outputs(rows, slab, stages.outputs)


@entry
def perceive(t: int, front: int, slab: SlabArrays, voxel: Int32s, excluded: int) -> None:
    """Run `RowSlab.perceive` without learning: write the voxels int32 [v] of a front, their errors relative to mean and
    prediction, and the margins at the ends of rows (`neighbourhoods.borders`). `front` is the number of its first row
    in the order of coding."""
    grid, (known, error), scratch = slab
    for z in range(grid.depth):
        first, past = rows_at(t, z, grid)
        at = grid.origin + z * (grid.plane - grid.next_slice) + first * (grid.line - grid.next_row) + t
        x = t - z * grid.next_slice - first * grid.next_row
        for y in range(first, past):
            v = z * grid.height + y
            value = voxel[grid.rank[v] - front]
            e = (value << 4) - scratch.prediction[v]
            known[at] = value
            error[at] = e
            scratch.error[v] = (value << 4) - scratch.mean[v] if value != excluded else learning.NOTHING
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
    t: int, front: int, slab: SlabArrays, voxel: Int32s, excluded: int, state: StateArrays, rule: learning.Rule
) -> None:
    """Run all of `RowSlab.perceive`, learning included, for the `cpu` backend."""
    perceive(t, front, slab, voxel, excluded)
    if rule.metric.shape[0]:
        grid, scratch = slab.grid, slab.scratch
        for z in range(grid.depth):
            first, past = rows_at(t, z, grid)
            lo, hi = z * grid.height + first, z * grid.height + past
            learning.collect(lo, hi, state.inputs, scratch.error, scratch.classes, rule, state.head)
        learning.step(rule, state.head)
