"""The CPU backend: one kernel in vector instructions (`vector.py`) where the processor has them, else the fastest exact
matrix product that there is (`products.py`) and loops for the rest."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np

from ...constants import CLASSES
from ...runtime.compiled import REORDERED, entry
from ...runtime.products import FAULTS, Maker, Product, take_exact
from . import cell, learning, reference, vector
from .state import State
from .weights import Weights

CHUNK_BYTES = 1 << 19  # accumulators at a time: they stay in a 2 MB second-level cache beside all that the rows read
CACHE_LINE = 64  # bytes


@entry(fastmath=REORDERED)
def _advance(
    accumulator: np.ndarray, lo: int, hi: int, shift: np.ndarray, cells: np.ndarray, inputs: np.ndarray,
    hidden: np.ndarray, head: np.ndarray, bias: np.ndarray, offset: np.ndarray, octaves: np.ndarray,
) -> None:  # fmt: skip
    """What follows the matrix product: cell, hidden output and the two outputs of the head, for rows lo … hi-1.

    accumulator int32 [≥ hi - lo, 4h]; the other arrays are those of `Weights` and of `State`, whole. The head's sums
    stay below 2^24, so in float32 they are exact in whatever order: a third of the time of int32 products.
    """
    for v in range(lo, hi):
        cell.step(accumulator[v - lo], shift, cells[v], hidden[v])
    first, second = head[0], head[1]
    unseen = inputs.shape[1] - first.shape[0]
    for v in range(lo, hi):
        row = inputs[v, unseen:]
        a, b = np.float32(0), np.float32(0)
        for j in range(first.shape[0]):
            a += np.float32(row[j]) * np.float32(first[j])
            b += np.float32(row[j]) * np.float32(second[j])
        offset[v] = min(max((np.int32(a) + bias[0]) >> 5, -8192), 8192)
        octaves[v] = (np.int32(b) + bias[1]) >> 11


def _accumulators(rows: int, columns: int) -> np.ndarray:
    """Room for int32 [rows, columns] that begins with a cache line: where vectors of 64 bytes straddle two, torch's
    product takes half as long again."""
    size = 4 * rows * columns
    room = np.empty(size + CACHE_LINE, np.uint8)
    begin = -room.ctypes.data % CACHE_LINE
    return room[begin : begin + size].view(np.int32).reshape(rows, columns)


class Network:
    """As `reference.Network`, bit for bit, and much faster."""

    def __init__(self, weights: Weights, make_product: Maker | None = None) -> None:
        self.weights = weights
        self.metric = weights.metric.astype(np.float64)
        self.packed = vector.pack(weights) if make_product is None and vector.fits(weights) else None
        self.chunk = CHUNK_BYTES // (16 * weights.hidden)  # rows at a time
        self._room = threading.local()  # accumulators int32 [chunk, 4h] for every thread that calls
        if self.packed is not None:
            try:
                self._prove()
                return
            except FAULTS as error:
                warnings.warn(f"vector instructions are left aside: {error}", RuntimeWarning, stacklevel=2)
                self.packed = None
        take_exact(weights.weights, make_product, self._take, weights.name)

    @property
    def kernel(self) -> str:
        """The name of what multiplies: `vector`, or the function that made the product."""
        return "vector" if self.packed is not None else self._product.__qualname__.partition(".")[0]

    def step(self, state: State, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """As `reference.Network.step`."""
        w = self.weights
        if self.packed is not None:
            scratch = np.empty(vector.scratch_for(state.inputs.shape[1]), np.int64)
            vector.step_alone(lo, hi, self.packed, state.arrays, w.bias, scratch)
            return state.offset[lo:hi], state.octaves[lo:hi]
        try:
            accumulator = self._room.accumulator
        except AttributeError:
            accumulator = self._room.accumulator = _accumulators(self.chunk, 4 * w.hidden)
        for a in range(lo, hi, self.chunk):
            b = min(a + self.chunk, hi)
            self._product(state.inputs[a:b], accumulator[: b - a])
            _advance(
                accumulator, a, b, w.shift, state.cell, state.inputs, state.hidden, state.head, w.bias, state.offset,
                state.octaves,
            )  # fmt: skip
        return state.offset[lo:hi], state.octaves[lo:hi]

    def learn(self, state: State, lo: int, hi: int, missed: np.ndarray, classes: np.ndarray) -> None:
        """As `reference.Network.learn`."""
        w = self.weights
        if w.learns:
            learning.collect(
                state.inputs, lo, hi, w.unseen, missed, classes, w.slopes, state.slope, state.count, state.sums
            )
            learning.step(self.metric, w.head_limit, state.exact, state.head, state.slope, state.count, state.mean)

    def _take(self, product: Product) -> None:
        """Compute with this product, if it is exact; else RuntimeError."""
        self._product = product
        self._prove()

    def _prove(self) -> None:
        """RuntimeError unless a few steps, extremes among them, equal the reference's."""
        random = np.random.default_rng(0)
        mine, theirs = State(self.weights, 40), State(self.weights, 40)
        definition = reference.Network(self.weights)
        for _ in range(3):
            x: Any = random.integers(-127, 128, (40, self.weights.inputs), dtype=np.int8)
            x[0], x[1] = 127, np.where(self.weights.weights[: self.weights.inputs, 0] > 0, 127, -127)
            mine.inputs[:, : self.weights.inputs] = theirs.inputs[:, : self.weights.inputs] = x
            pairs = [*zip(self.step(mine, 0, 40), definition.step(theirs, 0, 40), strict=True)]
            missed = random.integers(-(1 << 12), 1 << 12, 40, dtype=np.int32)
            classes = random.integers(0, CLASSES, 40, dtype=np.uint8)
            for network, state in ((self, mine), (definition, theirs)):
                state.count += learning.ENOUGH  # as if that many had been before
                network.learn(state, 0, 40, missed, classes)
            pairs += [(mine.inputs, theirs.inputs), (mine.head, theirs.head), (mine.exact, theirs.exact)]
            if not all(np.array_equal(a, b) for a, b in pairs):
                raise RuntimeError("it does not give the reference's numbers here")
