"""The CPU backend: one kernel in vector instructions (`vector.py`) if the processor has them, else the fastest exact
matrix product that is available (`runtime/products.py`) and loops for the rest."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np

from ...constants import CLASSES
from ...dtypes import Int32s, UInt8s
from ...runtime.compiled import REORDERED, entry
from ...runtime.products import FAULTS, Maker, Product, use_exact
from . import cell, learning, reference, vector
from .state import State, StateArrays
from .weights import LstmWeights

CHUNK_BYTES = 1 << 19  # accumulators at a time: they fit into a 2 MB second-level cache beside all that the rows read
CACHE_LINE = 64  # bytes


@entry(fastmath=REORDERED)
def _advance(lo: int, hi: int, accumulator: Int32s, shift: Int32s, bias: Int32s, state: StateArrays) -> None:
    """Compute cell, hidden output and the two outputs of the head for rows lo … hi-1, after the matrix product.

    `accumulator` is int32 [≥ hi - lo, 4h]; `shift` and `bias` are those of the weights. The head's sums stay below
    2^24, so float32 is exact in any order, and takes a third of the time of int32 products.
    """
    inputs, offset, octaves = state.inputs, state.offset, state.octaves
    before = inputs.shape[1] - state.cell.shape[1]
    for v in range(lo, hi):
        cell.step(accumulator[v - lo], shift, state.cell[v], inputs[v, before:])
    first, second = state.head.weights[0], state.head.weights[1]
    unseen = inputs.shape[1] - first.shape[0]
    for v in range(lo, hi):
        row = inputs[v, unseen:]
        a, b = np.float32(0), np.float32(0)
        for j in range(first.shape[0]):
            a += np.float32(row[j]) * np.float32(first[j])
            b += np.float32(row[j]) * np.float32(second[j])
        offset[v] = min(max((np.int32(a) + bias[0]) >> 5, -8192), 8192)
        octaves[v] = (np.int32(b) + bias[1]) >> 11


def _accumulators(rows: int, columns: int) -> Int32s:
    """Allocate int32 [rows, columns] that begins at a cache line.

    Where vectors of 64 bytes straddle two cache lines, torch's product takes half as long again.
    """
    size = 4 * rows * columns
    memory = np.empty(size + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    return memory[begin : begin + size].view(np.int32).reshape(rows, columns)


class CpuLstm:
    """A faster network that equals `reference.ReferenceLstm` bit for bit."""

    def __init__(self, weights: LstmWeights, make_product: Maker | None = None) -> None:
        self.weights = weights
        self.rule = learning.Rule(weights.metric.astype(np.float64), weights.slopes, weights.unseen, weights.head_limit)
        self.packed = vector.pack(weights) if make_product is None and vector.fits(weights) else None
        self.chunk = CHUNK_BYTES // (16 * weights.hidden)  # rows at a time
        self._scratch = threading.local()  # accumulators int32 [chunk, 4h], one for each calling thread
        if self.packed is not None:
            try:
                self._prove()
                return
            except FAULTS as error:
                warnings.warn(f"vector instructions are left aside: {error}", RuntimeWarning, stacklevel=2)
                self.packed = None
        use_exact(weights.weights, make_product, self._use, weights.name)

    @property
    def kernel(self) -> str:
        """The name of the matrix product: `vector`, or the function that made the product."""
        return "vector" if self.packed is not None else self._product.__qualname__.partition(".")[0]

    def step(self, state: State, lo: int, hi: int) -> tuple[Int32s, Int32s]:
        """Advance rows lo … hi-1 by one voxel; see `reference.ReferenceLstm.step`."""
        w = self.weights
        if self.packed is not None:
            scratch = np.empty(vector.scratch_for(state.inputs.shape[1]), np.int64)
            vector.step(lo, hi, self.packed, state.arrays, scratch)
            return state.offset[lo:hi], state.octaves[lo:hi]
        try:
            accumulator = self._scratch.accumulator
        except AttributeError:
            accumulator = self._scratch.accumulator = _accumulators(self.chunk, 4 * w.hidden)
        for a in range(lo, hi, self.chunk):
            b = min(a + self.chunk, hi)
            self._product(state.inputs[a:b], accumulator[: b - a])
            _advance(a, b, accumulator, w.shift, w.bias, state.arrays)
        return state.offset[lo:hi], state.octaves[lo:hi]

    def learn(self, state: State, lo: int, hi: int, error: Int32s, classes: UInt8s) -> None:
        """Let the head learn from the voxels of rows lo … hi-1; see `reference.ReferenceLstm.learn`."""
        if self.weights.learns:
            head = state.arrays.head
            learning.collect(lo, hi, state.inputs, error, classes, self.rule, head)
            learning.step(self.rule, head)

    def _use(self, product: Product) -> None:
        """Use this product from now on; RuntimeError if it is not exact."""
        self._product = product
        self._prove()

    def _prove(self) -> None:
        """Raise RuntimeError unless a few steps, with extreme inputs among them, equal those of the reference."""
        random = np.random.default_rng(0)
        own, expected = State(self.weights, 40), State(self.weights, 40)
        definition = reference.ReferenceLstm(self.weights)
        for _ in range(3):
            x: Any = random.integers(-127, 128, (40, self.weights.inputs), dtype=np.int8)
            x[0], x[1] = 127, np.where(self.weights.weights[: self.weights.inputs, 0] > 0, 127, -127)
            own.inputs[:, : self.weights.inputs] = expected.inputs[:, : self.weights.inputs] = x
            pairs: list[tuple[Any, Any]] = [*zip(self.step(own, 0, 40), definition.step(expected, 0, 40), strict=True)]
            error = random.integers(-(1 << 12), 1 << 12, 40, dtype=np.int32)
            classes = random.integers(0, CLASSES, 40, dtype=np.uint8)
            for network, state in ((self, own), (definition, expected)):
                state.count += learning.ENOUGH  # enough earlier voxels for a step of learning
                network.learn(state, 0, 40, error, classes)
            pairs += [(own.inputs, expected.inputs), (own.head, expected.head), (own.exact, expected.exact)]
            if not all(np.array_equal(a, b) for a, b in pairs):
                raise RuntimeError("it does not give the reference's numbers here")
