"""The weights of the lossy codec: read once, checked against their digest."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import DamagedError
from .network import Network
from .postfilter import Filter, check

FILE = Path(__file__).parent.parent / "models" / "lossy-1.npz"
DIGEST = "38386396168df58e848facd3304df3ed2c8cf70e0b430f6f8f575ae9faca8cb4"


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays: names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


@cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        arrays = {name: file[name] for name in file.files}
    if DIGEST and digest(arrays) != DIGEST:
        raise DamagedError(f"{FILE.name} is not the released model; reinstall volcomp")
    return arrays


@cache
def network() -> Network:
    """Return the network of the coefficients."""
    return Network(*(_wide(_arrays()[name]) for name in Network._fields))


@cache
def postfilter() -> Filter:
    """Return the filter after the transform."""
    made = Filter(*(_wide(_arrays()[f"filter_{name}"]) for name in Filter._fields))
    check(made)
    return made


def _wide(array: np.ndarray) -> np.ndarray:
    """Return int32 for stored int16, and bytes as they are."""
    return np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.int32))
