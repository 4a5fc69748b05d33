"""The small integers of a slab's side information: variable-length numbers, and Golomb–Rice codes for lists of them."""

from __future__ import annotations

import numpy as np

from .errors import DamagedError

LONGEST = 10  # bytes of a varint


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, least significant first, the top bit set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Takes numbers and bytes from a section; DamagedError where it ends too soon."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = memoryview(data), 0, what

    def varint(self) -> int:
        """One unsigned LEB128 number."""
        value = 0
        for shift in range(0, 7 * LONGEST, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise DamagedError(f"{self._what} has a number of more than {LONGEST} bytes")

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > len(self._data) - self._at:
            raise DamagedError(f"{self._what} ends too soon")
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        """DamagedError if anything is left."""
        if self._at != len(self._data):
            raise DamagedError(f"{self._what} is longer than what it says")


def rice(values: np.ndarray) -> bytes:
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


def unrice(data: bytes, count: int) -> np.ndarray:
    """The inverse of `rice` for `count` values, int64; DamagedError where they are not all there."""
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


def with_length(data: bytes) -> bytes:
    """Bytes after their length."""
    return varint(len(data)) + data
