"""Supports: the neighbours that the linear stage weighs. Some have names; others are chosen by the encoder of a slab.

A chosen support is a list of *runs*, each of the eight voxels from (dz, dy, dx) on. A decoder reads a run with one
vector load, so its cost does not depend on how many of its voxels are neighbours.

Where a slab has a reference, its support may have neighbours there as well: those within a disc around the voxel's own
place, and within another one in the slices before and after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from neighbourhoods import Offset, disc, is_causal

from ..constants import DEPTHS, LANES, RADIUS
from ..dtypes import Int64s
from ..errors import DamagedError
from ..wire.cursor import Cursor
from .grid import flat, flat_beside

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
DISC_LIMIT = RADIUS * RADIUS  # squared radius of a disc in the reference


@dataclass(frozen=True)
class Support:
    """The neighbours of one support.

    offsets   (dz, dy, dx) of each: those of the slice itself first, then those of the slice before, and so on; nearest
              first within a slice. The neighbours that the first slices of a slab use are therefore prefixes. Those of
              base and activity come first.
    begins    where the runs begin; empty for a named support
    discs     squared radii of the discs in the reference: in the slice, and in those before and after it (−1 for none
              there); empty without neighbours in the reference

    Weights are in this order: neighbours in the slice itself, in the reference, in the slices before.
    """

    offsets: tuple[Offset, ...]
    begins: tuple[Offset, ...] = ()
    discs: tuple[int, ...] = ()

    @property
    def reference(self) -> tuple[Offset, ...]:
        """(dz, dy, dx) of each neighbour in the reference: those of the slice, of the one before, of the one after;
        nearest first within a slice."""
        return in_reference(*self.discs) if self.discs else ()

    @property
    def size(self) -> int:
        """How many neighbours there are."""
        return len(self.offsets) + len(self.reference)

    @property
    def in_slice(self) -> int:
        """How many neighbours lie in the slice itself."""
        return sum(dz == 0 for dz, _, _ in self.offsets)

    @property
    def leading(self) -> int:
        """How many neighbours lie in the slice itself or in the reference: those that a slab's first slice has."""
        return self.in_slice + len(self.reference)

    @property
    def reach(self) -> int:
        """How many slices before the current one the farthest neighbour lies."""
        return max(-dz for dz, _, _ in self.offsets)

    def used(self, group: int) -> int:
        """Return how many of the neighbours count in a group of slices (`linear.groups_of`).

        Only those of the slice itself count in group 0, the slab's first slice. If some lie more than two slices back,
        these do not count in group 1. Those in the reference always count.
        """
        near = 0 if group == 0 else 2 if group == 1 and self.reach > 2 else REACH
        return sum(-dz <= near for dz, _, _ in self.offsets) + len(self.reference)

    def back(self, group: int) -> int:
        """Return how many slices before its own the farthest neighbour lies that counts in a group of slices."""
        count = self.used(group) - len(self.reference)
        return -self.offsets[count - 1][0]

    def flat(self, strides: tuple[int, int], size: int = 0) -> Int64s:
        """Return offsets in a padded slab of `size` elements, with element `strides` (slice, row): int64 [DEPTHS, n],
        by slice of the slab. A reference, if there is one, follows the slab.

        A neighbour in a slice before the slab's first is read from the first slice. For voxels of the first slice only
        the `leading` neighbours count, and the others are never read.
        """
        own = flat(self.offsets, strides)
        if not self.discs:
            return own
        return np.insert(own, [self.in_slice], flat_beside(self.reference, strides, size), axis=1)

    @property
    def code(self) -> int:
        """The number of a named support, or CHOSEN."""
        return (
            CHOSEN
            if self.begins
            else next(code for code, name in enumerate(DISCS) if named(name).offsets == self.offsets)
        )

    def to_bytes(self) -> bytes:
        """Serialise all but the code: for a chosen support the number of runs and three bytes for each, for one with
        neighbours in the reference both squared radii, the second plus 1; for others nothing."""
        listed = [part for dz, dy, dx in self.begins for part in (-dz, dy + RADIUS, dx + LANES)]
        discs = bytes([self.discs[0], self.discs[1] + 1]) if self.discs else b""
        return (bytes([len(self.begins), *listed]) if self.begins else b"") + discs

    def referring(self, discs: tuple[int, ...]) -> Support:
        """Return the support with these discs in the reference."""
        return replace(self, discs=discs)


def _ordered(offsets: Iterable[Offset]) -> tuple[Offset, ...]:
    return tuple(sorted(offsets, key=lambda o: (-o[0], o[1] ** 2 + o[2] ** 2, -o[1], o[2])))


@cache
def named(name: str) -> Support:
    """Return a support of `DISCS`."""
    return Support(_ordered(disc(DISCS[name])))


@cache
def in_reference(within: int, beside: int) -> tuple[Offset, ...]:
    """Return the neighbours in the reference within discs of these squared radii; see `Support.discs`."""
    sides = range(-RADIUS, RADIUS + 1)
    return tuple(
        (dz, dy, dx)
        for dz, most in ((0, within), (-1, beside), (1, beside))
        for _, _, dy, dx in sorted((y * y + x * x, -y, y, x) for y in sides for x in sides)
        if dy * dy + dx * dx <= most
    )


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


def from_bytes(code: int, reader: Cursor, referring: bool = False) -> Support:
    """Read the support of a code; DamagedError if `Support.to_bytes` cannot have written what follows the code.
    `referring` tells whether it has neighbours in a reference."""
    support = _from_bytes(code, reader)
    if not referring:
        return support
    within, beside = reader.take(2)
    if within > DISC_LIMIT or beside > DISC_LIMIT + 1:
        raise DamagedError(f"its linear stage has discs in the reference beyond a radius of {RADIUS} voxels")
    return support.referring((within, beside - 1))


def _from_bytes(code: int, reader: Cursor) -> Support:
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
