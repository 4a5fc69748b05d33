"""Time points of a stack: where they are in its slices and in volumes, and a `VoxelSource` for each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from ..codec import series
from ..container.volume import Order, Times
from ..dtypes import Integers
from ..formats.series import time_points
from ..options import EncodeOptions
from .entry import Voxels
from .stack import Coded, Plane, Stack

_BLOCK_BYTES = 1 << 22  # of slices that are read at once
Now = Literal[Order.AFTER, Order.BESIDE]


class TimePoint:
    """Some slices of a plane, in an order of their own: a `VoxelSource`."""

    def __init__(self, plane: Plane, numbers: Integers) -> None:
        """`numbers` [z]: of the slices in the plane."""
        self._plane, self._numbers = plane, numbers
        self.dtype = plane.dtype
        self.shape = (len(numbers), *plane.shape[1:])

    @property
    def sha256(self) -> bytes:
        """Return the SHA-256 of the voxels, little-endian in C order. All slices are read, once for this and the
        histogram."""
        return self._read[0]

    def histogram(self) -> tuple[int, np.ndarray]:
        """Return the least value, and the counts of all values from it to the greatest: int64 [range]."""
        return self._read[1]

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read slices `first` to `end` - 1 [z, Y, X]. Raises UnsupportedError if they have changed."""
        numbers = self._numbers[first:end]
        ends = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        runs = [self._plane.slices(int(numbers[a]), int(numbers[b - 1]) + 1) for a, b in pairwise(ends)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    @cached_property
    def _read(self) -> tuple[bytes, tuple[int, np.ndarray]]:
        sha, counts = hashlib.sha256(), np.zeros(1 << 8 * self.dtype.itemsize, np.int64)
        step = max(1, _BLOCK_BYTES // self._plane.frame_bytes)
        for first in range(0, len(self._numbers), step):
            block = np.ascontiguousarray(self.slices(first, first + step)).view(self._plane.words)
            sha.update(block.data)
            counts += np.bincount(block.reshape(-1), minlength=len(counts))
        return sha.digest(), self._plane.histogram_of(counts)


@dataclass(frozen=True)
class Layout:
    """The time points of a stack, and where they go."""

    stack: Stack
    now: Now  # how they follow each other in the stack
    times: Times

    @property
    def volumes(self) -> int:
        """Return how many volumes each plane becomes."""
        return self.times.points if self.times.order == Order.APART else 1

    @property
    def _depth(self) -> int:
        """Return the slices of a time point."""
        return self.stack.depth // self.times.points

    def moved(self, place: Voxels) -> Voxels:
        """Return where an image of the stack is, which was to be at its own slices of one volume."""
        if self.times.order != Order.APART or self.now == Order.AFTER:
            return place
        z, t = divmod(place.first, self.times.points)
        return replace(place, volume=place.volume + t * len(self.stack.planes), first=z)

    def sources(self, plane: Plane) -> Iterator[Plane | TimePoint]:
        """Yield the source of each volume of a plane, made anew: what was read of it goes with it."""
        if self.times.order == Order.APART:
            yield from (self.time_point(plane, t) for t in range(self.times.points))
        elif self.times.order == Order.TURNED:
            slices = np.arange(self.stack.depth).reshape(self.times.points, -1)
            yield TimePoint(plane, slices.T.reshape(-1))
        else:
            yield plane

    def time_point(self, plane: Plane, t: int) -> TimePoint:
        """Return the source of a time point."""
        if self.now == Order.AFTER:
            return TimePoint(plane, np.arange(t * self._depth, (t + 1) * self._depth))
        return TimePoint(plane, np.arange(t, self.stack.depth, self.times.points))

    def plan(self, plane: Plane, options: EncodeOptions) -> Sequence[int | None]:
        """Return the time point that each refers to; None for keys, and where all are in one volume."""
        if self.times.order != Order.APART:
            return [None]
        return series.plan([self.time_point(plane, t) for t in range(self.times.points)], options)


def layout_of(stack: Stack, coded: Sequence[Coded], options: EncodeOptions) -> Layout | None:
    """Choose where the time points of a stack go; None for a stack that is no series.

    Parameters:
        stack: one that has been read.
        coded: the images that it has slices of, in their order.
        options: those of the encoder.
    """
    count = time_points([one.image for one in coded]) if coded else 1
    now: Now = Order.AFTER if len(coded) == 1 else Order.BESIDE
    if count < 2 or stack.depth % count or stack.depth // count < 2:
        return None
    trial = Layout(stack, now, Times(count, Order.APART))
    planes = [[trial.time_point(plane, t) for t in range(count)] for plane in stack.planes]
    return Layout(stack, now, Times(count, series.order(planes, now, options)))
