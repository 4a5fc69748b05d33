"""The weights of the lossy codec: read once, checked against their digest."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import DamagedError
from .network import Network

FILE = Path(__file__).parent.parent / "models" / "lossy-1.npz"
DIGEST = ""


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
    arrays = _arrays()
    return Network(*(np.ascontiguousarray(arrays[name].astype(np.int32)) if name != "magnitudes" else arrays[name] for name in Network._fields))
