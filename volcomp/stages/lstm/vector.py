"""One step of the LSTM in vector instructions: matrix product, gates and head in one pass, with all sums in registers.

A *tile* is a few rows by some units. The sums of its four gates stay in registers while the product runs over the
inputs, and are turned into cells and hidden outputs in registers as well. Inputs are bytes; one instruction multiplies
four of them (`vectors.dot`). Where an instruction set needs unsigned bytes, 128 is added to the inputs, and sums begin
at a value that corrects for 128 times the sums of the weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...dtypes import Int32s, Int64s
from ...runtime import vectors
from ...runtime.compiled import entry
from ...runtime.products import ROWS, Tiles, sums_of, tiles
from ...runtime.scalars import larger, smaller
from ...runtime.vectors import I8, I16, I32, I64, Lanes, load, store
from .cell import CELL_LIMIT, OUTPUT_LIMIT
from .state import StateArrays
from .weights import LstmWeights

ROWS_AT_A_TIME = 32  # their inputs fit into the first-level cache beside the weights of some units
HEAD_LANES = 16


class Packed(NamedTuple):
    """A model in the layout of tiles, for U units at a time (`vectors.units`).

    tiles                  `products.Tiles`, in which four vectors of sums are the gates of U units
    shift int32 [h/U, 4, U]
    bias int32 [2]         of the head
    """

    tiles: Tiles
    shift: Int32s
    bias: Int32s


def fits(weights: LstmWeights) -> bool:
    """Return whether the kernels can run a model on this processor."""
    return vectors.instructions() != vectors.NONE and weights.weights.shape[0] % 8 == 0 and weights.hidden % 16 == 0


def pack(weights: LstmWeights) -> Packed:
    """Arrange weights for `step`."""
    order = np.arange(4 * weights.hidden).reshape(4, -1, vectors.units()).transpose(1, 0, 2)  # [h/U, 4, U]
    shift = np.ascontiguousarray(weights.shift[order], np.int32)
    return Packed(tiles(weights.weights, order), shift, weights.bias)


def _sigmoid(z: Lanes) -> Lanes:
    z = z.within(-4096, 4096)
    return (z * (8192 - abs(z)) + ((16384 << 10) + 1023)) >> 10


def _tanh(z: Lanes) -> Lanes:
    z = z.within(-2048, 2048)
    return (z * (4096 - abs(z)) + 127) >> 7


def _cell(z: list[Lanes], before: Lanes) -> tuple[Lanes, Lanes]:
    """Compute the next cell and the hidden output of some units; see `cell.step`."""
    i, f, o, g = _sigmoid(z[0]), _sigmoid(z[1]), _sigmoid(z[2]), _tanh(z[3])
    c = ((f * before + ((i * g) >> 3) + 16384) >> 15).within(-CELL_LIMIT, CELL_LIMIT)
    return c, ((o * _tanh(c >> 2) + (1 << 22)) >> 23).at_most(OUTPUT_LIMIT)


class _Places(NamedTuple):
    """Where the bytes of the first of several rows lie.

    x             address of its inputs; the rows' inputs lie `size` bytes apart, as many as there are
    cell          address of its cells; those of the next row are `cell_stride` bytes away
    hidden        address of its hidden outputs, where the rows lie `size` bytes apart as well
    """

    x: Any
    size: Any
    cell: Any
    cell_stride: Any
    hidden: Any


class _Units(NamedTuple):
    """Addresses of the weights of some units, of the initial values of their sums, and of their shifts."""

    weights: Any
    begin: Any
    shift: Any


def _tile(rows: int, units: int) -> Any:
    """Build the kernel of `rows` rows by `units` units, with the arguments of `advance` below."""

    @vectors.kernel(2, places=_Places, own=_Units)
    def advance(b: Any, places: _Places, own: _Units) -> None:
        """Advance rows: compute their cells and hidden outputs."""
        size = 4 * units  # bytes of a vector of sums
        sums = sums_of(b, rows, units, places.x, places.size, own.weights, own.begin)
        for r in range(rows):
            z = []
            for k in range(4):
                z.append((Lanes(b, b.load(sums[r][k])) << 3) >> load(b, own.shift, k * size, I32, units))
            at_cell, at_hidden = (b.mul(stride, ir.Constant(I64, r)) for stride in (places.cell_stride, places.size))
            c, h = _cell(z, load(b, places.cell, at_cell, I16, units).widened())
            store(b, c.narrowed(I16), places.cell, at_cell)
            store(b, h.narrowed(I8), places.hidden, at_hidden)

    return advance


_advance_tall, _advance_one = _tile(ROWS, vectors.units()), _tile(1, vectors.units())


@vectors.kernel(4, types.uint64)
def _weigh(b: Any, x: Any, first: Any, second: Any, count: Any) -> Any:
    """Return two sums of `count` products, of the same int8 with two arrays int16; the second in the high 32 bits.

    `count` is HEAD_LANES or more. The last piece may overlap the one before; shared products count once.
    """
    kind = ir.VectorType(I32, HEAD_LANES // 2)
    totals = [cgutils.alloca_once(b, kind) for _ in range(2)]
    for total in totals:
        b.store(ir.Constant(kind, [0] * kind.count), total)
    lanes, size = vectors.constant(b, I16, range(HEAD_LANES)), ir.Constant(I64, HEAD_LANES)
    pieces = b.sdiv(b.add(count, ir.Constant(I64, HEAD_LANES - 1)), size)
    last = b.sub(count, size)
    with cgutils.for_range(b, pieces, intp=I64) as loop:
        at = b.mul(loop.index, size)
        begin = b.select(b.icmp_signed("<", at, last), at, last)
        seen = vectors.spread(b, b.trunc(b.sub(at, begin), I16), HEAD_LANES)
        inputs = load(b, x, begin, I8, HEAD_LANES).widened(I16) * lanes.reaches(seen)
        for total, head in zip(totals, (first, second), strict=True):
            own = load(b, head, b.mul(begin, ir.Constant(I64, 2)), I16, HEAD_LANES)
            b.store((Lanes(b, b.load(total)) + vectors.add_pairs(inputs, own)).value, total)
    low, high = (b.zext(Lanes(b, b.load(total)).total(), I64) for total in totals)
    return b.or_(low, b.shl(high, ir.Constant(I64, 32)))


@entry
def step(lo: int, hi: int, packed: Packed, state: StateArrays, scratch: Int64s) -> None:
    """Advance rows lo … hi-1; see `reference.ReferenceLstm.step`.

    scratch int64, `scratch_for` the inputs or more
    """
    words, inputs, cell, head = state.words, state.inputs, state.cell, state.head.weights
    offset, octaves, bias = state.offset, state.octaves, packed.bias
    size, h, n = inputs.shape[1], cell.shape[1], head.shape[1]
    units = packed.tiles.begin.shape[2]
    vector = 4 * units  # bytes of a vector of sums
    # numba makes floats of sums of int64 with addresses, which are unsigned.
    x, all_inputs, cells = np.int64(scratch.ctypes.data), np.int64(inputs.ctypes.data), np.int64(cell.ctypes.data)
    weights, begins = np.int64(packed.tiles.weights.ctypes.data), np.int64(packed.tiles.begin.ctypes.data)
    shifts, first = np.int64(packed.shift.ctypes.data), np.int64(head.ctypes.data)
    for a in range(lo, hi, ROWS_AT_A_TIME):
        rows = smaller(ROWS_AT_A_TIME, hi - a)
        eights = words.shape[1]
        for v in range(rows):
            for j in range(eights):
                scratch[v * eights + j] = words[a + v, j] ^ packed.tiles.flip
        for g in range(h // units):
            own = _Units(weights + g * size * vector, begins + 4 * g * vector, shifts + 4 * g * vector)
            to_cell, to_hidden = cells + 2 * (a * h + g * units), all_inputs + a * size + size - h + g * units
            tall = rows - rows % ROWS
            for v in range(0, tall, ROWS):
                places = _Places(x + v * size, size, to_cell + 2 * v * h, 2 * h, to_hidden + v * size)
                _advance_tall(places, own)
            for v in range(tall, rows):
                places = _Places(x + v * size, size, to_cell + 2 * v * h, 2 * h, to_hidden + v * size)
                _advance_one(places, own)
        for v in range(a, a + rows):
            sums = _weigh(all_inputs + (v + 1) * size - n, first, first + 2 * n, n)
            low, high = np.int32(sums & np.uint64(0xFFFFFFFF)), np.int32(sums >> np.uint64(32))
            offset[v] = smaller(larger((low + bias[0]) >> 5, -8192), 8192)
            octaves[v] = (high + bias[1]) >> 11


def scratch_for(size: int) -> int:
    """Return how many int64 of scratch `step` needs for `size` inputs."""
    return ROWS_AT_A_TIME * size // 8
