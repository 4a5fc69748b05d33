"""The Triton kernels of a front: `predict` before its voxels are known, `perceive` and `learn` afterwards.

A program of `predict` and `perceive` computes BLOCK rows of one slab, a program of `learn` one slab. All numbers are
integers, defined by the stages (`linear.py`, `peak.py`, `lstm/learning.py`); inputs and gates are those of
`torchops/kernels.py`. What a row writes, only that row reads in the same launch, so the order of programs does not
matter. Sums across programs are atomic additions of integers, whose order does not matter either.

Triton's division of integers rounds towards zero and its shift to the right rounds down.
"""

# No annotations from the future: Triton reads them.
import triton
import triton.language as tl

from ...constants import CLASSES, FRACTION_BITS, RADIUS
from ...stages import features, linear, peak, symbols
from ...stages.lstm import learning
from ...stages.lstm import state as states
from ...torchops import kernels as parts
from ...torchops import lanes
from . import plan

BLOCK = 64  # rows of a program
UNITS = 32  # hidden units at a time: their four gates fit into registers
ROWS = 16  # of a metric
# Builds for sm_90 spill no register with eight warps; with four some are spilled where rows pass on state.
OPTIONS = {"num_warps": 8, "num_stages": 2, "enable_fp_fusion": False}  # there is nothing to fuse


_LANES = tl.constexpr(lanes.LANES)
_CHUNK = tl.constexpr(plan.CHUNK)
_PLANE, _ROW, _WIDTH = tl.constexpr(plan.PLANE), tl.constexpr(plan.ROW), tl.constexpr(plan.WIDTH)
_LIMIT, _CANDIDATE, _EXCLUDED = tl.constexpr(plan.LIMIT), tl.constexpr(plan.CANDIDATE), tl.constexpr(plan.EXCLUDED)
_FIELDS = tl.constexpr(plan.FIELDS)
_TIME, _LOW, _HIGH, _PLACE = (tl.constexpr(column) for column in (plan.TIME, plan.LOW, plan.HIGH, plan.PLACE))
_BASE, _ACTIVITY, _PEAK = (tl.constexpr(role) for role in (lanes.BASE, lanes.ACTIVITY, lanes.PEAK))

_LEVELS = tl.constexpr(len(features.LEVELS))
_REST = tl.constexpr(len(features.LEVELS) + len(features.RESIDUALS))  # the first input that is no neighbour
_SCALE_INDICES = tl.constexpr(features.SCALE_INDICES)

_MARGIN = tl.constexpr(RADIUS)
_FRACTION_BITS = tl.constexpr(FRACTION_BITS)
_WEIGHT_SHIFT = tl.constexpr(linear.WEIGHT_BITS - FRACTION_BITS)
_WEIGHT_HALF = tl.constexpr(1 << (linear.WEIGHT_BITS - FRACTION_BITS - 1))
_AHEAD = tl.constexpr(states.AHEAD)
_CLASSES, _CLASS_ORIGIN = tl.constexpr(CLASSES), tl.constexpr(symbols.CLASS_ORIGIN)
_STEPS = tl.constexpr(len(peak.STEPS))
_STEP_VALUES = tl.constexpr(tuple(peak.STEPS.tolist()))
_Q0, _Q1, _Q2, _Q3 = (tl.constexpr(quarter) for quarter in peak.QUARTERS.tolist())

_BINS, _FINEST, _ENOUGH = (tl.constexpr(n) for n in (learning.BINS, learning.FINEST, learning.ENOUGH))
_MEAN_BITS, _EXACT_BITS = tl.constexpr(learning.MEAN_BITS), tl.constexpr(learning.EXACT_BITS)
_EXACT_HALF = tl.constexpr(1 << (learning.EXACT_BITS - 1))
_STEP_SHIFT = tl.constexpr(learning.STEP_SHIFT)

# Triton is not to compile a kernel per value of these.
_TALLIES = ["slabs_n", "rows_n", "lanes_n", "sets_n", "classes_n", "span", "head_limit"]


@triton.jit
def _linear(
    known, levels, lane_back, role, at, depth, later, taken, set_at,
    plane, limit, back, flat, weights, bounds, lanes_n, classes_n, s,
):  # fmt: skip
    """Return the prediction int32 [v]. `levels` int32 [v, LANES] are those at LEVELS; others are loaded here."""
    base = (tl.sum(tl.where((role & _BASE) != 0, levels, 0), axis=1) + 2) >> 2
    counts = ((role & _ACTIVITY) != 0)[None, :] & ((lane_back == 0)[None, :] | later[:, None])
    activity = tl.sum(tl.where(counts, tl.abs(levels - base[:, None]), 0), axis=1)
    activity = tl.where(later, activity, activity * 19 // 10)
    chosen = tl.zeros_like(activity)
    for j in range(classes_n - 1):
        chosen += (activity >= tl.load(bounds + set_at * (classes_n - 1) + j, mask=taken, other=0)).to(tl.int32)
    row_of_weights = (set_at * classes_n + chosen) * lanes_n
    # Differences have 17 bits and a sign, weights 15 and a sign, so the sums fit into 64 bits.
    total = tl.zeros_like(at)[:, None] + tl.zeros([1, _CHUNK], tl.int64)
    for first in range(0, lanes_n, _CHUNK):
        lane = first + tl.arange(0, _CHUNK)
        slices = tl.load(back + s * lanes_n + lane)
        offset = tl.load(flat + s * lanes_n + lane)
        used = taken[:, None] & ((slices == 0)[None, :] | later[:, None])
        place = at[:, None] - tl.minimum(slices[None, :], depth[:, None]) * plane + offset[None, :]
        near = tl.where(used, tl.load(known + place, mask=used, other=0).to(tl.int32) - base[:, None], 0)
        weight = tl.load(weights + row_of_weights[:, None] + lane[None, :], mask=taken[:, None], other=0)
        total += near.to(tl.int64) * weight.to(tl.int64)
    rounded = (tl.sum(total, axis=1) + _WEIGHT_HALF) >> _WEIGHT_SHIFT
    value = (base << _FRACTION_BITS).to(tl.int64) + rounded
    return tl.minimum(tl.maximum(value, 0), limit << _FRACTION_BITS).to(tl.int32)


@triton.jit
def _source_slots(sources, start, rows, taken, x, span, rows_n):
    """Return which row of `passed` holds the outputs of the source rows at x: int32 [v], −1 for no source."""
    source = tl.load(sources + rows, mask=taken, other=-1)
    exists = source >= 0
    slot = (tl.load(start + source, mask=exists, other=0) + x) % span
    return tl.where(exists, slot * rows_n + source, -1)


@triton.jit
def _passed_on(passed, sources, start, rows, taken, time, width, span, rows_n, P: tl.constexpr):
    """Return what neighbouring rows pass on to voxels of this time, int8 [v, P]: first those of the row
    above, then those of the slice before."""
    shared: tl.constexpr = P // 2
    x = tl.minimum(time - tl.load(start + rows, mask=taken, other=0) + _AHEAD, width - 1).to(tl.int32)
    above = _source_slots(sources, start, rows, taken, x, span, rows_n)
    before = _source_slots(sources + rows_n, start, rows, taken, x, span, rows_n)
    lane = tl.arange(0, P)[None, :]
    at = tl.where(lane < shared, above[:, None], before[:, None])
    return tl.load(passed + at.to(tl.int64) * shared + lane % shared, mask=at >= 0, other=0)


@triton.jit
def _lstm(
    x, along, rows, taken, before, after, cell, matrix, shift, head,
    H: tl.constexpr, K: tl.constexpr, P: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Compute one step of rows int64 [v] from inputs int8 [v, LANES] and what neighbours pass on, int8 [v, P].

    Hidden outputs are read from `before` and written to `after`, cells in place. Returns the head's two sums int32 [v].
    """
    width: tl.constexpr = _LANES + P + H
    lane = tl.arange(0, _LANES)
    wide = x.to(tl.int32)
    first_sum = tl.sum(wide * tl.load(head + lane)[None, :], axis=1)
    second_sum = tl.sum(wide * tl.load(head + width + lane)[None, :], axis=1)
    if P > 0:
        lane = _LANES + tl.arange(0, P)
        wide = along.to(tl.int32)
        first_sum += tl.sum(wide * tl.load(head + lane)[None, :], axis=1)
        second_sum += tl.sum(wide * tl.load(head + width + lane)[None, :], axis=1)
    for first in range(0, H, UNITS):
        unit = first + tl.arange(0, UNITS)
        i = parts.gate(x, along, before, rows, taken, matrix, unit, H, K, P)
        i = parts.sigmoid((i * 8) >> tl.load(shift + unit)[None, :])
        f = parts.gate(x, along, before, rows, taken, matrix, H + unit, H, K, P)
        f = parts.sigmoid((f * 8) >> tl.load(shift + H + unit)[None, :])
        o = parts.gate(x, along, before, rows, taken, matrix, 2 * H + unit, H, K, P)
        o = parts.sigmoid((o * 8) >> tl.load(shift + 2 * H + unit)[None, :])
        g = parts.gate(x, along, before, rows, taken, matrix, 3 * H + unit, H, K, P)
        g = parts.tanh((g * 8) >> tl.load(shift + 3 * H + unit)[None, :])
        place = rows[:, None] * H + unit[None, :]
        c = tl.load(cell + place, mask=taken[:, None], other=0).to(tl.int32)
        c = parts.next_cell(i, f, g, c)
        tl.store(cell + place, c.to(tl.int16), mask=taken[:, None])
        out = parts.output(o, c)
        tl.store(after + place, out.to(tl.int8), mask=taken[:, None])
        first_sum += tl.sum(out * tl.load(head + _LANES + P + unit)[None, :], axis=1)
        second_sum += tl.sum(out * tl.load(head + width + _LANES + P + unit)[None, :], axis=1)
    return first_sum, second_sum


@triton.jit
def _context(levels, lane_back, role, later, mean, classes, value):
    """Return the contexts int32 [v] of the flags of the peak, 0 in slabs without a candidate."""
    counts = ((role & _PEAK) != 0)[None, :] & ((lane_back == 0)[None, :] | later[:, None])
    same = tl.sum(tl.where(counts & (levels == value), 1, 0), axis=1)
    quarter = classes & 3
    scale = tl.where(quarter < 2, tl.where(quarter == 0, _Q0, _Q1), tl.where(quarter == 2, _Q2, _Q3)).to(tl.int64)
    scale = scale << (classes >> 2).to(tl.int64)
    distance = tl.abs(mean.to(tl.int64) - 16 * value) << 14
    step = tl.zeros_like(same)
    for n in tl.static_range(_STEPS):
        step += (distance >= _STEP_VALUES[n] * scale).to(tl.int32)
    return tl.where(value >= 0, same * (_STEPS + 1) + step, 0)


@triton.jit(do_not_specialize=_TALLIES)
def predict(
    clock, fronts, slabs, base, depth, sets, back, flat, weights, bounds, seen, active, scales, matrix, shift, head,
    bias, known, error, predictions, inputs, start, sources, passed, alongs, hidden, cell, mean, classes, context,
    slabs_n, rows_n, lanes_n, sets_n, classes_n, span, H: tl.constexpr, K: tl.constexpr, P: tl.constexpr,
    BLOCK: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Compute means, classes and contexts of the front that `clock` counts. Grid: (blocks of rows, slabs).

    The arrays are those of `RowGroup`, `Plan` and `DeviceLstm`, except that `matrix` is int8 [4H, N]; P is 2·S.
    """
    s = tl.program_id(1)
    front = tl.load(clock)
    entry = fronts + (front * slabs_n + s) * 4
    low, high = tl.load(entry + _LOW), tl.load(entry + _HIGH)
    row = low + tl.program_id(0) * BLOCK
    if row >= high:
        return
    fields = slabs + s * _FIELDS
    plane, stride = tl.load(fields + _PLANE), tl.load(fields + _ROW)
    limit, value = tl.load(fields + _LIMIT), tl.load(fields + _CANDIDATE)
    rows = row + tl.arange(0, BLOCK)  # int64
    taken = rows < high
    time = tl.load(entry + _TIME)
    at = tl.load(base + rows, mask=taken, other=0) + time
    of_depth = tl.load(depth + rows, mask=taken, other=0)
    later = of_depth > 0

    lane = tl.arange(0, _LANES)
    lane_back, role = tl.load(seen + lane), tl.load(seen + 3 * _LANES + lane)
    lane_flat = tl.load(seen + _LANES + lane) * stride + tl.load(seen + 2 * _LANES + lane)
    used = taken[:, None] & ((lane_back == 0)[None, :] | later[:, None])
    place = at[:, None] - tl.minimum(lane_back[None, :], of_depth[:, None]) * plane + lane_flat[None, :]
    levels = tl.load(known + place, mask=used & (lane < _LEVELS)[None, :], other=0).to(tl.int32)
    errors = tl.load(error + place, mask=used & ((lane >= _LEVELS) & (lane < _REST))[None, :], other=0)

    set_at = s * sets_n + tl.load(sets + rows, mask=taken, other=0)
    prediction = _linear(
        known, levels, lane_back, role, at, of_depth, later, taken, set_at, plane, limit, back, flat, weights, bounds,
        lanes_n, classes_n, s,
    )  # fmt: skip
    near, before = parts.activity(error, active, at, of_depth, later, taken, plane, stride)
    x, k = parts.inputs(levels, errors, prediction, near, before, later, lane_back, scales)
    x = x.to(tl.int8)
    tl.store(predictions + rows, prediction, mask=taken)
    tl.store(inputs + rows[:, None] * _LANES + lane[None, :], x, mask=taken[:, None])

    along = x  # unused where rows pass on nothing
    if P > 0:
        width = tl.load(fields + _WIDTH)
        along = _passed_on(passed, sources, start, rows, taken, time, width, span, rows_n, P)
        tl.store(alongs + rows[:, None] * P + tl.arange(0, P)[None, :], along, mask=taken[:, None])

    half = (front & 1).to(tl.int64) * rows_n * H
    other_half = (1 - (front & 1)).to(tl.int64) * rows_n * H
    first_sum, second_sum = _lstm(
        x, along, rows, taken, hidden + half, hidden + other_half, cell, matrix, shift, head + s * 2 * (_LANES + P + H),
        H, K, P, UNITS,
    )  # fmt: skip
    offset = parts.clip((first_sum + tl.load(bias)) >> 5, 8192)
    octaves = (second_sum + tl.load(bias + 1)) >> 11
    moved = (offset.to(tl.int64) * tl.load(scales + k) + (1 << 13)) >> 14
    of_mean = tl.minimum(tl.maximum(prediction + moved, 0), limit << _FRACTION_BITS).to(tl.int32)
    of_class = tl.minimum(tl.maximum((k + octaves + _CLASS_ORIGIN) >> 2, 0), _CLASSES - 1)
    to = tl.load(entry + _PLACE) + rows - low
    tl.store(mean + to, of_mean, mask=taken)
    tl.store(classes + to, of_class.to(tl.uint8), mask=taken)
    found = _context(levels, lane_back, role, later, of_mean, of_class, value)
    tl.store(context + to, found.to(tl.uint8), mask=taken)


@triton.jit
def _collect(seen, place, taken, first, second, to, width: tl.constexpr):
    """Add to `slope` [2, width], from `to` on, the slopes [v] times a tile [v, n] of what the head saw."""
    x = tl.load(seen + place, mask=taken[:, None], other=0).to(tl.int32)
    tl.atomic_add(to, tl.sum(first[:, None] * x, axis=0).to(tl.int64), sem="relaxed")
    tl.atomic_add(to + width, tl.sum(second[:, None] * x, axis=0).to(tl.int64), sem="relaxed")


@triton.jit(do_not_specialize=_TALLIES)
def perceive(
    clock, fronts, slabs, base, start, last, known, error, predictions, inputs, alongs, passed, hidden, voxel, mean,
    classes, slopes, reciprocals, slope, count, slabs_n, rows_n, span, H: tl.constexpr, P: tl.constexpr,
    BLOCK: tl.constexpr, UNITS: tl.constexpr, ENCODES: tl.constexpr, LEARNS: tl.constexpr,
):  # fmt: skip
    """Update the state with the voxels of the front that `clock` counts. Grid: (blocks of rows, slabs).

    The voxels are read from `known` where the group ENCODES and else from `voxel`. Residuals and margins are written,
    rows pass on their outputs, and the slopes from which heads learn are added up.
    """
    s = tl.program_id(1)
    front = tl.load(clock)
    entry = fronts + (front * slabs_n + s) * 4
    low, high = tl.load(entry + _LOW), tl.load(entry + _HIGH)
    row = low + tl.program_id(0) * BLOCK
    if row >= high:
        return
    fields = slabs + s * _FIELDS
    rows = row + tl.arange(0, BLOCK)
    taken = rows < high
    time = tl.load(entry + _TIME)
    at = tl.load(base + rows, mask=taken, other=0) + time
    to = tl.load(entry + _PLACE) + rows - low
    if ENCODES:
        stored = tl.load(known + at, mask=taken, other=0)
        tl.store(voxel + to, stored, mask=taken)
    else:
        stored = tl.load(voxel + to, mask=taken, other=0)
        tl.store(known + at, stored, mask=taken)
    value = stored.to(tl.int32)
    e = value * 16 - tl.load(predictions + rows, mask=taken, other=0)
    tl.store(error + at, e, mask=taken)

    x = time - tl.load(start + rows, mask=taken, other=0)
    begins = taken & (x == 0) & (tl.load(last + rows, mask=taken, other=1) == 0)
    ends = taken & (x == tl.load(fields + _WIDTH) - 1)
    next_row = at + tl.load(fields + _ROW) - _MARGIN
    m = tl.arange(0, _MARGIN + 1)[None, :]
    stored, e = stored[:, None], e[:, None]
    tl.store(known + next_row[:, None] + m, stored, mask=begins[:, None] & (m < _MARGIN))
    tl.store(error + next_row[:, None] + m, e, mask=begins[:, None] & (m < _MARGIN))
    tl.store(known + at[:, None] + 1 + m, stored, mask=ends[:, None] & (m < _MARGIN))
    tl.store(error + at[:, None] + 1 + m, e, mask=ends[:, None] & (m < _MARGIN))

    written = hidden + (1 - (front & 1)).to(tl.int64) * rows_n * H
    if P > 0:
        shared: tl.constexpr = P // 2
        unit = tl.arange(0, shared)
        outputs = tl.load(written + rows[:, None] * H + unit[None, :], mask=taken[:, None], other=0)
        to_slot = passed + (time % span) * rows_n * shared
        tl.store(to_slot + rows[:, None] * shared + unit[None, :], outputs, mask=taken[:, None])

    if LEARNS:
        learned = taken & (value != tl.load(fields + _EXCLUDED))
        miss = value * 16 - tl.load(mean + to, mask=taken, other=0)
        of_class = tl.load(classes + to, mask=taken, other=0).to(tl.int32)
        finest = tl.maximum(of_class, _FINEST)
        bins = (tl.abs(miss).to(tl.int64) * tl.load(reciprocals + finest)) >> 24
        bins = tl.minimum(bins, _BINS - 1).to(tl.int32) + of_class * _BINS
        first = tl.load(slopes + bins, mask=learned, other=0).to(tl.int32)
        first = tl.where(miss > 0, -first, first)
        second = tl.load(slopes + _CLASSES * _BINS + bins, mask=learned, other=0).to(tl.int32)
        tl.atomic_add(count + s, tl.sum(learned.to(tl.int64), axis=0), sem="relaxed")
        width: tl.constexpr = _LANES + P + H
        mine = slope + s * 2 * width
        lane = tl.arange(0, _LANES)
        _collect(inputs, rows[:, None] * _LANES + lane[None, :], learned, first, second, mine + lane, width)
        if P > 0:
            along = tl.arange(0, P)
            place = rows[:, None] * P + along[None, :]
            _collect(alongs, place, learned, first, second, mine + _LANES + along, width)
        for begin in tl.static_range(0, H, UNITS):
            unit = begin + tl.arange(0, UNITS)
            place = rows[:, None] * H + unit[None, :]
            _collect(written, place, learned, first, second, mine + _LANES + P + unit, width)


@triton.jit(do_not_specialize=_TALLIES)
def learn(
    clock, metric, slope, count, exact, head, head_limit, N: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr,
    LEARNS: tl.constexpr,
):  # fmt: skip
    """End the front: advance the clock and update the heads of slabs with enough voxels. Grid: (slabs,).

    metric int16 [N, N]; PADDED is the power of two ≥ N; ROWS rows of the metric are multiplied at a time.
    """
    s = tl.program_id(0)
    if s == 0:
        tl.store(clock, tl.load(clock) + 1)
    if LEARNS:
        voxels = tl.load(count + s)
        if voxels >= _ENOUGH:
            j = tl.arange(0, PADDED)
            limit = head_limit.to(tl.int64) << _EXACT_BITS
            for k in tl.static_range(2):
                mine = (s * 2 + k) * N
                doubled = tl.load(slope + mine + j, mask=j < N, other=0) << _MEAN_BITS
                mean = doubled // voxels
                mean = tl.where(mean * voxels > doubled, mean - 1, mean)  # rounded down
                for begin in range(0, N, ROWS):
                    i = begin + tl.arange(0, ROWS)
                    inside = (i < N)[:, None] & (j < N)[None, :]
                    part = tl.load(metric + i[:, None] * N + j[None, :], mask=inside, other=0).to(tl.int64)
                    total = tl.sum(part * mean[None, :], axis=1)
                    moved = tl.load(exact + mine + i, mask=i < N, other=0) - (total >> _STEP_SHIFT)
                    moved = parts.clip(moved, limit)
                    tl.store(exact + mine + i, moved, mask=i < N)
                    rounded = (moved + _EXACT_HALF) >> _EXACT_BITS
                    tl.store(head + mine + i, rounded.to(tl.int32), mask=i < N)
            tl.debug_barrier()  # all threads have read both before one resets them to 0
            tl.store(slope + s * 2 * N + j, tl.zeros_like(j).to(tl.int64), mask=j < N)
            tl.store(slope + (s * 2 + 1) * N + j, tl.zeros_like(j).to(tl.int64), mask=j < N)
            tl.store(count + s, 0)
