"""Supports: the neighbours that the linear stage weighs. Some have names; others are chosen by the encoder of a slab.

A chosen support is a list of *runs*, each of the eight voxels from (dz, dy, dx) on. A decoder reads a run with one
vector load, so its cost does not depend on how many of its voxels are neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from neighbourhoods import Offset, disc, is_causal

from ..constants import DEPTHS, LANES, RADIUS
from ..dtypes import Int64s
from ..errors import DamagedError
from ..wire.cursor import Cursor
from .grid import flat

REACH = DEPTHS - 1  # the largest distance of a neighbour, in slices
RUN_LIMIT = 64  # of a chosen support
BASE = 4  # the first four neighbours (W, N, NW, NE); weights apply to differences from their mean
# Activity is the mean absolute difference from the base over these neighbours: radius 2 in the slice, 3×3 before it.
ACTIVITY_IN_SLICE = 10
ACTIVITY_BEFORE = 9

# Squared radii of the discs in the slice itself, the one before and the one before that. `small` is for volumes with
# few voxels, where more weights would cost more than they save. Up to version 0.2 these were the only supports.
DISCS = {"small": (5, 2, 0), "narrow": (10, 5, 2), "wide": (20, 10, 2), "broad": (52, 10, 2), "full": (52, 26, 5)}
CHOSEN = len(DISCS)  # the code of a support without a name


@dataclass(frozen=True)
class Support:
    """The neighbours of one support.

    offsets   (dz, dy, dx) of each: those of the slice itself first, then those of the slice before, and so on; nearest
              first within a slice. The neighbours that the first slices of a slab use are therefore prefixes. Those of
              base and activity come first.
    begins    where the runs begin; empty for a named support
    """

    offsets: tuple[Offset, ...]
    begins: tuple[Offset, ...] = ()

    @property
    def in_slice(self) -> int:
        """How many neighbours lie in the slice itself."""
        return sum(dz == 0 for dz, _, _ in self.offsets)

    @property
    def reach(self) -> int:
        """How many slices before the current one the farthest neighbour lies."""
        return max(-dz for dz, _, _ in self.offsets)

    def used(self, group: int) -> int:
        """Return how many of the neighbours count in a group of slices (`linear.groups_of`).

        Only those of the slice itself count in group 0, the slab's first slice. If some lie more than two slices back,
        these do not count in group 1.
        """
        near = 0 if group == 0 else 2 if group == 1 and self.reach > 2 else REACH
        return sum(-dz <= near for dz, _, _ in self.offsets)

    def flat(self, strides: tuple[int, int]) -> Int64s:
        """Return offsets in a padded slab with element `strides` (slice, row): int64 [DEPTHS, n], by slice of the slab.

        A neighbour in a slice before the slab's first is read from the first slice. For voxels of the first slice only
        the `in_slice` neighbours count, and the others are never read.
        """
        return flat(self.offsets, strides)

    @property
    def code(self) -> int:
        """The number of a named support, or CHOSEN."""
        return CHOSEN if self.begins else next(code for code, name in enumerate(DISCS) if named(name) == self)

    def to_bytes(self) -> bytes:
        """Serialise all but the code: nothing, or for a chosen support the number of runs and three bytes for each."""
        listed = [part for dz, dy, dx in self.begins for part in (-dz, dy + RADIUS, dx + LANES)]
        return bytes([len(self.begins), *listed]) if self.begins else b""


def _ordered(offsets: Iterable[Offset]) -> tuple[Offset, ...]:
    return tuple(sorted(offsets, key=lambda o: (-o[0], o[1] ** 2 + o[2] ** 2, -o[1], o[2])))


@cache
def named(name: str) -> Support:
    """Return a support of `DISCS`."""
    return Support(_ordered(disc(DISCS[name])))


CORE = {
    *(o for o in named("narrow").offsets[:ACTIVITY_IN_SLICE]),
    *((-1, dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)),
}  # the neighbours of base and activity


def voxels_of(run: Offset) -> tuple[Offset, ...]:
    """Return the neighbours of the run that begins at (dz, dy, dx): its voxels that are causal and within RADIUS."""
    dz, dy, dx = run
    return tuple((dz, dy, x) for x in range(dx, dx + LANES) if abs(x) <= RADIUS and is_causal((dz, dy, x)))


def of_runs(begins: Iterable[Offset]) -> Support:
    """Return the support with the neighbours of these runs."""
    begins = tuple(sorted(set(begins)))
    return Support(_ordered({offset for run in begins for offset in voxels_of(run)}), begins)


def from_bytes(code: int, reader: Cursor) -> Support:
    """Read the support of a code; DamagedError if `Support.to_bytes` cannot have written what follows the code."""
    if code < CHOSEN:
        return named(tuple(DISCS)[code])
    if code > CHOSEN:
        raise DamagedError(f"its linear stage has support {code}; 0 to {CHOSEN} are known")
    (count,) = reader.take(1)
    listed = np.frombuffer(reader.take(3 * count), np.uint8).reshape(-1, 3).astype(int)
    begins = [(-back, dy - RADIUS, dx - LANES) for back, dy, dx in listed.tolist()]
    inside = all(-dz <= REACH and abs(dy) <= RADIUS and dx <= RADIUS for dz, dy, dx in begins)
    if not inside or count > RUN_LIMIT or begins != sorted(set(begins)) or not all(map(voxels_of, begins)):
        raise DamagedError("its linear stage has a support of runs that no encoder writes")
    support = of_runs(begins)
    if not set(support.offsets) >= CORE:
        raise DamagedError("its linear stage has a support that lacks the nearest neighbours")
    return support
