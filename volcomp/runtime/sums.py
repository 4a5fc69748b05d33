"""Sums of products of rows of integers with each other. They are exact, so the order of addition does not matter.

Most values are small, and vector units multiply and add them as pairs of 16-bit numbers. A column with a larger value
is processed separately as a whole, in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ..dtypes import Float64s, Int16s, Int32s, Int64s
from . import vectors
from .compiled import REORDERED, entry, part
from .scalars import larger, smaller
from .vectors import I16, I32, I64, Lanes, load, store

PRODUCT_LIMIT = 1 << 17  # of a value that is multiplied: sums of 2^15 products are below 2^53, and float64 holds them
BLOCK = 512  # columns at a time: 190 rows of 512 float64 stay in the second-level cache
TILE = 4  # rows by rows at a time, whose sums stay in registers
SMALL = 5792  # a lane of eight sums 64 products of a block's, which stay below 2^31 where no value is larger

_ACROSS = 4 if vectors.units() == 16 else 2  # columns of a tile whose sums fit the registers
_LANES = 2 * vectors.units()  # int16 at a time


class SumScratch(NamedTuple):
    """Scratch arrays of `add_all`, for n rows; n is a multiple of TILE.

    rows int32 [n, BLOCK]      values of the current columns
    short int16 [n, BLOCK]     columns of small values that are not yet summed
    real float64 [n, BLOCK]    columns with larger values that are not yet summed
    line int16 [BLOCK]         the voxels of a row that are used
    factor int32 [BLOCK]       importance of the current columns
    largest int32 [BLOCK]      their largest absolute value
    kept, left int32 [BLOCK]   numbers of the columns of small values, and of the others
    """

    rows: Int32s
    short: Int16s
    real: Float64s
    line: Int16s
    factor: Int32s
    largest: Int32s
    kept: Int32s
    left: Int32s

    @classmethod
    def of(cls, n: int) -> SumScratch:
        """Allocate for n rows. Rows that are never written stay 0."""
        rows, short, real = (np.zeros((n, BLOCK), kind) for kind in (np.int32, np.int16, np.float64))
        factor, largest, kept, left = (np.empty(BLOCK, np.int32) for _ in range(4))
        return cls(rows, short, real, np.empty(BLOCK, np.int16), factor, largest, kept, left)


@part(fastmath=REORDERED)
def _add_products(rows: np.ndarray, size: int, total: np.ndarray) -> None:
    """Add the products of rows [n, BLOCK] with each other, over their first `size` columns, to `total` [n, n], on and
    below its diagonal of tiles. n is a multiple of TILE."""
    zero = rows.dtype.type(0)
    for i in range(0, rows.shape[0], TILE):
        a, b, c, d = rows[i, :size], rows[i + 1, :size], rows[i + 2, :size], rows[i + 3, :size]
        for j in range(0, i + TILE, TILE):
            e, f, g, h = rows[j, :size], rows[j + 1, :size], rows[j + 2, :size], rows[j + 3, :size]
            ae = af = ag = ah = be = bf = bg = bh = ce = cf = cg = ch = de = df = dg = dh = zero
            for v in range(size):
                ae, af, ag, ah = ae + a[v] * e[v], af + a[v] * f[v], ag + a[v] * g[v], ah + a[v] * h[v]
                be, bf, bg, bh = be + b[v] * e[v], bf + b[v] * f[v], bg + b[v] * g[v], bh + b[v] * h[v]
                ce, cf, cg, ch = ce + c[v] * e[v], cf + c[v] * f[v], cg + c[v] * g[v], ch + c[v] * h[v]
                de, df, dg, dh = de + d[v] * e[v], df + d[v] * f[v], dg + d[v] * g[v], dh + d[v] * h[v]
            for k, sums in enumerate(((ae, af, ag, ah), (be, bf, bg, bh), (ce, cf, cg, ch), (de, df, dg, dh))):
                for m in range(TILE):
                    total[i + k, j + m] += sums[m]


def _totals(parts: list[Lanes]) -> Lanes:
    """Sum the lanes of each part, into one lane per part. There are a power of two parts, at most as many as lanes."""
    width = 1
    while len(parts) > 1:
        lanes = np.arange(2 * parts[0].count).reshape(2, -1, 2, width)  # part, group, half of it, lane
        first, second = (lanes[:, :, half].transpose(1, 0, 2).ravel().tolist() for half in (0, 1))
        parts = [x.picked(first, y) + x.picked(second, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        width *= 2
    (total,) = parts
    while total.count > width:
        half = total.count // 2
        total = total.picked(range(half)) + total.picked(range(half, 2 * half))
    return total


@vectors.kernel(6)
def _tile(b: Any, first: Any, second: Any, stride: Any, size: Any, out: Any, across: Any) -> None:
    """Add the sums of products of TILE rows int16 with _ACROSS others, over `size` columns, to int64 [TILE, _ACROSS].
    `size` is a multiple of _LANES and at most BLOCK. Rows are `stride` bytes apart, rows of sums `across` bytes."""
    short = ir.VectorType(I32, _LANES // 2)
    sums = [cgutils.alloca_once(b, short) for _ in range(TILE * _ACROSS)]
    for place in sums:
        b.store(ir.Constant(short, [0] * short.count), place)

    def rows(address: Any, count: int, at: Any) -> list[Lanes]:
        return [load(b, address, b.add(at, b.mul(stride, ir.Constant(I64, k))), I16, _LANES) for k in range(count)]

    with cgutils.for_range(b, b.sdiv(size, ir.Constant(I64, _LANES)), intp=I64) as loop:
        at = b.mul(loop.index, ir.Constant(I64, 2 * _LANES))
        columns = rows(second, _ACROSS, at)
        for i, x in enumerate(rows(first, TILE, at)):
            for place, y in zip(sums[i * _ACROSS :], columns, strict=False):
                b.store((Lanes(b, b.load(place)) + vectors.add_pairs(x, y)).value, place)
    low, high = range(short.count // 2), range(short.count // 2, short.count)
    for i in range(TILE):
        parts = [Lanes(b, b.load(place)) for place in sums[i * _ACROSS : (i + 1) * _ACROSS]]
        total = _totals([x.picked(low).widened(I64) + x.picked(high).widened(I64) for x in parts])
        at = b.mul(across, ir.Constant(I64, i))
        store(b, load(b, out, at, I64, _ACROSS) + total, out, at)


@part
def _add_small_products(short: np.ndarray, size: int, total: np.ndarray) -> None:
    """Do `_add_products` for int16 within ±SMALL, to int64 [n, n]. Overwrites columns beyond the first `size`."""
    whole = -(-size // _LANES) * _LANES
    for i in range(short.shape[0]):
        short[i, size:whole] = 0
    begin, stride = np.int64(short.ctypes.data), 2 * BLOCK
    out, across = np.int64(total.ctypes.data), 8 * total.shape[1]
    for i in range(0, short.shape[0], TILE):
        for j in range(0, i + TILE, _ACROSS):
            _tile(begin + i * stride, begin + j * stride, stride, whole, out + i * across + 8 * j, across)


@part
def _thinned(line: np.ndarray, thinning: int, count: int, out: np.ndarray) -> None:
    """Copy every `thinning`th value."""
    if thinning == 4:  # the case of most rounds; a constant step allows vector instructions
        for v in range(count):
            out[v] = line[np.uint64(4 * v)]
        return
    for v in range(count):
        out[v] = line[np.uint64(v * thinning)]


@part
def _weighted(
    line: np.ndarray, factor: np.ndarray, count: int, row: np.ndarray, short: np.ndarray, largest: np.ndarray
) -> None:
    """Write the values of a row times their factors to both kinds of rows, and update the largest of each column."""
    for v in range(count):
        value = smaller(
            larger(np.int32(np.int32(line[v]) * factor[v]), np.int32(-PRODUCT_LIMIT)), np.int32(PRODUCT_LIMIT)
        )
        row[v] = value
        short[v] = value
        largest[v] = larger(largest[v], abs(value))


@part
def _sort_out(scratch: SumScratch, n: int, count: int, filled: int, far: int) -> tuple[int, int]:
    """Of the `count` columns after the first `filled` in `short`, move those with large values to `real`, after its
    first `far`. Returns the new numbers of columns in each."""
    keep, leave = 0, 0
    for v in range(count):
        if scratch.largest[v] <= SMALL:
            scratch.kept[keep] = v
            keep += 1
        else:
            scratch.left[leave] = v
            leave += 1
    if leave:
        for i in range(n):
            row, short, real = scratch.rows[i], scratch.short[i, filled:], scratch.real[i, far:]
            for k in range(keep):
                short[k] = row[scratch.kept[k]]
            for k in range(leave):
                real[k] = row[scratch.left[k]]
    return filled + keep, far + leave


@entry
def add_all(
    design: Int16s, importance: Float64s, thinning: int, scratch: SumScratch, small: Int64s, large: Float64s
) -> None:
    """Add the products of every `thinning`th voxel of blocks of rows.

    design int16 [blocks, ≤ n, BLOCK]
    importance float64 [v]             integers, with which voxels are multiplied first
    thinning                           a divisor of BLOCK
    small int64, large float64 [n, n]  out: their sum has the products, on and below the diagonal
    """
    filled, far, n = 0, 0, design.shape[1]
    for b in range(design.shape[0]):
        factors = importance[b * BLOCK : (b + 1) * BLOCK : thinning]
        count = factors.shape[0]
        for v in range(count):
            scratch.factor[v] = factors[v]
            scratch.largest[v] = 0
        for i in range(n):
            line = design[b, i]
            if thinning > 1:
                _thinned(line, thinning, count, scratch.line)
                line = scratch.line
            _weighted(line, scratch.factor, count, scratch.rows[i], scratch.short[i, filled:], scratch.largest)
        filled, far = _sort_out(scratch, n, count, filled, far)
        is_last = b == design.shape[0] - 1
        if filled + BLOCK // thinning > BLOCK or is_last:
            _add_small_products(scratch.short, filled, small)
            filled = 0
        if far + BLOCK // thinning > BLOCK or is_last:
            _add_products(scratch.real, far, large)
            far = 0
