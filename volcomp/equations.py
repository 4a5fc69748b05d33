"""The sums that the encoder's fit of stage 1 is solved from (`least_squares.py`): what takes long, and decides nothing.

All of it is integers that float64 holds exactly, so that whoever adds them up, in whatever order, gets the same bits:
loops here, or a GPU (`gpu/equations.py`). What is no sum of integers is a few operations that IEEE 754 rounds in one
way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from . import vectors
from .compiled import REORDERED, entry, part
from .linear import WEIGHT_BITS
from .scalars import larger, smaller
from .supports import ACTIVITY_BEFORE, ACTIVITY_IN_SLICE, BASE
from .vectors import I16, I32, I64, Lanes, load

UNIT = 1 << WEIGHT_BITS  # of weights, and so of errors
# So that sums of 2^16 weighted products stay below 2^53, and float64 holds them exactly.
DIFFERENCE_LIMIT = 1 << 14
HEAVIEST = 5  # of the factors that rows of a fit are multiplied with, integers from 0
PRODUCT_LIMIT = 1 << 17  # of a row after that, beyond what HEAVIEST makes: sums of 2^15 products are below 2^53 as well
BLOCK = 512  # voxels at a time: 190 neighbours of so many in float64 stay in the second-level cache
TILE = 4  # rows by rows at a time, whose sums stay in registers
PIECE = 128  # voxels whose products are summed in 32 bits, in eight lanes or more,
SMALL = 11585  # where no row is larger than this: 16 products stay below 2^31


class Equations(Protocol):
    """Voxels of several classes [c], how far their n neighbours lie from the base, and what weights of these miss."""

    def products(self, thinning: int) -> np.ndarray:
        """Sums over every so manieth voxel of each class, float64 [c, n + 1, n + 1]: of the products of neighbours, and
        last of the voxel itself, times the square of its importance, which is 1 at first."""
        ...

    def miss(self, weights: np.ndarray) -> np.ndarray:
        """The mean absolute error float64 [c] of weights [c, n], integers; both in units of 1 / UNIT."""
        ...

    def errors(self) -> list[np.ndarray]:
        """What the last weights have missed: absolute errors float64 [v] of every class, in the same unit."""
        ...

    def reweigh(self) -> None:
        """Let a voxel that the last weights have missed by more count less: its importance is HEAVIEST times the root
        of usual / (error + usual), to the nearest integer; usual is the class's median and half a grey level."""
        ...

    def weigh(self, importance: list[np.ndarray]) -> None:
        """Let voxels have this importance, integers in float64 [v] for every class."""
        ...

    def spread(self) -> np.ndarray:
        """The mean square float64 [c] of how far neighbours lie from the base."""
        ...


# The equations of classes of voxels, each int32 [v] places in a padded slab, and of neighbours at int64 [n] relative to
# these. The first BASE neighbours make the base.
Take = Callable[[Sequence[np.ndarray], np.ndarray], Equations]
Maker = Callable[[np.ndarray], Take]  # given a slab of integers, padded and flat


def on_cpu(known: np.ndarray) -> Take:
    """The `Maker` of the CPU."""
    return partial(OnCpu, known)


@part
def base_of(known: np.ndarray, at: int, row: np.ndarray) -> Any:
    """The mean of the first four neighbours."""
    total = np.int64(2)
    for i in range(BASE):
        total += known[np.uint64(at + row[i])]
    return total >> 2


def activities(known: np.ndarray, index: np.ndarray, row: np.ndarray, in_slice: int) -> np.ndarray:
    """The activity int64 [v] of voxels (`linear.predict`), whose neighbours lie at `row` relative to them; the first
    `in_slice` of these in the slice itself."""
    out = np.empty(index.shape[0], np.int64)
    _activities(known, index, row, in_slice, out)
    return out


@entry
def _activities(known: np.ndarray, index: np.ndarray, row: np.ndarray, in_slice: int, out: np.ndarray) -> None:
    """As `activities`, into int64 [v]."""
    alone = row.shape[0] == in_slice
    for v in range(index.shape[0]):
        at, activity = index[v], np.int64(0)
        base = base_of(known, at, row)
        for i in range(ACTIVITY_IN_SLICE):
            activity += abs(known[np.uint64(at + row[i])] - base)
        if alone:
            activity = (activity * 19) // 10  # as if the nine neighbours before were like the ten in the slice
        else:
            for i in range(in_slice, in_slice + ACTIVITY_BEFORE):
                activity += abs(known[np.uint64(at + row[i])] - base)
        out[v] = activity


@entry
def _design(known: np.ndarray, index: np.ndarray, row: np.ndarray, base: np.ndarray, out: np.ndarray) -> None:
    """Differences from the base, into int16 [blocks, n + 1, BLOCK]: of the neighbours, and last of the voxel itself.
    What is beyond the last voxel is 0. `base` int32 [BLOCK] is room to work in."""
    for b in range(out.shape[0]):
        places = index[b * BLOCK : (b + 1) * BLOCK]
        size = places.shape[0]
        for v in range(size):
            base[v] = base_of(known, places[v], row)
        for i in range(out.shape[1]):
            offset = row[i] if i < row.shape[0] else np.int64(0)
            for v in range(size):
                near = known[np.uint64(places[v] + offset)] - base[v]
                out[b, i, v] = smaller(larger(near, -DIFFERENCE_LIMIT), DIFFERENCE_LIMIT)
            out[b, i, size:] = 0


@part(fastmath=REORDERED)
def _add_products(rows: np.ndarray, size: int, total: np.ndarray) -> None:
    """Add the products of the first `size` columns of rows [n, BLOCK] with each other to [n, n], all on and below its
    diagonal of tiles; n is a multiple of TILE."""
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


_ACROSS = 4 if vectors.units() == 16 else 2  # columns of a tile whose sums fit the registers
_LANES = 2 * vectors.units()  # int16 at a time


@vectors.kernel(5)
def _tile(b: Any, first: Any, second: Any, stride: Any, size: Any, out: Any) -> None:
    """Sums of products of TILE rows int16 with _ACROSS others, over `size` voxels, a multiple of PIECE, to
    int64 [TILE, _ACROSS]; rows lie `stride` bytes apart."""
    short, long = (ir.VectorType(kind, _LANES // 2) for kind in (I32, I64))
    places = [(i, j) for i in range(TILE) for j in range(_ACROSS)]
    sums, totals = ([cgutils.alloca_once(b, kind) for _ in places] for kind in (short, long))
    for total in totals:
        b.store(ir.Constant(long, [0] * long.count), total)

    def rows(address: Any, count: int, at: Any) -> list[Lanes]:
        return [load(b, address, b.add(at, b.mul(stride, ir.Constant(I64, k))), I16, _LANES) for k in range(count)]

    with cgutils.for_range(b, b.sdiv(size, ir.Constant(I64, PIECE)), intp=I64) as piece:
        for place in sums:
            b.store(ir.Constant(short, [0] * short.count), place)
        begin = b.mul(piece.index, ir.Constant(I64, 2 * PIECE))
        with cgutils.for_range(b, ir.Constant(I64, PIECE // _LANES), intp=I64) as loop:
            at = b.add(begin, b.mul(loop.index, ir.Constant(I64, 2 * _LANES)))
            columns = rows(second, _ACROSS, at)
            for i, x in enumerate(rows(first, TILE, at)):
                for place, y in zip(sums[i * _ACROSS :], columns, strict=False):
                    b.store((Lanes(b, b.load(place)) + vectors.add_pairs(x, y)).value, place)
        for place, total in zip(sums, totals, strict=True):
            b.store((Lanes(b, b.load(total)) + Lanes(b, b.load(place)).widened(I64)).value, total)
    for k, total in enumerate(totals):
        b.store(Lanes(b, b.load(total)).total(), vectors.place(b, out, ir.Constant(I64, 8 * k), I64))


@part
def _add_small_products(rows: np.ndarray, size: int, short: np.ndarray, sums: np.ndarray, total: np.ndarray) -> None:
    """As `_add_products` from integers within ±SMALL. `short` int16 [n, BLOCK] and `sums` int64 [TILE, _ACROSS] are
    room to work in."""
    whole = -(-size // PIECE) * PIECE
    for i in range(rows.shape[0]):
        for v in range(whole):
            short[i, v] = rows[i, v] if v < size else 0
    begin, stride, out = np.int64(short.ctypes.data), 2 * BLOCK, np.int64(sums.ctypes.data)
    for i in range(0, rows.shape[0], TILE):
        for j in range(0, i + TILE, _ACROSS):
            _tile(begin + i * stride, begin + j * stride, stride, whole, out)
            for k in range(TILE):
                for m in range(_ACROSS):
                    total[i + k, j + m] += sums[k, m]


@part
def _largest(rows: np.ndarray, size: int) -> Any:
    """The largest absolute value of the first `size` columns."""
    largest = np.int32(0)
    for i in range(rows.shape[0]):
        for v in range(size):
            largest = larger(largest, abs(rows[i, v]))
    return largest


@part
def _add_rows(
    rows: np.ndarray, size: int, real: np.ndarray, short: np.ndarray, sums: np.ndarray, total: np.ndarray
) -> None:
    """Add the products of the first `size` columns of rows int32 [n, BLOCK], in whatever way holds their sums."""
    if _largest(rows, size) <= SMALL:
        _add_small_products(rows, size, short, sums, total)
        return
    for i in range(rows.shape[0]):
        for v in range(size):
            real[i, v] = rows[i, v]
    _add_products(real, size, total)


class _Room(NamedTuple):
    """What `_add_all` works in, for n rows, a multiple of TILE: rows int32 [n, BLOCK], the same as float64 and as
    int16, and sums int64 [TILE, _ACROSS]."""

    rows: np.ndarray
    real: np.ndarray
    short: np.ndarray
    sums: np.ndarray


@entry
def _add_all(design: np.ndarray, importance: np.ndarray, thinning: int, room: _Room, total: np.ndarray) -> None:
    """Add the products of every `thinning`th voxel to float64 [n, n], all on and below its diagonal. BLOCK is a
    multiple of `thinning`."""
    filled = 0
    for b in range(design.shape[0]):
        factor = importance[b * BLOCK : (b + 1) * BLOCK : thinning]
        for i in range(design.shape[1]):
            row, thinned = room.rows[i, filled:], design[b, i, ::thinning]
            for v in range(factor.shape[0]):
                row[v] = smaller(larger(np.int32(thinned[v]) * np.int32(factor[v]), -PRODUCT_LIMIT), PRODUCT_LIMIT)
        filled += factor.shape[0]
        if filled + BLOCK // thinning > BLOCK or b == design.shape[0] - 1:
            _add_rows(room.rows, filled, room.real, room.short, room.sums, total)
            filled = 0


def _products(design: np.ndarray, importance: np.ndarray, thinning: int) -> np.ndarray:
    """As `Equations.products`, of one class."""
    size = design.shape[1]
    whole = -(-size // TILE) * TILE
    rows, real, short = (np.zeros((whole, BLOCK), kind) for kind in (np.int32, np.float64, np.int16))
    total = np.zeros((whole, whole))
    _add_all(design, importance, thinning, _Room(rows, real, short, np.zeros((TILE, _ACROSS), np.int64)), total)
    below = np.tril(total[:size, :size])
    return below + np.tril(below, -1).T


@entry(fastmath=REORDERED)
def _errors(design: np.ndarray, weights: np.ndarray, missed: np.ndarray, out: np.ndarray) -> None:
    """Absolute errors float64 [v] in units of 1 / UNIT; `missed` float64 [BLOCK] is room to work in."""
    for b in range(design.shape[0]):
        for v in range(BLOCK):
            missed[v] = UNIT * design[b, -1, v]
        for i in range(weights.shape[0]):
            for v in range(BLOCK):
                missed[v] -= weights[i] * design[b, i, v]
        part = out[b * BLOCK : (b + 1) * BLOCK]
        for v in range(part.shape[0]):
            part[v] = abs(missed[v])


@entry
def _squares(design: np.ndarray) -> Any:
    """The sum of squares of all that is no voxel itself."""
    total = np.int64(0)
    for b in range(design.shape[0]):
        for i in range(design.shape[1] - 1):
            for v in range(BLOCK):
                total += np.int64(design[b, i, v]) * design[b, i, v]
    return total


class OnCpu:
    """The `Equations` that numba's loops make, and the definition of what others make."""

    def __init__(self, known: np.ndarray, members: Sequence[np.ndarray], flat: np.ndarray) -> None:
        self._neighbours = flat.size
        self._designs = [np.empty((-(-m.size // BLOCK), flat.size + 1, BLOCK), np.int16) for m in members]
        for m, design in zip(members, self._designs, strict=True):
            _design(known, m, flat, np.empty(BLOCK, np.int32), design)
        self._importance = [np.ones(m.size) for m in members]
        self._errors = [np.empty(m.size) for m in members]

    def products(self, thinning: int) -> np.ndarray:
        """As `Equations` says."""
        pairs = zip(self._designs, self._importance, strict=True)
        return np.stack([_products(design, importance, thinning) for design, importance in pairs])

    def miss(self, weights: np.ndarray) -> np.ndarray:
        """As `Equations` says."""
        for design, of_class, errors in zip(self._designs, weights, self._errors, strict=True):
            _errors(design, of_class, np.empty(BLOCK), errors)
        return np.array([errors.mean() for errors in self._errors])

    def errors(self) -> list[np.ndarray]:
        """As `Equations` says."""
        return self._errors

    def reweigh(self) -> None:
        """As `Equations` says."""
        for k, errors in enumerate(self._errors):
            usual = np.partition(errors, errors.size // 2)[errors.size // 2] + UNIT // 2
            self._importance[k] = np.rint(HEAVIEST * np.sqrt(usual / (errors + usual)))

    def weigh(self, importance: list[np.ndarray]) -> None:
        """As `Equations` says."""
        self._importance = importance

    def spread(self) -> np.ndarray:
        """As `Equations` says."""
        counts = [self._neighbours * errors.size for errors in self._errors]
        return np.array([_squares(d) / count for d, count in zip(self._designs, counts, strict=True)])
