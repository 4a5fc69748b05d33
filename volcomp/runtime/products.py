"""Exact products of int8 matrices, which determine the speed of a network. The fastest on this machine is chosen.

No sum of a model can reach 2^24 (`lstm/weights.py` proves this for every model), so integer products, and float32
products of integers, give the same numbers in any order of summation. Their speeds differ a hundredfold between
processors: torch's int8 product runs at 170 GMAC/s per core with the VNNI instructions, and at 1.2 GMAC/s where it
falls back to a plain loop. So each product is timed for some milliseconds before one is chosen. volcomp's own, in
vector instructions, has been the fastest so far; torch is tried only if it has been imported for another reason.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from threadpoolctl import threadpool_limits

from ..dtypes import Int8s, Int32s, Int64s
from ..errors import UnsupportedError
from . import vectors
from .compiled import entry
from .vectors import I8, I32, I64, Lanes

Product = Callable[[np.ndarray, np.ndarray], object]  # x int8 [v, k], and int32 [v, n] out
Maker = Callable[[np.ndarray], Product]  # of weights int8 [k, n]
QUAD = 4  # bytes of one instruction
FLIP = int(np.uint64(0x8080808080808080).view(np.int64))  # adds 128 to each of eight bytes
TRIED_ROWS = 128  # of a product that is timed: few enough that the slowest takes only some milliseconds
TRIES = 3
FAULTS = (ImportError, AttributeError, RuntimeError, TypeError)  # of a product that is not available, or not exact


def torch_product(weights: Int8s) -> Product:
    """Make a product by torch's int8 kernel. Raises RuntimeError or AttributeError if torch has none: its function is
    private, so it may change."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(weights.T)).t()
    multiply = torch._int_mm
    multiply(torch.zeros(32, weights.shape[0], dtype=torch.int8), columns)

    def product(x: Int8s, out: Int32s) -> None:
        multiply(torch.from_numpy(x), columns, out=torch.from_numpy(out))

    return product


def float_product(weights: Int8s) -> Product:
    """Make a product by numpy's float32, which holds these integers exactly."""
    real = weights.astype(np.float32)

    def product(x: Int8s, out: Int32s) -> None:
        out[:] = x.astype(np.float32) @ real

    return product


class Tiles(NamedTuple):
    """Weights int8 [k, n] in the layout of the kernel, for U sums at a time (`vectors.units`).

    weights int8 [n/4U, k/4, 4, U, 4]   four vectors of sums, each of four inputs
    begin int32 [n/4U, 4, U]            initial values of sums: minus the weights times what flipping adds to inputs
    flip                                xored with eight inputs at once, for instructions that need them unsigned
    """

    weights: Int8s
    begin: Int32s
    flip: int


def tiles(weights: Int8s, order: Int64s) -> Tiles:
    """Lay out weights int8 [k, n], with their columns in the given order, int64 [n/4U, 4, U]."""
    size, columns = weights.shape
    order = np.ascontiguousarray(order)
    packed = weights.T[order].reshape(*order.shape, size // QUAD, QUAD).transpose(0, 3, 1, 2, 4)
    is_signed = vectors.instructions() in vectors.SIGNED
    begin = np.zeros(columns) if is_signed else -128 * weights.sum(axis=0, dtype=np.int64)
    return Tiles(np.ascontiguousarray(packed), begin[order].astype(np.int32), 0 if is_signed else FLIP)


def sums_of(b: Any, rows: int, units: int, x: Any, size: Any, weights: Any, begin: Any) -> list[list[Any]]:
    """Generate part of a kernel: four vectors of sums for each of `rows` rows of `size` bytes, a multiple of QUAD, one
    after the other from x on. Returns pointers to the sums, which LLVM keeps in registers."""
    width = 4 * units  # bytes of a vector of sums, and of the weights that serve it
    starts = [vectors.load(b, begin, k * width, I32, units) for k in range(4)]
    sums = [[cgutils.alloca_once(b, start.value.type) for start in starts] for _ in range(rows)]
    for row in sums:
        for place, start in zip(row, starts, strict=True):
            b.store(start.value, place)
    with cgutils.for_range(b, b.sdiv(size, ir.Constant(I64, QUAD)), intp=I64) as loop:
        at = b.mul(loop.index, ir.Constant(I64, QUAD))
        here = b.add(weights, b.mul(loop.index, ir.Constant(I64, 4 * width)))
        tile = [vectors.load(b, here, k * width, I8, width) for k in range(4)]
        for r, row in enumerate(sums):
            four = vectors.load_one(b, x, b.add(at, b.mul(size, ir.Constant(I64, r))), I32)
            for place, part_of_tile in zip(row, tile, strict=True):
                b.store(vectors.dot(Lanes(b, b.load(place)), four, part_of_tile).value, place)
    return sums


def _storing(rows: int) -> Any:
    units = vectors.units()

    @vectors.kernel(6)
    def store(b: Any, x: Any, size: Any, weights: Any, begin: Any, out: Any, out_stride: Any) -> None:
        """Compute four vectors of sums for each row, into `out`."""
        for r, row in enumerate(sums_of(b, rows, units, x, size, weights, begin)):
            for k, place in enumerate(row):
                at = b.add(b.mul(out_stride, ir.Constant(I64, r)), ir.Constant(I64, 4 * units * k))
                vectors.store(b, Lanes(b, b.load(place)), out, at)

    return store


ROWS = {16: 4, 8: 2}[vectors.units()]  # rows whose sums fit the registers
_store_rows, _store_one = _storing(ROWS), _storing(1)


@entry
def _multiply(words: Int64s, packed: Tiles, flipped: Int64s, out: Int32s) -> None:
    """Multiply bytes, eight to a word int64 [v, k/8], by weights, into int32 [v, n]. `flipped` is scratch memory,
    shaped like `words`."""
    rows, eights = words.shape
    for v in range(rows):
        for j in range(eights):
            flipped[v, j] = words[v, j] ^ packed.flip
    size = 8 * eights
    x, weights = np.int64(flipped.ctypes.data), np.int64(packed.weights.ctypes.data)
    begins, width = np.int64(packed.begin.ctypes.data), 16 * packed.begin.shape[2]  # bytes of a group's sums
    to, stride = np.int64(out.ctypes.data), 4 * out.shape[1]
    for g in range(packed.begin.shape[0]):
        w, begin = weights + g * (size // QUAD) * width, begins + g * width
        tall = rows - rows % ROWS
        for v in range(0, tall, ROWS):
            _store_rows(x + v * size, size, w, begin, to + v * stride + g * width, stride)
        for v in range(tall, rows):
            _store_one(x + v * size, size, w, begin, to + v * stride + g * width, stride)


def vector_product(weights: Int8s) -> Product:
    """Make a product by vector instructions for bytes, for weights within ±64. Raises RuntimeError if the processor has
    none that this module supports. Inputs and weights are padded with zeros to whole vectors."""
    size, columns = weights.shape
    if vectors.instructions() == vectors.NONE or np.abs(weights.astype(int)).max() > 64:
        raise RuntimeError(f"there are no vector instructions for a product by {size} × {columns} weights here")
    missing = -size % 8, -columns % (4 * vectors.units())
    whole = np.pad(weights, ((0, missing[0]), (0, missing[1])))
    packed = tiles(whole, np.arange(whole.shape[1]).reshape(-1, 4, vectors.units()))

    def product(x: Int8s, out: Int32s) -> None:
        words = np.ascontiguousarray(np.pad(x, ((0, 0), (0, missing[0]))) if missing[0] else x).view(np.int64)
        fits = not missing[1] and out.flags.c_contiguous
        sums = out if fits else np.empty((len(x), whole.shape[1]), np.int32)
        _multiply(words, packed, np.empty_like(words), sums)
        if not fits:
            out[:] = sums[:, :columns]

    return product


def makers() -> list[Maker]:
    """List the products that may work on this machine."""
    found = [] if vectors.instructions() == vectors.NONE else [vector_product]
    return [*found, float_product, *([torch_product] if "torch" in sys.modules else [])]


@cache
def _seconds(maker: Maker, shape: tuple[int, int]) -> float:
    """Time a product by weights of this shape: the seconds of the best run."""
    product = maker(np.ones(shape, np.int8))
    x, out = np.ones((TRIED_ROWS, shape[0]), np.int8), np.empty((TRIED_ROWS, shape[1]), np.int32)
    product(x, out)  # once untimed, since it may compile
    best = np.inf
    with one_thread_each():
        for _ in range(TRIES):
            begin = time.perf_counter()
            product(x, out)
            best = min(best, time.perf_counter() - begin)
    return best


def speed(maker: Maker, shape: tuple[int, int]) -> float:
    """Measure multiply-adds per second, for weights of this shape."""
    return TRIED_ROWS * shape[0] * shape[1] / _seconds(maker, shape)


def by_speed(shape: tuple[int, int]) -> list[Maker]:
    """List the products of this machine for weights [k, n], fastest first."""
    seconds = {}
    for maker in makers():
        try:
            seconds[maker] = _seconds(maker, shape)
        except FAULTS as error:
            warnings.warn(f"{maker.__name__} is left aside: {error}", RuntimeWarning, stacklevel=2)
    return sorted(seconds, key=seconds.__getitem__)


def use_exact(weights: Int8s, maker: Maker | None, use: Callable[[Product], None], name: str) -> None:
    """Try products by these weights, the given one or those of this machine, until one is exact.

    `use` stores and tests a product, and raises RuntimeError if it is not exact. Raises UnsupportedError, with the
    `name` of the model, if none is exact."""
    for candidate in [maker] if maker else by_speed((weights.shape[0], weights.shape[1])):
        try:
            use(candidate(weights))
            return
        except FAULTS as error:
            warnings.warn(f"{candidate.__name__} is left aside: {error}", RuntimeWarning, stacklevel=3)
    raise UnsupportedError(f"no matrix product here is exact, as {name} needs: reinstall numpy and numba")


def alone() -> None:
    """Keep torch's products on the calling thread. Every thread must call this itself: OpenMP has a setting per thread,
    and a setting by another thread holds only for threads that OpenMP does not know yet."""
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep matrix products on the thread that calls them: the codec has its own threads, one per slab, which call
    `alone` first."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(1, user_api="blas"):
        alone()
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
