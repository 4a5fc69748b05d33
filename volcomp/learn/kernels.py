"""Triton kernels for training: both passes of the LSTM, and its inputs.

A pass is one launch. Blocks are independent, so a program computes all steps of its few blocks alone. What one of its
threads writes, another reads a step later, after a barrier. No program reads what another has written, and sums are in
a fixed order.
"""

# No annotations from the future: Triton reads them.
import triton
import triton.language as tl

from ..constants import FRACTION_BITS, RADIUS
from ..stages import features
from ..stages.lstm import state as states
from ..torchops import kernels as parts
from ..torchops import lanes

# Of the passes: one stage, since pipelining would move loads before the stores of the step before.
OPTIONS = {"num_warps": 8, "num_stages": 1, "enable_fp_fusion": True}
OBSERVING = {"num_warps": 8, "enable_fp_fusion": False}  # of `observe`, where there is nothing to fuse
BLOCK = 64  # voxels of a program of `observe`
UNIT_ELEMENTS = 2048  # of a tile of rows and units: its four gates fit into registers
PLACES = 4  # columns of a block's place: slab, slice, row, voxel

_LANES = tl.constexpr(lanes.LANES)
_LEVELS = tl.constexpr(len(features.LEVELS))
_REST = tl.constexpr(len(features.LEVELS) + len(features.RESIDUALS))
_MARGIN = tl.constexpr(RADIUS)
_ONE = tl.constexpr(1 << FRACTION_BITS)
_AHEAD = tl.constexpr(states.AHEAD)
_TALLIES = ["voxels", "depth", "height", "blocks"]  # Triton is not to compile a kernel per value


@triton.jit
def _rows(depth, height, blocks, PER: tl.constexpr, ROWS: tl.constexpr):
    """Return the rows of a program's blocks, [ROWS] each: slice and row in the block int32, place among all rows, and
    whether the row exists."""
    lane = tl.arange(0, ROWS)
    place = lane // PER
    block = tl.program_id(0) * PER + lane % PER
    taken = (place < depth * height) & (block < blocks)
    return place // height, place % height, place * blocks + block, taken


@triton.jit
def _pre(accumulator, shift):
    """Return a pre-activation in 1/1024, clipped to ±8."""
    return parts.clip((accumulator * 8) >> shift, 8192)


@triton.jit(do_not_specialize=_TALLIES)
def forward(
    inputs, matrix, shift, passed, hidden, cells, z, voxels, depth, height, blocks, H: tl.constexpr, P: tl.constexpr,
    K: tl.constexpr, PER: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Run forwards over PER blocks. Arrays are those of `device.PassArrays`, and `matrix` int8 [4H, N]; P is
    2·shared."""
    slice_, y, row, taken = _rows(depth, height, blocks, PER, ROWS)
    rows_n = (depth * height * blocks).to(tl.int64)
    shared: tl.constexpr = P // 2
    lag: tl.constexpr = _AHEAD + 1 if P > 0 else 0
    begin = lag * (slice_ + y)
    lane = tl.arange(0, _LANES)[None, :]
    for t in range(voxels + lag * (depth + height - 2)):
        v = t - begin
        active = taken & (v >= 0) & (v < voxels)
        at = v.to(tl.int64) * rows_n + row
        x = tl.load(inputs + at[:, None] * _LANES + lane, mask=active[:, None], other=0)
        along = x  # unused where rows pass on nothing
        if P > 0:
            column = tl.arange(0, P)[None, :]
            above = column < shared
            source = tl.where(above, (row - blocks)[:, None], (row - height * blocks)[:, None])
            exists = active[:, None] & tl.where(above, (y > 0)[:, None], (slice_ > 0)[:, None])
            when = tl.minimum(v + lag, voxels).to(tl.int64) * rows_n
            along = tl.load(hidden + (when[:, None] + source) * H + column % shared, mask=exists, other=0)
            tl.store(passed + at[:, None] * P + column, along, mask=active[:, None])
        for first in range(0, H, UNITS):
            unit = first + tl.arange(0, UNITS)
            to = at[:, None] * (4 * H) + unit[None, :]
            i = parts.gate(x, along, hidden, at, active, matrix, unit, H, K, P)
            i = _pre(i, tl.load(shift + unit)[None, :])
            tl.store(z + to, i.to(tl.int16), mask=active[:, None])
            f = parts.gate(x, along, hidden, at, active, matrix, H + unit, H, K, P)
            f = _pre(f, tl.load(shift + H + unit)[None, :])
            tl.store(z + to + H, f.to(tl.int16), mask=active[:, None])
            o = parts.gate(x, along, hidden, at, active, matrix, 2 * H + unit, H, K, P)
            o = _pre(o, tl.load(shift + 2 * H + unit)[None, :])
            tl.store(z + to + 2 * H, o.to(tl.int16), mask=active[:, None])
            g = parts.gate(x, along, hidden, at, active, matrix, 3 * H + unit, H, K, P)
            g = _pre(g, tl.load(shift + 3 * H + unit)[None, :])
            tl.store(z + to + 3 * H, g.to(tl.int16), mask=active[:, None])
            now = at[:, None] * H + unit[None, :]
            c = tl.load(cells + now, mask=active[:, None], other=0).to(tl.int32)
            c = parts.next_cell(parts.sigmoid(i), parts.sigmoid(f), parts.tanh(g), c)
            tl.store(cells + now + rows_n * H, c.to(tl.int16), mask=active[:, None])
            out = parts.output(parts.sigmoid(o), c)
            tl.store(hidden + now + rows_n * H, out.to(tl.int8), mask=active[:, None])
        tl.debug_barrier()


@triton.jit
def _sigmoid(z):
    z = parts.clip(z, 4.0)
    return 0.5 + z * 0.25 - z * tl.abs(z) * 0.03125


@triton.jit
def _sigmoid_slope(z):
    return tl.maximum(0.25 - tl.abs(z) * 0.0625, 0.0)


@triton.jit
def _tanh(z):
    z = parts.clip(z, 2.0)
    return z - z * tl.abs(z) * 0.25


@triton.jit
def _tanh_slope(z):
    return tl.maximum(1.0 - tl.abs(z) * 0.5, 0.0)


@triton.jit
def _passed_gradient(d_passed, row, exists, v, voxels, rows_n, lane, used, P: tl.constexpr):
    """Return the gradient float32 [ROWS, UNITS] of the outputs at v that were passed on to `row`, lanes `lane` of
    `d_passed`. The outputs at the last voxel were passed on to several voxels."""
    total = tl.zeros([row.shape[0], lane.shape[0]], tl.float32)
    for k in tl.static_range(_AHEAD + 1):
        when = v - _AHEAD + k
        here = exists & (when >= 0) & ((v == voxels - 1) if k > 0 else exists)
        at = when.to(tl.int64) * rows_n + row
        total += tl.load(d_passed + at[:, None] * P + lane[None, :], mask=here[:, None] & used[None, :], other=0.0)
    return total


@triton.jit(do_not_specialize=_TALLIES)
def backward(
    z, cells, d_seen, recurrent, dz, d_hidden, d_cell, d_passed, voxels, depth, height, blocks, H: tl.constexpr,
    P: tl.constexpr, PER: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, COLUMNS: tl.constexpr,
    K: tl.constexpr,
):  # fmt: skip
    """Run backwards over PER blocks. Arrays are those of `device.PassArrays`, and

    recurrent [4H, P + H]                 the real weights of all but the inputs, transposed, rounded to bfloat16; the
                                          products are of its type
    dz bfloat16 [T, R·B, 4H]              out
    d_hidden, d_cell float32 [R·B, H]     zeros at first; the gradients of outputs and cells from the voxel after
    d_passed float32 [T, R·B, P]          the gradient of the outputs passed on
    """
    slice_, y, row, taken = _rows(depth, height, blocks, PER, ROWS)
    rows_n = (depth * height * blocks).to(tl.int64)
    shared: tl.constexpr = P // 2
    width: tl.constexpr = P + H
    lag: tl.constexpr = _AHEAD + 1 if P > 0 else 0
    begin = lag * (slice_ + y)
    steps = voxels + lag * (depth + height - 2)
    for back in range(steps):
        v = steps - 1 - back - begin
        active = taken & (v >= 0) & (v < voxels)
        at = v.to(tl.int64) * rows_n + row
        for first in range(0, H, UNITS):
            unit = first + tl.arange(0, UNITS)
            own = row[:, None] * H + unit[None, :]
            mask = active[:, None]
            dh = tl.load(d_seen + at[:, None] * width + P + unit[None, :], mask=mask, other=0.0)
            dh += tl.load(d_hidden + own, mask=mask, other=0.0)
            if P > 0:
                used = unit < shared
                below, behind = active & (y + 1 < height), active & (slice_ + 1 < depth)
                dh += _passed_gradient(d_passed, row + blocks, below, v, voxels, rows_n, unit, used, P)
                dh += _passed_gradient(
                    d_passed, row + height * blocks, behind, v, voxels, rows_n, shared + unit, used, P
                )
            of_z = at[:, None] * (4 * H) + unit[None, :]
            zi = tl.load(z + of_z, mask=mask, other=0).to(tl.float32) * (1 / 1024)
            zf = tl.load(z + of_z + H, mask=mask, other=0).to(tl.float32) * (1 / 1024)
            zo = tl.load(z + of_z + 2 * H, mask=mask, other=0).to(tl.float32) * (1 / 1024)
            zg = tl.load(z + of_z + 3 * H, mask=mask, other=0).to(tl.float32) * (1 / 1024)
            now = at[:, None] * H + unit[None, :]
            c = tl.load(cells + now, mask=mask, other=0).to(tl.float32) * (1 / 4096)
            new = tl.load(cells + now + rows_n * H, mask=mask, other=0).to(tl.float32) * (1 / 4096)
            dc = tl.load(d_cell + own, mask=mask, other=0.0) + dh * _sigmoid(zo) * _tanh_slope(new)
            tl.store(dz + of_z, (dc * _tanh(zg) * _sigmoid_slope(zi)).to(tl.bfloat16), mask=mask)
            tl.store(dz + of_z + H, (dc * c * _sigmoid_slope(zf)).to(tl.bfloat16), mask=mask)
            tl.store(dz + of_z + 2 * H, (dh * _tanh(new) * _sigmoid_slope(zo)).to(tl.bfloat16), mask=mask)
            tl.store(dz + of_z + 3 * H, (dc * _sigmoid(zi) * _tanh_slope(zg)).to(tl.bfloat16), mask=mask)
            tl.store(d_cell + own, dc * _sigmoid(zf), mask=mask)
        tl.debug_barrier()
        for first in range(0, width, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            total = tl.zeros([ROWS, COLUMNS], tl.float32)
            for k in range(0, 4 * H, K):
                n = k + tl.arange(0, K)
                part = tl.load(dz + at[:, None] * (4 * H) + n[None, :], mask=active[:, None], other=0.0)
                weight = tl.load(recurrent + n[:, None] * width + column[None, :])
                total = tl.dot(part.to(weight.dtype), weight, total, input_precision="ieee")
            of_own = active[:, None] & (column >= P)[None, :]
            tl.store(d_hidden + row[:, None] * H + (column - P)[None, :], total, mask=of_own)
            if P > 0:
                passed_on = active[:, None] & (column < P)[None, :]
                of_head = tl.load(d_seen + at[:, None] * width + column[None, :], mask=passed_on, other=0.0)
                tl.store(d_passed + at[:, None] * P + column[None, :], total + of_head, mask=passed_on)
        tl.debug_barrier()


@triton.jit(do_not_specialize=_TALLIES)
def observe(
    known, residual, slabs, places, seen, active, scales, inputs, error, scale, voxels, depth, height, blocks,
    PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Make the inputs int8 [T, Z, Y, B, LANES] of blocks that begin at `places` int64 [B, PLACES].

    Errors float32 and scale indices int32 are [T, Z, Y, B]; `slabs` is that of `blocks.Slabs`. Grid: (blocks, parts of
    their voxels).
    """
    block = tl.program_id(0)
    place = places + block * PLACES
    slab = slabs + tl.load(place) * 4
    plane, stride, width = tl.load(slab + 1), tl.load(slab + 2), tl.load(slab + 3)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rows = depth * height
    taken = n < voxels * rows
    row = n % rows
    z = tl.load(place + 1) + row // height
    y = tl.load(place + 2) + row % height
    x = tl.load(place + 3) + tl.minimum(n // rows, width - 1)
    at = tl.load(slab) + z * plane + (y + _MARGIN) * stride + x + _MARGIN
    later = z > 0
    lane = tl.arange(0, _LANES)
    back = tl.load(seen + lane)
    flat = tl.load(seen + _LANES + lane) * stride + tl.load(seen + 2 * _LANES + lane)
    used = taken[:, None] & ((back == 0)[None, :] | later[:, None])
    near = at[:, None] - tl.minimum(back[None, :], z[:, None]) * plane + flat[None, :]
    levels = tl.load(known + near, mask=used & (lane < _LEVELS)[None, :], other=0).to(tl.int32)
    errors = tl.load(residual + near, mask=used & ((lane >= _LEVELS) & (lane < _REST))[None, :], other=0)
    own = tl.load(residual + at, mask=taken, other=0)
    prediction = tl.load(known + at, mask=taken, other=0).to(tl.int32) * _ONE - own
    in_slice, before = parts.activity(residual, active, at, z, later, taken, plane, stride)
    found, k = parts.inputs(levels, errors, prediction, in_slice, before, later, back, scales)
    to = n.to(tl.int64) * blocks + block
    tl.store(inputs + to[:, None] * _LANES + lane[None, :], found.to(tl.int8), mask=taken[:, None])
    tl.store(error + to, own.to(tl.float32) / _ONE, mask=taken)
    tl.store(scale + to, k, mask=taken)
