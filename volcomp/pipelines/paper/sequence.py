"""The input of the network for a voxel: its neighbourhood as a sequence, and the values beyond the border."""

from __future__ import annotations

import numpy as np

from neighbourhoods import Neighbourhood, farthest_first, margins

from ...dtypes import Levels


def in_order(neighbourhood: Neighbourhood) -> Neighbourhood:
    """Return the offsets in the order of the sequence: the farthest first, by Euclidean distance in voxels. Of equals,
    the one farther in z, then in y, then to the right comes first (`neighbourhoods.farthest_first`)."""
    return farthest_first(neighbourhood)


def kind_of(limit: int) -> type:
    """Return the type of ranks up to a limit: int16 if they fit, which helps caches."""
    return np.int16 if limit < 1 << 15 else np.int32


def padded(ranks: Levels, neighbourhood: Neighbourhood, limit: int) -> Levels:
    """Pad ranks [Z, Y, X] of 0 … limit on all sides with the lowest rank, 0, as published.

    Returns [before + Z, radius + Y + radius, radius + X + radius], for `neighbourhoods.gather`.
    """
    before, radius = margins(neighbourhood)
    sides = ((before, 0), (radius, radius), (radius, radius))
    return np.pad(ranks.astype(kind_of(limit)), sides)
