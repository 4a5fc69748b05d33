"""The weights of the lossy codec: read once, checked against their digest."""

from __future__ import annotations

import hashlib
from functools import cache
from zipfile import BadZipFile

import numpy as np

from .. import models
from ..errors import DamagedError
from .network import Network
from .postfilter import Filter, check


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
    """Read the arrays of the released model. Raises DamagedError if they are others, or cannot be read."""
    name = models.LOSSY.file.name
    try:
        with np.load(models.LOSSY.file) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DamagedError(f"model {name} cannot be read ({error}); reinstall volcomp") from error
    if digest(arrays) != models.LOSSY.digest:
        raise DamagedError(f"model {name} is not the released one; reinstall volcomp")
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
