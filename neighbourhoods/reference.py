"""The definition of a neighbourhood's values, one voxel at a time in plain Python. `extract.py` must equal it."""

from __future__ import annotations

import numpy as np

from .offsets import Neighbourhood


def neighbours(volume: np.ndarray, z: int, y: int, x: int, offsets: Neighbourhood, constant: int = 0) -> list[int]:
    """Read the values at all offsets from voxel (z, y, x) of a volume [Z, Y, X], by the rule of `borders.py`."""
    _, height, width = volume.shape
    values = []
    for dz, dy, dx in offsets:
        row, column = y + dy, x + dx
        if column < 0 and 0 <= row < height:
            row, column = row - 1, 0
        outside = z + dz < 0 or not 0 <= row < height
        values.append(constant if outside else int(volume[z + dz, row, min(column, width - 1)]))
    return values
