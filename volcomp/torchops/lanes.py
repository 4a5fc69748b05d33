"""The neighbours from which inputs are made, in the layout that kernels read: one lane of a tile each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..constants import INPUTS
from ..dtypes import Int32s
from ..stages import features, peak, supports

LANES = 64  # of the tile from which the inputs are made; the inputs have the same number
ACTIVE_LANES = 32  # of the tile from which the scale is made
# Roles of a lane of LEVELS, as bits: it belongs to the base, to the activity, to the contexts of the peak.
BASE, ACTIVITY, PEAK = 1, 2, 4
assert INPUTS == LANES


class InputLanes(NamedTuple):
    """Lanes, the same in every slab; int32 each.

    seen [4, LANES]            slices back, dy, dx and roles of LEVELS, then of RESIDUALS
    active [5, ACTIVE_LANES]   the first three for ACTIVE, then weights in the first and in later slices
    scales [3, SCALE_INDICES]  scales in 1/256 of a grey level, 2^28 / scale, and differences equal to 8 scales
    """

    seen: Int32s
    active: Int32s
    scales: Int32s


def lanes() -> InputLanes:
    """Make the lanes. The first four of LEVELS are the linear stage's base; some of LEVELS make its activity."""
    seen = np.zeros((4, LANES), np.int32)
    offsets = (*features.LEVELS, *features.RESIDUALS)
    seen[:3, : len(offsets)] = np.array(offsets).T * np.array([[-1], [1], [1]])
    roles = {BASE: supports.named("small").offsets[: supports.BASE], ACTIVITY: supports.CORE, PEAK: peak.NEIGHBOURS}
    for role, wanted in roles.items():
        assert {*wanted} <= {*features.LEVELS}
        for offset in wanted:
            seen[3, features.LEVELS.index(offset)] |= role
    active = np.zeros((5, ACTIVE_LANES), np.int32)
    active[:3, : len(features.ACTIVE)] = np.array(features.ACTIVE).T * np.array([[-1], [1], [1]])
    active[3:, : len(features.ACTIVE)] = features.ACTIVITY_WEIGHTS
    return InputLanes(seen, active, np.stack([features.SCALES, features.RECIPROCALS, features.BOUNDS]).astype(np.int32))
