"""Weight delta: what a model that is fine-tuned to one volume changes in a released model.

It is side information of a few hundred bytes, or of several thousand where every weight may change. It has three
layers, each optional. *Gains* multiply whole rows and columns of the weights; these few hundred numbers achieve most of
what fine-tuning can. Weights and biases of the head are sent as differences. Single weights are sent as differences as
well, by an adaptive binary coder, because most do not change. All numbers are integers, so a fine-tuned model is as
exact as a released one, and `LstmWeights` proves for it as well that no sum can overflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..constants import WEIGHT_LIMIT
from ..dtypes import Int64s, Integers, UInt8s
from ..errors import DamagedError
from ..runtime.compiled import entry
from ..wire import rice
from ..wire.cursor import Cursor, string
from .lstm.weights import LstmWeights

GAIN_BITS = 6  # a gain of 64 is 1.0; the file holds its difference to 64
GAIN_LIMIT = 32  # gains are 1/2 to 3/2
MAGNITUDES = 16  # contexts of the bits that continue the size of a difference


@dataclass(frozen=True)
class WeightDelta:
    """The changes of a fine-tuned model.

    rows int64 [inputs + h], columns int64 [4h]   gains minus 1, in 1/64, within ±GAIN_LIMIT
    head int64 [2, n], bias int64 [2]             added to those of the released model
    weights int64 [inputs + h, 4h]                added after the gains have been applied
    """

    rows: Int64s
    columns: Int64s
    head: Int64s
    bias: Int64s
    weights: Int64s


def gained(weights: Integers, rows: Int64s, columns: Int64s) -> Int64s:
    """Multiply weights int64 [r, c] by the gains of rows [r] and columns [c]; rounded, clipped to ±WEIGHT_LIMIT."""
    one = 1 << GAIN_BITS
    product = weights.astype(np.int64) * (one + rows[:, None]) * (one + columns)
    return np.clip((product + one * one // 2) >> (2 * GAIN_BITS), -WEIGHT_LIMIT, WEIGHT_LIMIT)


def apply(released: LstmWeights, d: WeightDelta) -> LstmWeights:
    """Return the fine-tuned model; DamagedError if it is not sound."""
    if max(np.abs(d.rows).max(), np.abs(d.columns).max()) > GAIN_LIMIT:
        most = f"{GAIN_LIMIT}/{1 << GAIN_BITS}"
        raise DamagedError(f"the fine-tuned model has gains that differ from 1 by more than {most}")
    weights = gained(released.weights, d.rows, d.columns) + d.weights
    head, bias = released.head + d.head, released.bias + d.bias
    for array, kind in ((weights, np.int8), (head, np.int16), (bias, np.int32)):
        if array.min() < np.iinfo(kind).min or array.max() > np.iinfo(kind).max:
            raise DamagedError(f"the fine-tuned model has numbers that {np.dtype(kind)} does not hold")
    return replace(
        released,
        name=f"{released.name}, fine-tuned",
        weights=weights.astype(np.int8),
        head=head.astype(np.int16),
        bias=bias.astype(np.int32),
    )


def to_bytes(d: WeightDelta) -> bytes:
    """Serialise a delta: a list for each of the small parts, empty if all its numbers are 0, then the coded weights."""
    lists = [string(rice.encode(part) if part.any() else b"") for part in (d.rows, d.columns, d.head, d.bias)]
    return b"".join(lists) + (_encode(d.weights) if d.weights.any() else b"")


def from_bytes(data: bytes, released: LstmWeights) -> WeightDelta:
    """Read a delta to the given released model; DamagedError if no encoder can have written it."""
    reader = Cursor(data, "the fine-tuned model")
    rows, columns = released.weights.shape
    shapes = ((rows,), (columns,), released.head.shape, released.bias.shape)
    parts = [_listed(reader.string(), shape) for shape in shapes]
    coded = reader.rest()
    weights = _decode(coded, released.weights.shape)
    d = WeightDelta(parts[0], parts[1], parts[2], parts[3], weights)
    if to_bytes(d) != data:  # a delta has one serialisation
        raise reader.damaged()
    return d


def _listed(data: bytes, shape: tuple[int, ...]) -> Int64s:
    size = int(np.prod(shape))
    return (rice.decode(data, size) if data else np.zeros(size, np.int64)).reshape(shape)


# ----------------------------------------------------------------------------------------- the coder of single weights
#
# A binary arithmetic coder (carryless, 32 bits, after Mahoney's lpaq) with adaptive probabilities. Fine-tuning changes
# some units of the network more than others, and some inputs more than others. The chance that a weight differs is
# therefore estimated as  (share of its column) · (share of its row) / (share of all).

LOW, HIGH, CODE, POSITION = range(4)  # fields of the coder's state int64 [4]
TOP = 0xFFFFFFFF


@entry
def _bit(bit: Any, chance: int, state: Int64s, data: UInt8s, writing: bool) -> int:
    """Write or read a bit that is 1 with probability `chance` / 2^16; returns the bit. Reading past the data gives
    zeros."""
    middle = state[LOW] + ((state[HIGH] - state[LOW]) >> 16) * chance
    if not writing:
        bit = 1 if state[CODE] <= middle else 0
    if bit:
        state[HIGH] = middle
    else:
        state[LOW] = middle + 1
    while (state[LOW] ^ state[HIGH]) >> 24 == 0:
        at = state[POSITION]
        if writing:
            data[at] = state[HIGH] >> 24
        else:
            state[CODE] = (state[CODE] << 8) & TOP | (data[at] if at < data.shape[0] else 0)
        state[POSITION] += 1
        state[LOW] = (state[LOW] << 8) & TOP
        state[HIGH] = (state[HIGH] << 8) & TOP | 255
    return bit


@entry
def _counted(bit: Any, counts: Int64s, state: Int64s, data: UInt8s, writing: bool) -> int:
    """Write or read a bit whose probability follows from `counts` int64 [2] of zeros and ones; counts the bit."""
    chance = (counts[1] << 16) // (counts[0] + counts[1])
    bit = _bit(bit, min(max(chance, 64), 65472), state, data, writing)
    counts[bit] += 1
    return bit


@entry(allocates=True)
def _code(d: Int64s, state: Int64s, data: UInt8s, writing: bool) -> None:
    """Write all differences int64 [r, c] to `data` uint8, or read them from it: both directions take the same steps."""
    in_column = np.zeros(d.shape[1], np.int64)  # how many weights differ, by column
    in_all = 0  # how many weights differ altogether
    seen = 0  # rows in which any weight differs
    rows, sizes = np.ones(2, np.int64), np.ones((MAGNITUDES + 1, 2), np.int64)
    for i in range(d.shape[0]):
        if not _counted(np.any(d[i] != 0), rows, state, data, writing):
            continue
        in_row = 0
        for j in range(d.shape[1]):
            share = max(((in_all + 1) << 16) // (seen * d.shape[1] + j + 8), 1)
            of_column = ((in_column[j] << 16) + 4 * share) // (seen + 4)
            of_row = ((in_row << 16) + 16 * share) // (j + 16)
            chance = min(max(of_column * of_row // share, 64), 65472)
            if not _bit(d[i, j] != 0, chance, state, data, writing):
                continue
            in_column[j] += 1
            in_row += 1
            in_all += 1
            negative = _bit(d[i, j] < 0, 1 << 15, state, data, writing)
            size = 1
            while size < 2 * WEIGHT_LIMIT and _counted(
                abs(d[i, j]) > size, sizes[min(size, MAGNITUDES)], state, data, writing
            ):
                size += 1
            d[i, j] = -size if negative else size
        seen += 1


def _encode(d: Int64s) -> bytes:
    # Enough for the worst case: no bit takes more than four bytes. A weight has a bit for its flag, one for its sign,
    # and one for each step of its size.
    data = np.zeros(64 + 4 * d.shape[0] + 4 * int((2 + np.abs(d)).sum()), np.uint8)
    state = np.array([0, TOP, 0, 0], np.int64)
    _code(d.copy(), state, data, True)
    # Take the fewest bytes that lie between low and high when zeros follow.
    ends = [(count, int(state[HIGH]) & TOP - (TOP >> 8 * count)) for count in range(5)]
    count, end = next((count, end) for count, end in ends if end >= state[LOW])
    return data[: state[POSITION]].tobytes() + end.to_bytes(4, "big")[:count]


def _decode(data: bytes, shape: tuple[int, ...]) -> Int64s:
    d = np.zeros(shape, np.int64)
    if data:
        coded = np.frombuffer(data, np.uint8).copy()
        first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        _code(d, np.array([0, TOP, first, 4], np.int64), coded, False)
    return d
