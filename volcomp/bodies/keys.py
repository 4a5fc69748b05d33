"""Numbers of any type as unsigned integers in the same order, and back: all bits, whatever they mean.

Among floating-point numbers (IEEE 754, 3.4), −0 comes right before +0, and those that are not a number (NaN) beyond the
infinities of their sign, ordered by their payloads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of numbers; their places are part of the format.
TYPES = tuple(
    np.dtype(name) for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
)  # fmt: skip
MANTISSA = {2: 10, 4: 23, 8: 52}  # bits, by the bytes of a floating-point number


def key_type(numbers: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the keys of numbers."""
    return np.dtype(f"<u{numbers.itemsize}")


def to_keys(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the keys of numbers of one of TYPES."""
    keys = numbers.view(key_type(numbers.dtype))
    top = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    if numbers.dtype.kind == "f":
        return np.where(keys & top, ~keys, keys | top)
    return keys ^ top if numbers.dtype.kind == "i" else keys


def from_keys(keys: NDArray[Any], numbers: np.dtype[Any]) -> NDArray[Any]:
    """Return the numbers of a type that have these keys: the inverse of `to_keys`."""
    top = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    if numbers.kind == "f":
        keys = np.where(keys & top, keys ^ top, ~keys)
    elif numbers.kind == "i":
        keys = keys ^ top
    return keys.view(numbers)
