"""Golomb–Rice codes: lists of small integers in a slab's side information."""

from __future__ import annotations

import numpy as np

from ..errors import DamagedError


def encode(values: np.ndarray) -> bytes:
    """Signed integers as Golomb–Rice codes: a byte with the parameter k, then for each value its zigzag form, as value
    >> k in unary (ones ended by a zero) and k bits, least significant first; padded to whole bytes with zeros."""
    flat = values.astype(np.int64).ravel()
    zigzag = np.where(flat < 0, -2 * flat - 1, 2 * flat)
    k = min(range(20), key=lambda k: int(((zigzag >> k) + 1 + k).sum()))
    quotient = zigzag >> k
    starts = np.cumsum(quotient + 1 + k) - (quotient + 1 + k)
    bits = np.zeros(int((quotient + 1 + k).sum()), np.uint8)
    ones = np.repeat(starts, quotient) + np.arange(quotient.sum()) - np.repeat(np.cumsum(quotient) - quotient, quotient)
    bits[ones] = 1
    for b in range(k):
        bits[starts + quotient + 1 + b] = (zigzag >> b) & 1
    return bytes([k]) + np.packbits(bits, bitorder="little").tobytes()


def decode(data: bytes, count: int) -> np.ndarray:
    """The inverse of `encode` for `count` values, int64; DamagedError where they are not all there."""
    if not data or data[0] > 20 or count > 8 * len(data):
        raise DamagedError("a list of numbers is cut short")
    k = data[0]
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=1), bitorder="little")
    values = np.empty(count, np.int64)
    at = 0
    zeros = np.flatnonzero(bits == 0)
    for n in range(count):
        z = np.searchsorted(zeros, at)
        if z == zeros.size or zeros[z] + k >= bits.size + (k == 0):
            raise DamagedError("a list of numbers is cut short")
        end = int(zeros[z]) + 1
        zigzag = (end - 1 - at) << k
        for b in range(k):
            zigzag |= int(bits[end + b]) << b
        values[n] = -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2
        at = end + k
    return values
