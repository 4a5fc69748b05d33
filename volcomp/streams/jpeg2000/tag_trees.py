"""Tag trees (ITU-T T.800, B.10.2), and the bits of packet headers (B.10.1).

A tree's nodes lie level by level, the leaves first, row by row. `states` int32 holds twice the value that a node is
known to have at least, plus 1 where that is its value. The bits' state `bits` int64 [BITS] is described at its indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import part
from ...runtime.scalars import larger, smaller

AT, END, BYTE, LEFT, ERROR = range(
    5
)  # next byte, where bytes end, the current byte, its bits that are left, 1 if damaged
BITS = 5


@part
def size(high: Any, wide: Any) -> Any:
    """Return how many nodes a tree over leaves [high, wide] has."""
    if high * wide == 0:
        return 0
    nodes = high * wide
    while high * wide > 1:
        high, wide = (high + 1) >> 1, (wide + 1) >> 1
        nodes += high * wide
    return nodes


@part
def depth(high: Any, wide: Any) -> Any:
    """Return how many levels lie above the leaves."""
    levels = 0
    while high * wide > 1:
        high, wide = (high + 1) >> 1, (wide + 1) >> 1
        levels += 1
    return levels


@part
def node(high: Any, wide: Any, level: Any, y: Any, x: Any) -> Any:
    """Return the number of the node above leaf (y, x) at a level."""
    first = 0
    for _ in range(level):
        first += high * wide
        high, wide = (high + 1) >> 1, (wide + 1) >> 1
    return first + (y >> level) * wide + (x >> level)


@part
def fill(values: np.ndarray, high: Any, wide: Any) -> None:
    """Write the values of all nodes above the leaves: the least of those below."""
    first = 0
    while high * wide > 1:
        up, across = (high + 1) >> 1, (wide + 1) >> 1
        above = first + high * wide
        for y in range(up):
            for x in range(across):
                least = values[first + 2 * y * wide + 2 * x]
                for j in range(2 * y, smaller(2 * y + 2, high)):
                    for i in range(2 * x, smaller(2 * x + 2, wide)):
                        least = smaller(least, values[first + j * wide + i])
                values[above + y * across + x] = least
        first, high, wide = above, up, across


@part
def begin(bits: np.ndarray, at: Any, end: Any) -> None:
    """Begin with the bits at a position."""
    bits[AT], bits[END], bits[BYTE], bits[LEFT], bits[ERROR] = at, end, 0, 0, 0


@part
def get(data: np.ndarray, bits: np.ndarray) -> Any:
    """Read a bit. Beyond the end bits are 0, and the error is set."""
    if bits[LEFT] == 0:
        if bits[AT] >= bits[END]:
            bits[ERROR] = 1
            return np.int64(0)
        bits[LEFT] = 7 if bits[BYTE] == 0xFF else 8
        bits[BYTE] = data[bits[AT]]
        bits[AT] += 1
    bits[LEFT] -= 1
    return bits[BYTE] >> bits[LEFT] & 1


@part
def get_number(data: np.ndarray, bits: np.ndarray, count: Any) -> Any:
    """Read a number of some bits, the highest first."""
    value = np.int64(0)
    for _ in range(count):
        value = value << 1 | get(data, bits)
    return value


@part
def end_of_reading(bits: np.ndarray) -> Any:
    """Return the position after the last byte: a byte 0xFF is never the last."""
    if bits[BYTE] == 0xFF:
        bits[AT] += 1
        if bits[AT] > bits[END]:
            bits[ERROR] = 1
    return bits[AT]


@part
def read(
    data: np.ndarray, bits: np.ndarray, states: np.ndarray, high: Any, wide: Any, y: Any, x: Any, threshold: Any
) -> Any:
    """Read until leaf (y, x) is known or known to reach the threshold; returns its value, or else the threshold."""
    least = 0
    for level in range(depth(high, wide), -1, -1):
        here = node(high, wide, level, y, x)
        state = larger(np.int64(states[here]), 2 * least)
        while state < 2 * threshold and not state & 1:
            if get(data, bits):
                state |= 1
            elif bits[ERROR]:
                break
            else:
                state += 2
        states[here] = state
        least = state >> 1
    return smaller(least, threshold)


@part
def put(out: np.ndarray, bits: np.ndarray, bit: Any) -> None:
    """Write a bit."""
    if bits[LEFT] == 0:
        bits[LEFT] = 7 if bits[BYTE] == 0xFF else 8
        bits[BYTE] = 0
        bits[AT] += 1
    bits[LEFT] -= 1
    bits[BYTE] |= bit << bits[LEFT]
    out[bits[AT] - 1] = bits[BYTE]


@part
def put_number(out: np.ndarray, bits: np.ndarray, value: Any, count: Any) -> None:
    """Write a number in some bits, the highest first."""
    for n in range(count - 1, -1, -1):
        put(out, bits, value >> n & 1)


@part
def end_of_writing(out: np.ndarray, bits: np.ndarray) -> Any:
    """Return the position after the last byte."""
    if bits[BYTE] == 0xFF:
        out[bits[AT]] = 0
        bits[AT] += 1
    return bits[AT]


@part
def write(
    out: np.ndarray, bits: np.ndarray, states: np.ndarray, values: np.ndarray, high: Any, wide: Any, y: Any, x: Any,
    threshold: Any,
) -> None:  # fmt: skip
    """Write what `read` reads, given the values of all nodes."""
    least = 0
    for level in range(depth(high, wide), -1, -1):
        here = node(high, wide, level, y, x)
        state = larger(np.int64(states[here]), 2 * least)
        while state < 2 * threshold and not state & 1:
            if state >> 1 >= values[here]:
                put(out, bits, 1)
                state |= 1
            else:
                put(out, bits, 0)
                state += 2
        states[here] = state
        least = state >> 1
