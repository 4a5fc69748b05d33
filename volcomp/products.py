"""Exact products of int8 matrices, of which the fastest here is taken: all that a network's speed hangs on.

No sum of a model can reach 2^24 (`lstm/weights.py` proves it for every one), so integers, and float32 that carries
integers, give the same numbers in any order of summation. How fast each is differs from processor to processor by a
hundred times: torch's int8 product runs at 170 GMAC/s a core where there are instructions for it (VNNI), and at 1.2
where it falls back to a plain loop. So each is timed, for some milliseconds, before one is taken.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from threadpoolctl import threadpool_limits

from .errors import UnsupportedError

Product = Callable[[np.ndarray, np.ndarray], object]  # x int8 [v, k], and int32 [v, n] out
Maker = Callable[[np.ndarray], Product]  # of weights int8 [k, n]
TRIED_ROWS = 128  # of a product that is timed: so few that the slowest takes some milliseconds
TRIES = 3
FAULTS = (ImportError, AttributeError, RuntimeError, TypeError)  # of a product that is not to be had, or not exact


def torch_product(weights: np.ndarray) -> Product:
    """Through torch's int8 kernel. Raises RuntimeError or AttributeError where it has none: the function is private to
    torch, so it may change."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(weights.T)).t()
    multiply = torch._int_mm
    multiply(torch.zeros(32, weights.shape[0], dtype=torch.int8), columns)

    def product(x: np.ndarray, out: np.ndarray) -> None:
        multiply(torch.from_numpy(x), columns, out=torch.from_numpy(out))

    return product


def float_product(weights: np.ndarray) -> Product:
    """The same through numpy's float32, which holds these integers exactly."""
    real = weights.astype(np.float32)

    def product(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = x.astype(np.float32) @ real

    return product


def makers() -> list[Maker]:
    """The products that this machine may have."""
    return [torch_product, float_product] if importlib.util.find_spec("torch") else [float_product]


@cache
def _seconds(maker: Maker, shape: tuple[int, int]) -> float:
    """What a product by weights of this shape takes at best."""
    product = maker(np.ones(shape, np.int8))
    x, out = np.ones((TRIED_ROWS, shape[0]), np.int8), np.empty((TRIED_ROWS, shape[1]), np.int32)
    best = np.inf
    with one_thread_each():
        for _ in range(TRIES):
            begin = time.perf_counter()
            product(x, out)
            best = min(best, time.perf_counter() - begin)
    return best


def speed(maker: Maker, shape: tuple[int, int]) -> float:
    """Products of two numbers, and their sums, a second, by weights of this shape."""
    return TRIED_ROWS * shape[0] * shape[1] / _seconds(maker, shape)


def by_speed(shape: tuple[int, int]) -> list[Maker]:
    """The products of this machine for weights [k, n], fastest first."""
    seconds = {}
    for maker in makers():
        try:
            seconds[maker] = _seconds(maker, shape)
        except FAULTS as error:
            warnings.warn(f"{maker.__name__} is left aside: {error}", RuntimeWarning, stacklevel=2)
    return sorted(seconds, key=seconds.__getitem__)


def take_exact(weights: np.ndarray, maker: Maker | None, take: Callable[[Product], None], name: str) -> None:
    """Offer products by these weights, the given one or those of this machine, until `take` takes one, which raises
    RuntimeError where a product is not exact; UnsupportedError, for the model of that name, if it takes none."""
    for candidate in [maker] if maker else by_speed((weights.shape[0], weights.shape[1])):
        try:
            take(candidate(weights))
            return
        except FAULTS as error:
            warnings.warn(f"{candidate.__name__} is left aside: {error}", RuntimeWarning, stacklevel=3)
    raise UnsupportedError(f"no matrix product here is exact, as {name} needs: reinstall numpy and numba")


def alone() -> None:
    """Keep torch's products on the calling thread. Every thread must say so for itself: OpenMP counts by thread, and
    what another one has set holds only for those that it had not yet met."""
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep matrix products on the thread that asks for them: the codec has its own threads, one to a slab, which begin
    with `alone`."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(1, user_api="blas"):
        alone()
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
