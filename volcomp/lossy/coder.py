"""A binary arithmetic coder in integers (J. Rissanen, G. Langdon, 1979): bits with probabilities in 2^-16, and bytes.

The interval is [low, low + range) of 56 bits. A carry goes back into the bytes that are already written. What follows
the last byte is read as zeros, so zeros at the end are not kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import Int64s, UInt8s
from ..runtime.compiled import entry, part

PROBABILITY = 16  # bits
WINDOW, SMALLEST = 56, 48  # bits of the interval; of the smallest range, after which a byte is moved out
WINDOW_MASK = (1 << WINDOW) - 1
STRIPPED = 8  # most zeros at the end that are not kept
BEYOND = WINDOW // 8 + STRIPPED  # bytes that a decoder may read beyond the end
LOW, RANGE, AT = 0, 1, 2  # of an encoder's state; a decoder has the place in the interval instead of LOW


def encoder() -> Int64s:
    """Return the state int64 [3] of an encoder that has written nothing."""
    return np.array([0, WINDOW_MASK, 0], np.int64)


def decoder(data: UInt8s) -> Int64s:
    """Return the state int64 [3] of a decoder of `data`."""
    first = data[: WINDOW // 8].tobytes().ljust(WINDOW // 8, b"\0")
    return np.array([int.from_bytes(first, "big"), WINDOW_MASK, WINDOW // 8], np.int64)


@part
def put(state: Any, out: Any, bit: Any, probability: Any) -> None:
    """Write a bit that is 1 with a probability of 1 … 2^16 − 1. Bytes that do not fit into `out` are only counted."""
    bound = (state[RANGE] >> PROBABILITY) * probability
    if bit:
        state[RANGE] = bound
    else:
        state[LOW] += bound
        state[RANGE] -= bound
        if state[LOW] > WINDOW_MASK:
            state[LOW] &= WINDOW_MASK
            at = min(state[AT], out.shape[0]) - 1
            while at >= 0 and out[at] == 255:
                out[at] = 0
                at -= 1
            if at >= 0:
                out[at] += 1
    while state[RANGE] < np.int64(1) << SMALLEST:
        if state[AT] < out.shape[0]:
            out[state[AT]] = state[LOW] >> SMALLEST
        state[AT] += 1
        state[LOW] = (state[LOW] << 8) & WINDOW_MASK
        state[RANGE] <<= 8


@part
def get(state: Any, data: Any, probability: Any) -> Any:
    """Read a bit."""
    bound = (state[RANGE] >> PROBABILITY) * probability
    if state[LOW] < bound:
        bit = 1
        state[RANGE] = bound
    else:
        bit = 0
        state[LOW] -= bound
        state[RANGE] -= bound
    while state[RANGE] < np.int64(1) << SMALLEST:
        byte = np.int64(0)
        if state[AT] < data.shape[0]:
            byte = np.int64(data[state[AT]])
        state[AT] += 1
        state[LOW] = (state[LOW] << 8) | byte
        state[RANGE] <<= 8
    return bit


@entry
def finish(state: Int64s, out: UInt8s) -> int:
    """Write the shortest bytes that lie in the interval; return how many bytes there are.

    Zeros at the end, at most STRIPPED, are not among them, since a decoder reads them all the same.
    """
    low, size = state[LOW], state[RANGE]
    value, kept = low, np.int64(0)
    for bits in range(WINDOW, -1, -8):  # the more low bits are zeros, the fewer bytes are kept
        rounded = ((low + (np.int64(1) << bits) - 1) >> bits) << bits
        if rounded < low + size:
            value, kept = rounded, np.int64(WINDOW - bits)
            break
    at = state[AT]
    if value > WINDOW_MASK:
        value &= WINDOW_MASK
        back = min(at, out.shape[0]) - 1
        while back >= 0 and out[back] == 255:
            out[back] = 0
            back -= 1
        if back >= 0:
            out[back] += 1
    for i in range(kept // 8):
        if at < out.shape[0]:
            out[at] = (value >> (SMALLEST - 8 * i)) & 255
        at += 1
    stripped = 0
    while stripped < STRIPPED and 0 < at <= out.shape[0] and out[at - 1] == 0:
        at -= 1
        stripped += 1
    return int(at)
