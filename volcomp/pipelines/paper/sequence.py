"""What the network reads for a voxel: its neighbourhood as a sequence, and what stands beyond the border."""

from __future__ import annotations

import numpy as np

from neighbourhoods import Neighbourhood, farthest_first, margins


def in_order(neighbourhood: Neighbourhood) -> Neighbourhood:
    """The order of the sequence: the farthest voxel first, the nearest last, by Euclidean distance in voxels; of equals
    the one farther in z, then in y, then to the right comes first (`neighbourhoods.farthest_first`)."""
    return farthest_first(neighbourhood)


def kind_of(limit: int) -> type:
    """The type of ranks up to a limit: int16 where they fit, for caches' sake."""
    return np.int16 if limit < 1 << 15 else np.int32


def padded(ranks: np.ndarray, neighbourhood: Neighbourhood, limit: int) -> np.ndarray:
    """Ranks [Z, Y, X] of 0 … limit within margins that hold the least, 0, on all sides, as published.

    Returns [before + Z, radius + Y + radius, radius + X + radius], for `neighbourhoods.gather`.
    """
    before, radius = margins(neighbourhood)
    sides = ((before, 0), (radius, radius), (radius, radius))
    return np.pad(ranks.astype(kind_of(limit)), sides)
