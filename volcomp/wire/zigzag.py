"""Zigzag: signed integers as unsigned ones that keep small ones small: 0, -1, 1, -2, 2, … as 0, 1, 2, 3, 4, …"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = TypeVar("Integers", int, NDArray[np.int64])


def encode(n: Integers) -> Integers:
    """Return 2 n for n >= 0, else -2 n - 1; |n| below 2^62."""
    return (2 * n) ^ (n >> 63)


def decode(n: Integers) -> Integers:
    """Return the integer that `encode` maps to n."""
    return (n >> 1) ^ -(n & 1)
