"""What residuals cost: under one adaptive table, as `paper` codes them, or under one for each class of activity.

These are code lengths, not files: of the very tables that `volcomp.pipelines.paper.adaptive` makes, for residuals that
some stage of a pipeline leaves.
"""

from __future__ import annotations

import numpy as np

from neighbourhoods import Neighbourhood, extract
from volcomp.pipelines.paper.adaptive import TABLE_BITS, Counts

CLASSES, CLASS_VOXELS = 24, 8192  # at most so many classes, of at least so many voxels: each table has to learn
FRONT = 256  # residuals between two looks at the table
# Absolute residuals within ±2 in the slice and the nine before; nearer ones weigh more.
_NEAR: Neighbourhood = tuple((0, dy, dx) for dy in range(-2, 1) for dx in range(-2, 3) if (dy, dx) < (0, 0))
_BEFORE: Neighbourhood = tuple((-1, dy, dx) for dy in range(-1, 2) for dx in range(-1, 2))


def bits(residual: np.ndarray, limit: int) -> float:
    """Bits of residuals int [n] of ranks 0 … limit, in their order, under one adaptive table; escapes with the rank."""
    counts, total = Counts(limit), 0.0
    escaped = np.abs(residual) > counts.reach
    token = np.where(escaped, counts.escape, residual + counts.reach)
    for begin in range(0, token.size, FRONT):
        front = token[begin : begin + FRONT]
        total += float((TABLE_BITS - np.log2(counts.table[front])).sum())
        counts.add(front)
    return total + int(escaped.sum()) * limit.bit_length()


def activity(residual: np.ndarray) -> np.ndarray:
    """How much the surroundings of every voxel were missed: float64 [Z·Y·X], from residuals int [Z, Y, X] of voxels
    that a decoder knows before."""
    missed = np.abs(residual).astype(np.int32)
    near = np.array([1 / np.hypot(dy, dx) for _, dy, dx in _NEAR])
    before = np.array([0.4 / (1 + np.hypot(dy, dx)) for _, dy, dx in _BEFORE])
    return extract(missed, _NEAR) @ near + extract(missed, _BEFORE) @ before


def bits_by_class(residual: np.ndarray, limit: int) -> float:
    """Bits of residuals int [Z, Y, X] under an adaptive table for each of up to 24 classes of equal size by activity.
    The bounds of the classes would be sent: 16 bits each."""
    classes = min(max(residual.size // CLASS_VOXELS, 2), CLASSES)
    found, flat = activity(residual), residual.reshape(-1)
    bounds = np.quantile(found, np.arange(1, classes) / classes)
    chosen = np.searchsorted(bounds, found, side="right")
    return sum(bits(flat[chosen == c], limit) for c in range(classes)) + 16.0 * (classes - 1)
