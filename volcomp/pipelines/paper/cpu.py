"""The CPU backend: the fastest exact matrix product of this machine (`products.py`), and numba for the rest."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import Int8s, Int16s, Int32s, Int64s, Levels
from ...runtime.compiled import entry, part
from ...runtime.products import Maker, Product, use_exact
from ...stages.lstm.cell import next_cell
from . import reference
from .reference import GATE_ONE, HIDDEN_MOST, SPLIT, VALUE_SHIFT, rank_of, value_of
from .weights import SIGMOID_STEPS, UNITS, PaperWeights

CHUNK = 256  # rows at a time: their accumulators, of both halves, take 1 MB and stay in a second-level cache

_i = np.int32  # numba widens int32 arithmetic to 64 bits; casting every result back lets the loops use 32-bit lanes
_GATES = 4 * UNITS


_LAST = 8 * SIGMOID_STEPS - 1  # of the table's entries


@part
def _sigmoid(z: Any, table: Int16s) -> Any:
    """Look up σ in a table of both signs. It needs no branch, and half the time of a table of the positive half."""
    return _i(table[np.uint64(_i(min(max(z, _i(-_LAST)), _i(_LAST)) + _i(_LAST)))])


class _Gates(NamedTuple):
    """What turns products into gates: `shift`, `bias` and `entrance` of the weights, the last as int32, and σ.

    table int16 [16383]   σ from −8 to 8
    """

    shift: Int32s
    entrance: Int32s
    bias: Int32s
    table: Int16s


class _State(NamedTuple):
    """The state of sequences of voxels, for at least as many rows as are in use.

    sums int32 [2·rows, 512]   products of the high halves in the first rows in use, then of the low ones
    halves int8 [2·rows, 128]  high halves of the hidden outputs, then low ones, likewise
    cell int16 [rows, 128]
    hidden int16 [rows, 128]   the hidden outputs
    """

    sums: Int32s
    halves: Int8s
    cell: Int16s
    hidden: Int16s


@entry(allocates=True)
def _advance(value: Int32s, gates: _Gates, state: _State) -> None:
    """Advance rows by one step, after the matrix product. The network reads `value` int32 [rows]."""
    shift, entrance, bias, table = gates
    sums, halves, cell, hidden = state
    rows = value.shape[0]
    z, gate = np.empty(_GATES, np.int32), np.empty(_GATES, np.int32)
    for v in range(rows):
        high, low, x = sums[v], sums[rows + v], value[v]
        for j in range(_GATES):
            recurrent = _i(_i(_i(high[j] << _i(8)) + low[j]) >> ((shift[j] + SPLIT) & 31))
            z[j] = _i(recurrent + _i(_i(_i(x * entrance[j]) + bias[j]) >> _i(VALUE_SHIFT)))
        for j in range(_GATES):
            gate[j] = _sigmoid(z[j], table)
        for j in range(UNITS):
            g = _i(_i(2 * gate[3 * UNITS + j]) - _i(GATE_ONE))
            cell[v, j] = next_cell(gate[j], gate[UNITS + j], g, _i(cell[v, j]))
        for j in range(UNITS):
            squashed = _i(_i(2 * _sigmoid(_i(_i(cell[v, j]) + _i(1)) >> _i(1), table)) - _i(GATE_ONE))
            h = _i(_i(_i(gate[2 * UNITS + j] * squashed) + _i(1 << 14)) >> _i(15))
            h = min(h, _i(HIDDEN_MOST))
            top = _i(_i(h + _i(128)) >> _i(8))
            hidden[v, j], halves[v, j], halves[rows + v, j] = h, top, _i(h - _i(top << _i(8)))


class CpuPaperLstm(reference.ReferencePaperLstm):
    """A network that equals `reference.ReferencePaperLstm` bit for bit, and is much faster."""

    def __init__(self, weights: PaperWeights, make_product: Maker | None = None) -> None:
        super().__init__(weights)
        right = weights.sigmoid.astype(np.int32)
        table = np.concatenate([GATE_ONE - right[:0:-1], right]).astype(np.int16)
        self._gates = _Gates(weights.shift, weights.entrance.astype(np.int32), weights.bias, table)
        self._head = weights.head.astype(np.int64)
        self._scratch = threading.local()  # a `_State` for each calling thread
        use_exact(weights.recurrent, make_product, self._use, weights.name)

    def predict(self, ranks: Levels, limit: int) -> Int32s:
        """Predict ranks; see `reference.ReferencePaperLstm.predict`."""
        output = np.empty(len(ranks), np.int64)
        for a in range(0, len(ranks), CHUNK):
            self._outputs(value_of(ranks[a : a + CHUNK].T, limit), output[a : a + CHUNK])
        return rank_of(output, limit)

    def _outputs(self, values: Int32s, output: Int64s) -> None:
        """Compute the outputs int64 [n] of the network for sequences int32 [K, n]."""
        rows = values.shape[1]
        try:
            state = self._scratch.state
        except AttributeError:
            sums, halves = np.empty((2 * CHUNK, _GATES), np.int32), np.empty((2 * CHUNK, UNITS), np.int8)
            state = self._scratch.state = _State(sums, halves, *np.empty((2, CHUNK, UNITS), np.int16))
        sums, halves = state.sums[: 2 * rows], state.halves[: 2 * rows]
        state.cell[:rows], sums[:] = 0, 0  # before the first voxel: nothing to multiply
        for k, value in enumerate(values):
            if k:
                self._product(halves, sums)
            _advance(value, self._gates, state)
        output[:] = state.hidden[:rows].astype(np.int64) @ self._head + self.weights.head_bias[0]

    def _use(self, product: Product) -> None:
        """Use a product if predictions for some sequences, extremes among them, equal the reference's. Raises
        RuntimeError if they do not."""
        self._product = product
        random = np.random.default_rng(0)
        ranks = random.integers(0, 4096, (40, min(len(self.weights.offsets), 16)))
        ranks[:8] = random.choice([0, 4095], (8, ranks.shape[1]))
        if not np.array_equal(self.predict(ranks, 4095), super().predict(ranks, 4095)):
            raise RuntimeError("it does not give the reference's numbers here")
