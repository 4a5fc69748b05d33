"""A model fitted to one volume, as what it differs in from a released one: side information of a few hundred bytes, or
of several thousand where every weight may differ.

Three layers, each optional: *gains* multiply whole rows and columns of the weights (a few hundred numbers that do most
of what a fit can do); the head's weights and biases are sent as differences; and so are single weights, of which most
stay as they are. Those go through an adaptive binary coder. All of it is integers, so a fitted model is as exact as a
released one, and `Weights` proves of it, too, that no sum can overflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..constants import WEIGHT_LIMIT
from ..errors import DamagedError
from ..runtime.compiled import entry
from ..wire import rice
from ..wire.cursor import Cursor, string
from .lstm.weights import Weights

GAIN_BITS = 6  # a gain of 64 is 1.0: what is sent is how far it lies from that
GAIN_LIMIT = 32  # so gains are 1/2 to 3/2
MAGNITUDES = 16  # contexts for "is the difference larger still?"


@dataclass(frozen=True)
class Differences:
    """What a fitted model differs in.

    rows int64 [inputs + h], columns int64 [4h]   gains minus 1, in 1/64, within ±GAIN_LIMIT
    head int64 [2, n], bias int64 [2]             to be added
    weights int64 [inputs + h, 4h]                to be added, once the gains have done their work
    """

    rows: np.ndarray
    columns: np.ndarray
    head: np.ndarray
    bias: np.ndarray
    weights: np.ndarray


def gained(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weights int64 [r, c] times the gains of rows [r] and columns [c], rounded, within ±WEIGHT_LIMIT."""
    one = 1 << GAIN_BITS
    product = weights.astype(np.int64) * (one + rows[:, None]) * (one + columns)
    return np.clip((product + one * one // 2) >> (2 * GAIN_BITS), -WEIGHT_LIMIT, WEIGHT_LIMIT)


def apply(released: Weights, d: Differences) -> Weights:
    """The fitted model; DamagedError where it is not sound."""
    if max(np.abs(d.rows).max(), np.abs(d.columns).max()) > GAIN_LIMIT:
        raise DamagedError(f"the fitted model has gains that differ from 1 by more than {GAIN_LIMIT}/{1 << GAIN_BITS}")
    weights = gained(released.weights, d.rows, d.columns) + d.weights
    head, bias = released.head + d.head, released.bias + d.bias
    for array, kind in ((weights, np.int8), (head, np.int16), (bias, np.int32)):
        if array.min() < np.iinfo(kind).min or array.max() > np.iinfo(kind).max:
            raise DamagedError(f"the fitted model has numbers that {np.dtype(kind)} does not hold")
    return replace(
        released,
        name=f"{released.name}, fitted",
        weights=weights.astype(np.int8),
        head=head.astype(np.int16),
        bias=bias.astype(np.int32),
    )


def to_bytes(d: Differences) -> bytes:
    """Side information: a list for each of the small parts, empty where nothing differs, then the coded weights."""
    lists = [string(rice.encode(part) if part.any() else b"") for part in (d.rows, d.columns, d.head, d.bias)]
    return b"".join(lists) + (_encode(d.weights) if d.weights.any() else b"")


def from_bytes(data: bytes, released: Weights) -> Differences:
    """The inverse, for differences to a certain model; DamagedError where no encoder writes them."""
    reader = Cursor(data, "the fitted model")
    rows, columns = released.weights.shape
    shapes = ((rows,), (columns,), released.head.shape, released.bias.shape)
    parts = [_listed(reader.string(), shape) for shape in shapes]
    coded = reader.rest()
    weights = _decode(coded, released.weights.shape)
    d = Differences(parts[0], parts[1], parts[2], parts[3], weights)
    if to_bytes(d) != data:  # one fit has one coding
        raise reader.damaged()
    return d


def _listed(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return (rice.decode(data, size) if data else np.zeros(size, np.int64)).reshape(shape)


# ----------------------------------------------------------------------------------------- the coder of single weights
#
# A binary arithmetic coder (carryless, 32 bits, after Mahoney's lpaq) under probabilities that follow what was coded:
# units of the network differ in how much a fit moves them, and so do inputs, so the chance that a weight differs is
# taken as  (share of its column) · (share of its row) / (share of all).

LOW, HIGH, CODE, POSITION = range(4)  # of the coder's state int64 [4]
TOP = 0xFFFFFFFF


@entry
def _bit(bit: Any, chance: int, state: np.ndarray, data: np.ndarray, writing: bool) -> int:
    """Write a bit, or read one, whose chance to be 1 is `chance` in 2^16; returns it. What lies after the data reads
    as zeros."""
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
def _counted(bit: Any, counts: np.ndarray, state: np.ndarray, data: np.ndarray, writing: bool) -> int:
    """The same, with the chance that `counts` int64 [2] of zeros and ones say; counts the bit."""
    chance = (counts[1] << 16) // (counts[0] + counts[1])
    bit = _bit(bit, min(max(chance, 64), 65472), state, data, writing)
    counts[bit] += 1
    return bit


@entry(allocates=True)
def _walk(d: np.ndarray, state: np.ndarray, data: np.ndarray, writing: bool) -> None:
    """All differences int64 [r, c] to `data` uint8, or from it: the same steps in both directions."""
    in_column = np.zeros(d.shape[1], np.int64)  # weights that differ, of each column,
    in_all = 0  # and of all, in the `seen` rows that have any
    seen = 0
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


def _encode(d: np.ndarray) -> bytes:
    # Room for the worst: no bit takes more than four bytes; a weight has its flag, its sign, and one for every step of
    # its size.
    data = np.zeros(64 + 4 * d.shape[0] + 4 * int((2 + np.abs(d)).sum()), np.uint8)
    state = np.array([0, TOP, 0, 0], np.int64)
    _walk(d.copy(), state, data, True)
    # The fewest bytes that, followed by zeros, lie between low and high.
    ends = [(count, int(state[HIGH]) & TOP - (TOP >> 8 * count)) for count in range(5)]
    count, end = next((count, end) for count, end in ends if end >= state[LOW])
    return data[: state[POSITION]].tobytes() + end.to_bytes(4, "big")[:count]


def _decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    d = np.zeros(shape, np.int64)
    if data:
        coded = np.frombuffer(data, np.uint8).copy()
        first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        _walk(d, np.array([0, TOP, first, 4], np.int64), coded, False)
    return d
