"""Singular value decomposition of each image: the strongest products of a column and a row.

A column times its singular value is quantised with a step, and so is a row. So all products have the same error, and
weak ones vanish. What comes back is the sum of columns times rows over singular values, in integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volcomp.dtypes import Int32s, UInt8s

from . import quantisation
from .codec import PlanesCodec, Shapes
from .quantisation import FRACTION

RANK = 48
WEIGHT = 20  # bits behind the point of a step² over a singular value
MIDDLE = 128
DEADZONE = 0.15
LARGEST = 1 << 14  # of what is quantised, in steps: sums of RANK products then stay exact


class Svd(PlanesCodec):
    """SVD at a step."""

    def __init__(self, name: str, step: float) -> None:
        super().__init__(name)
        self._step = step

    def analyse(self, image: UInt8s) -> list[Int32s]:
        u, s, v = np.linalg.svd(image.astype(np.float64) - MIDDLE, full_matrices=False)
        planes: list[Int32s] = []
        for k in range(min(RANK, s.size)):
            scale = max(round(s[k]), 1)
            column = quantisation.quantised(u[:, k] * s[k], self._step, DEADZONE)
            row = quantisation.quantised(v[k] * s[k], self._step, DEADZONE)
            if not column.any() or not row.any():
                scale, column, row = 1, np.zeros_like(column), np.zeros_like(row)
            planes += [np.array([[scale]], np.int32), column[None], row[None]]
        while len(planes) < 3 * RANK:
            planes += [np.ones((1, 1), np.int32), np.zeros((1, len(u)), np.int32), np.zeros((1, v.shape[1]), np.int32)]
        return [p.clip(-LARGEST, LARGEST) if k % 3 else p for k, p in enumerate(planes)]

    def shapes(self, rows: int, columns: int) -> Shapes:
        return [(1, 1), (1, rows), (1, columns)] * RANK

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        step = quantisation.steps(self._step)
        total = np.zeros((planes[1].shape[1], planes[2].shape[1]))
        for k in range(0, len(planes), 3):
            # Python's integers; a sum of RANK products is below 2^53.
            weight = (step * step << WEIGHT >> (2 * FRACTION)) // max(int(planes[k][0, 0]), 1)
            column, row = (plane[0].astype(np.float64).clip(-LARGEST, LARGEST) for plane in planes[k + 1 : k + 3])
            product = column[:, None] * (row * float(min(weight, 1 << 19)))
            total += product
        return (quantisation.shifted(total, WEIGHT) + MIDDLE).clip(0, 255).astype(np.uint8)
