"""Inputs and gates as functions for Triton kernels.

All numbers are integers and equal those of `stages/features.py` and `stages/lstm/cell.py`. Triton's shift to the right
rounds down.
"""

# No annotations from the future: Triton reads them.
import triton
import triton.language as tl

from ..stages import features
from ..stages.lstm import cell as cells
from . import lanes


def depth_of(hidden: int) -> int:
    """Return how many hidden units are summed at a time: the largest power of two, up to 128, that divides them."""
    return min(hidden & -hidden, 128)


_LANES, _ACTIVE_LANES = tl.constexpr(lanes.LANES), tl.constexpr(lanes.ACTIVE_LANES)
_LEVELS = tl.constexpr(len(features.LEVELS))
_LEVELS_IN_SLICE = tl.constexpr(features.LEVELS_IN_SLICE)
_REST = tl.constexpr(len(features.LEVELS) + len(features.RESIDUALS))  # the first input that is not a neighbour
_SCALE_FLOOR = tl.constexpr(features.SCALE_FLOOR)
_SCALE_INDICES = tl.constexpr(features.SCALE_INDICES)
_INPUT_LIMIT = tl.constexpr(features.INPUT_LIMIT)
_CELL_LIMIT, _OUTPUT_LIMIT = tl.constexpr(cells.CELL_LIMIT), tl.constexpr(cells.OUTPUT_LIMIT)


@triton.jit
def clip(value, limit):
    return tl.minimum(tl.maximum(value, -limit), limit)


@triton.jit
def _scale_index(scale):
    """Return the exponent of an int64 and the four bits after its leading one: a float64 begins with both."""
    return ((scale.to(tl.float64).to(tl.int64, bitcast=True) >> 48) - ((1023 + 6) << 4)).to(tl.int32)


@triton.jit
def _squash(units):
    """Convert a difference in 1/1024 of the scale, within ±8192, to an input."""
    return tl.minimum((units - ((units * tl.abs(units)) >> 14) + 16) >> 5, _INPUT_LIMIT)


@triton.jit
def sigmoid(z):
    """Return 1/2 + z/4 − z|z|/32 in 1/32768, from z in 1/1024."""
    z = clip(z, 4096)
    return 16384 + 8 * z - ((z * tl.abs(z)) >> 10)


@triton.jit
def tanh(z):
    """Return z − z|z|/4 in 1/32768, from z in 1/1024."""
    z = clip(z, 2048)
    return 32 * z - ((z * tl.abs(z)) >> 7)


@triton.jit
def activity(error, active, at, depth, later, taken, plane, row):
    """Return weighted sums int64 [v] of nearby residuals: in the slice, and in the one before (0 in a first slice)."""
    lane = tl.arange(0, _ACTIVE_LANES)
    back = tl.load(active + lane)
    flat = tl.load(active + _ACTIVE_LANES + lane) * row + tl.load(active + 2 * _ACTIVE_LANES + lane)
    first = tl.load(active + 3 * _ACTIVE_LANES + lane)
    weight = tl.load(active + 4 * _ACTIVE_LANES + lane)
    used = taken[:, None] & ((back == 0)[None, :] | later[:, None])
    place = at[:, None] - tl.minimum(back[None, :], depth[:, None]) * plane + flat[None, :]
    size = tl.abs(tl.load(error + place, mask=used, other=0)).to(tl.int64)
    size *= tl.where(later[:, None], weight[None, :], first[None, :]).to(tl.int64)
    in_slice = (back == 0)[None, :]
    return tl.sum(tl.where(in_slice, size, 0), axis=1), tl.sum(tl.where(in_slice, 0, size), axis=1)


@triton.jit
def inputs(levels, errors, prediction, near, before, later, lane_back, scales):
    """Return the inputs int32 [v, LANES] and the index of the scale int32 [v]."""
    k = _scale_index(((near + before) >> 8) + _SCALE_FLOOR)
    reciprocal = tl.load(scales + _SCALE_INDICES + k)
    bound = tl.load(scales + 2 * _SCALE_INDICES + k)
    lane = tl.arange(0, _LANES)[None, :]
    d = tl.where(lane < _LEVELS, levels * 16 - prediction[:, None], errors)
    units = (clip(d, bound[:, None]) * reciprocal[:, None]) >> 14
    x = _squash(clip(units, 8192))
    x = tl.where((lane < _REST) & ((lane_back == 0)[None, :] | later[:, None]), x, 0)
    spread = tl.sum(tl.where(lane < _LEVELS_IN_SLICE, tl.abs(d), 0), axis=1).to(tl.int64)
    ratio = _scale_index((near >> 8) + _SCALE_FLOOR) - _scale_index(((before * 15) >> 10) + _SCALE_FLOOR)
    wide = _scale_index(spread * 8 // 5 + _SCALE_FLOOR) - k
    level = tl.minimum((prediction.to(tl.int64) * reciprocal) >> 14, 8192).to(tl.int32)
    x = tl.where(lane == _REST, clip(k - 96, _INPUT_LIMIT)[:, None], x)
    x = tl.where(lane == _REST + 1, (((prediction & 15) - 8) << 3)[:, None], x)
    x = tl.where(lane == _REST + 2, tl.where(later, 64, 0)[:, None], x)
    x = tl.where(lane == _REST + 3, tl.where(later, clip(ratio, _INPUT_LIMIT), 0)[:, None], x)
    x = tl.where(lane == _REST + 4, clip(wide, _INPUT_LIMIT)[:, None], x)
    x = tl.where(lane == _REST + 5, _squash(level)[:, None], x)
    x = tl.where(lane == _REST + 6, 64, x)
    return x, k


@triton.jit
def gate(x, along, hidden, rows, taken, matrix, column, H: tl.constexpr, K: tl.constexpr, P: tl.constexpr):
    """Return the accumulators int32 [v, UNITS] of a gate's units, the columns `column` of the product.

    `matrix` is transposed, so that the terms of a sum are adjacent in memory.
    """
    width: tl.constexpr = _LANES + P + H
    lane = tl.arange(0, _LANES)
    acc = tl.dot(x, tl.load(matrix + column[None, :] * width + lane[:, None]), out_dtype=tl.int32)
    if P > 0:
        lane = _LANES + tl.arange(0, P)
        acc = tl.dot(along, tl.load(matrix + column[None, :] * width + lane[:, None]), acc, out_dtype=tl.int32)
    for first in tl.static_range(0, H, K):
        unit = first + tl.arange(0, K)
        part = tl.load(hidden + rows[:, None] * H + unit[None, :], mask=taken[:, None], other=0)
        of_unit = matrix + column[None, :] * width + _LANES + P + unit[:, None]
        acc = tl.dot(part, tl.load(of_unit), acc, out_dtype=tl.int32)
    return acc


@triton.jit
def next_cell(i, f, g, cell):
    """Return the cell after a voxel, int32, from gates and candidate in 1/32768 and the cell before it."""
    return clip((f * cell + ((i * g) >> 3) + (1 << 14)) >> 15, _CELL_LIMIT)


@triton.jit
def output(o, cell):
    """Return the hidden output after a voxel, int32."""
    return tl.minimum((o * tanh(cell >> 2) + (1 << 22)) >> 23, _OUTPUT_LIMIT)
