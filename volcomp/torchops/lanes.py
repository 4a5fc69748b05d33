"""The neighbours that the inputs are made of, laid out as kernels like to read them: a lane of a tile for each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..constants import INPUTS
from ..stages import features, peak, supports

LANES = 64  # of the tile from which the inputs are made: it becomes the row of inputs
ACTIVE_LANES = 32  # of the tile that makes the scale
# Roles of a lane of LEVELS, as bits.
BASE, ACTIVITY, SPIKED = 1, 2, 4
assert INPUTS == LANES


class Lanes(NamedTuple):
    """The same in every slab; int32 each.

    seen [4, LANES]            how many slices back, dy, dx, and roles, of LEVELS, then RESIDUALS
    active [5, ACTIVE_LANES]   the same three of ACTIVE, with their weights in the first and in later slices
    scales [3, SCALE_INDICES]  every scale in 1/256 of a grey level, 2^28 / scale, and the difference that is 8 scales
    """

    seen: np.ndarray
    active: np.ndarray
    scales: np.ndarray


def lanes() -> Lanes:
    """The lanes; the first four of LEVELS are the linear stage's base, and its activity is of some of them."""
    seen = np.zeros((4, LANES), np.int32)
    offsets = (*features.LEVELS, *features.RESIDUALS)
    seen[:3, : len(offsets)] = np.array(offsets).T * np.array([[-1], [1], [1]])
    roles = {BASE: supports.named("small").offsets[: supports.BASE], ACTIVITY: supports.CORE, SPIKED: peak.NEIGHBOURS}
    for role, wanted in roles.items():
        assert {*wanted} <= {*features.LEVELS}
        for offset in wanted:
            seen[3, features.LEVELS.index(offset)] |= role
    active = np.zeros((5, ACTIVE_LANES), np.int32)
    active[:3, : len(features.ACTIVE)] = np.array(features.ACTIVE).T * np.array([[-1], [1], [1]])
    active[3:, : len(features.ACTIVE)] = features.ACTIVITY_WEIGHTS
    return Lanes(seen, active, np.stack([features.SCALES, features.RECIPROCALS, features.BOUNDS]).astype(np.int32))
