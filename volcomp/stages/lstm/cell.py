"""The arithmetic of one LSTM step after its matrix product, in 32-bit integers. It is part of the format.

Pre-activations are in 1/1024, gates in 1/32768, the cell in 1/4096 within ±8, the output in 1/128.

The gates are quadratic pieces instead of table look-ups: σ(z) ≈ 1/2 + z/4 − z|z|/32 for |z| ≤ 4 and tanh(z) ≈ z −
z|z|/4 for |z| ≤ 2, constant beyond. They are within 0.03 and 0.08 of the true functions and smooth where the pieces
meet. The network is trained with exactly these functions, so nothing is lost. Unlike look-ups they run on vector units
and need no memory on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import part

GATE_ONE = 1 << 15
CELL_LIMIT = 32767
OUTPUT_LIMIT = 127

_i = np.int32  # numba widens int32 arithmetic to 64 bits; with every result cast to int32 the loops use 32-bit lanes


@part
def scaled(accumulator: Any, shift: Any) -> Any:
    """Convert an accumulator, whose unit is 2^-(7 + shift) with shift 0 … 7, to a pre-activation in 1/1024."""
    return _i(_i(accumulator * _i(8)) >> (shift & 7))  # the mask proves a shift below 32: lanes stay at 32 bits


@part
def sigmoid(z: Any) -> Any:
    """Compute 1/2 + z/4 − z|z|/32 in 1/32768 from z in 1/1024: 16384 + 8z − (z|z| >> 10) in fewer instructions."""
    z = _i(min(max(z, _i(-4096)), _i(4096)))
    return _i(_i(_i(z * _i(_i(8192) - _i(abs(z)))) + _i((16384 << 10) + 1023)) >> _i(10))


@part
def tanh(z: Any) -> Any:
    """Compute z − z|z|/4 in 1/32768 from z in 1/1024: 32z − (z|z| >> 7) in fewer instructions."""
    z = _i(min(max(z, _i(-2048)), _i(2048)))
    return _i(_i(_i(z * _i(_i(4096) - _i(abs(z)))) + _i(127)) >> _i(7))


@part
def next_cell(i: Any, f: Any, g: Any, cell: Any) -> Any:
    """Compute f·cell + i·g, rounded, within ±8."""
    c = _i(_i(_i(f * cell) + _i(_i(_i(i * g) >> _i(3)) + _i(16384))) >> _i(15))
    return _i(min(max(c, _i(-CELL_LIMIT)), _i(CELL_LIMIT)))


@part
def output(o: Any, squashed_cell: Any) -> Any:
    """Compute o·tanh(cell), rounded to 1/128, within ±127."""
    return _i(min(_i(_i(_i(o * squashed_cell) + _i(1 << 22)) >> _i(23)), _i(OUTPUT_LIMIT)))


@part
def step(z: Any, shift: Any, cell: Any, hidden: Any) -> None:
    """Compute gates, cell and output of one row.

    z int32 [4h]       the matrix product, gates in the order i, f, o, g
    shift int32 [4h]   of each column
    cell int16 [h]     in and out
    hidden int8 [h]    out
    """
    h = cell.shape[0]
    for j in range(h):
        i = sigmoid(scaled(z[j], shift[j]))
        f = sigmoid(scaled(z[h + j], shift[h + j]))
        o = sigmoid(scaled(z[2 * h + j], shift[2 * h + j]))
        g = tanh(scaled(z[3 * h + j], shift[3 * h + j]))
        cell[j] = next_cell(i, f, g, _i(cell[j]))
        hidden[j] = output(o, tanh(_i(_i(cell[j]) >> _i(2))))
