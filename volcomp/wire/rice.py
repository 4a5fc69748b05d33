"""Golomb–Rice codes: lists of small integers in a slab's side information."""

from __future__ import annotations

import numpy as np

from ..dtypes import Int64s, Integers
from ..errors import DamagedError
from . import zigzag


def encode(values: Integers) -> bytes:
    """Encode signed integers as Golomb–Rice codes.

    A byte has the parameter k. Then each value n, in its zigzag form, is written as n >> k in unary (ones, ended by a
    zero) and k bits, least significant first. Zeros fill the last byte.
    """
    folded = zigzag.encode(values.astype(np.int64).ravel())
    k = min(range(20), key=lambda k: int(((folded >> k) + 1 + k).sum()))
    quotient = folded >> k
    starts = np.cumsum(quotient + 1 + k) - (quotient + 1 + k)
    bits = np.zeros(int((quotient + 1 + k).sum()), np.uint8)
    ones = np.repeat(starts, quotient) + np.arange(quotient.sum()) - np.repeat(np.cumsum(quotient) - quotient, quotient)
    bits[ones] = 1
    for b in range(k):
        bits[starts + quotient + 1 + b] = (folded >> b) & 1
    return bytes([k]) + np.packbits(bits, bitorder="little").tobytes()


def decode(data: bytes, count: int) -> Int64s:
    """Decode `count` values, int64; DamagedError where `data` ends before them."""
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
        folded = (end - 1 - at) << k
        for b in range(k):
            folded |= int(bits[end + b]) << b
        values[n] = zigzag.decode(folded)
        at = end + k
    return values
