"""Corrections of predicted symbols, as an adaptive binary arithmetic code.

For every symbol a bit says whether the prediction holds, which costs next to nothing where it mostly does; where it
does not, the symbol follows. All is bounded: a code that ends is followed by zeros, which mean that predictions hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import part

ONE, RATE = 1 << 16, 6  # of probabilities, and how fast they follow
LOW, RANGE, CACHE, PENDING, AT, WRONG, STARTED = range(7)  # the state; an encoder's, but a decoder's LOW is its value
_TOP = 1 << 32
CLASSES = 8  # of predictions: a literal, matches of 3, 4, 5, 6, 7 or 8, up to 16, and more bytes
# Where the contexts of each decision begin
HOLDS = 0
IS_LITERAL = HOLDS + 8 * CLASSES
SAME_LENGTH = IS_LITERAL + CLASSES
SAME_DISTANCE = SAME_LENGTH + CLASSES
LENGTHS = SAME_DISTANCE + CLASSES
SIZES = LENGTHS + 2 * 256
CONTEXTS = SIZES + 16


class Code(NamedTuple):
    """A code that is written or read.

    data uint8           the code; an encoder's has room, and what does not fit is lost: then AT is above its size
    chances int64        of a 0 in each context, in units of 1 / ONE
    state int64 [7]
    """

    data: np.ndarray
    chances: np.ndarray
    state: np.ndarray


def writer(room: int) -> Code:
    """Begin a code of `room` bytes at most."""
    state = np.zeros(7, np.int64)
    state[RANGE] = _TOP - 1
    return Code(np.zeros(room, np.uint8), np.full(CONTEXTS, ONE // 2, np.int64), state)


def reader(data: bytes) -> Code:
    """Begin to read a code."""
    state = np.zeros(7, np.int64)
    state[RANGE] = _TOP - 1
    state[LOW], state[AT] = int.from_bytes(data[:4].ljust(4, b"\0"), "big"), 4
    return Code(np.array(bytearray(data), np.uint8), np.full(CONTEXTS, ONE // 2, np.int64), state)


@part
def _byte(code: Code, value: Any) -> None:
    """Append a byte to a code, but for the first one, which is always 0."""
    state = code.state
    if state[STARTED] and state[AT] < code.data.shape[0]:
        code.data[state[AT]] = value
    state[AT] += state[STARTED]
    state[STARTED] = 1


@part
def shift(code: Code) -> None:
    """Write the highest byte of an encoder's number, once no carry can reach it."""
    state = code.state
    low = state[LOW]
    if low < 0xFF000000 or low >= _TOP:
        carry = low >> 32
        _byte(code, (state[CACHE] + carry) & 255)
        while state[PENDING] > 0:
            _byte(code, (255 + carry) & 255)
            state[PENDING] -= 1
        state[CACHE] = low >> 24 & 255
    else:
        state[PENDING] += 1
    state[LOW] = (low & 0xFFFFFF) << 8


@part
def _next(code: Code, writes: bool) -> None:
    """Widen the range again."""
    state = code.state
    while state[RANGE] < 1 << 24:
        state[RANGE] <<= 8
        if writes:
            shift(code)
        else:
            value = np.int64(0)
            if state[AT] < code.data.shape[0]:
                value = np.int64(code.data[np.uint64(state[AT])])
            state[AT] += 1
            state[LOW] = state[LOW] << 8 | value


@part
def bit(code: Code, writes: bool, context: Any, value: Any) -> Any:
    """Write or read a bit in a context; `value` matters to a writer alone."""
    state = code.state
    chance = code.chances[np.uint64(context)]
    bound = (state[RANGE] >> 16) * chance
    if not writes:
        value = np.int64(state[LOW] >= bound)
    if value:
        state[LOW] += bound if writes else -bound
        state[RANGE] -= bound
        code.chances[np.uint64(context)] = chance - (chance >> RATE)
    else:
        state[RANGE] = bound
        code.chances[np.uint64(context)] = chance + ((ONE - chance) >> RATE)
    _next(code, writes)
    return value


@part
def _even(code: Code, writes: bool, value: Any) -> Any:
    """Write or read a bit that is as likely 0 as 1."""
    state = code.state
    bound = state[RANGE] >> 1
    if not writes:
        value = np.int64(state[LOW] >= bound)
    if value:
        state[LOW] += bound if writes else -bound
        state[RANGE] -= bound
    else:
        state[RANGE] = bound
    _next(code, writes)
    return value


@part
def _number(code: Code, writes: bool, context: Any, bits: Any, value: Any) -> Any:
    """Write or read a number of some bits, the highest first, each in the context of those before."""
    node = context * 0 + 1
    for n in range(bits - 1, -1, -1):
        node = node << 1 | bit(code, writes, context + node, value >> n & 1)
    return node - (1 << bits)


@part
def _class(length: Any) -> Any:
    """Return the class of a prediction."""
    if length < 3:
        return length * 0
    if length < 7:
        return length - 2
    return length * 0 + (5 if length < 9 else 6 if length < 17 else 7)


@part
def correct(
    code: Code, writes: bool, predicted: Any, away: Any, length: Any, distance: Any
) -> tuple[Any, Any]:  # fmt: skip
    """Write or read what comes instead of a predicted symbol, of length and distance `predicted`, `away`.

    Returns the symbol, `length` and `distance`, which matter to a writer alone. What a reader gets may make no sense.
    """
    state = code.state
    kind = _class(predicted)
    wrong = np.int64(length != predicted or (length > 1 and distance != away))
    wrong = bit(code, writes, HOLDS + 8 * kind + state[WRONG], wrong)
    state[WRONG] = (state[WRONG] << 1 | wrong) & 7
    if wrong == 0:
        return predicted, away
    is_match = predicted > 1
    if is_match and bit(code, writes, IS_LITERAL + kind, np.int64(length == 1)):
        return predicted * 0 + 1, away * 0
    same = np.int64(0)
    if is_match:
        same = bit(code, writes, SAME_LENGTH + kind, np.int64(length == predicted))
    if same:
        length = predicted
    else:
        length = 3 + _number(code, writes, np.int64(LENGTHS + 256 * is_match), np.int64(8), length - 3)
        if is_match and bit(code, writes, SAME_DISTANCE + kind, np.int64(distance == away)):
            return length, away
    size = np.int64(0)
    if writes:
        while distance >> (size + 1) > 0:
            size += 1
    size = _number(code, writes, np.int64(SIZES), np.int64(4), size)
    value = np.int64(1)
    for n in range(size - 1, -1, -1):
        value = value << 1 | _even(code, writes, distance >> n & 1)
    return length, value
