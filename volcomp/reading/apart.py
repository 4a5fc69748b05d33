"""Numbers whose lower bits lie beside the planes of a volume, in streams that are unpacked from their beginning on.

What precedes a slice in a stream is known where every number has lower bits. Else levels tell which numbers have some,
and the slabs before it are decoded once, to count these.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import groupby
from threading import Lock
from typing import Any

import numpy as np

from ..bodies.byte_streams import Unpacker
from ..bodies.numbers import Side
from ..bodies.protocol import Planes
from ..codec.decode import Slab
from ..wire.cursor import Cursor

WHAT = "what is kept of an image of numbers"
_PIECE = 1 << 20  # bytes that are passed over at once


class Apart:
    """The samples of an image; see `samples.Samples`. For one thread at a time."""

    picture_alone = False

    def __init__(self, side: Side, first: int, again: Callable[[], bytes]) -> None:
        """`first`: slice of the image in its volume; `again` returns all that is kept at the side, with the streams."""
        self.side, self.first, self._again = side, first, again
        self.alike = not side.has_told  # every number has lower bits
        self.counted = first  # slices of the volume before this one are counted
        self._before = {first: [0] * side.own}  # numbers with lower bits before a slice, of each component
        self._streams: list[list[Unpacker]] = []
        self._at = first  # the slice that the streams have come to

    @property
    def type(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self.side.words.type

    @property
    def components(self) -> int:
        """How many a pixel has."""
        return self.side.own

    @property
    def planes(self) -> int:
        """How many planes they are made of."""
        return self.side.planes

    def count(self, planes: Planes, at: int) -> None:
        """Count the numbers with lower bits of planes that begin with the slice `at`, which is `counted`."""
        end = at + len(planes[0])
        self._before[end] = [a + b for a, b in zip(self._before[at], self.side.apart(planes), strict=True)]
        self.counted = max(self.counted, end)

    def join(self, planes: Planes, at: int) -> np.ndarray:
        """Return samples; see `samples.Samples`. All slices before `at` are counted. Raises DamagedError."""
        if at == self.counted and not self.alike:
            self.count(planes, at)
        if not self._streams or at < self._at:
            cursor = Cursor(self._again(), WHAT)
            side = Side.decoded(cursor)
            self._streams = [[Unpacker(cursor.string()) for _ in range(side.streams)] for _ in range(side.own)]
            self._at = self.first
        of_slice = planes[0].size // len(planes[0])
        here, there = self._preceding(self._at, of_slice), self._preceding(at, of_slice)
        for streams, begin, end in zip(self._streams, here, there, strict=True):
            for stream in streams:
                _pass_over(stream, end - begin)
        self._at = at
        found = self.side.numbers(planes, at - self.first, self._streams)
        self._at = at + len(planes[0])
        return found[0] if len(found) == 1 else np.moveaxis(found, 0, -1)

    def _preceding(self, at: int, of_slice: int) -> list[int]:
        """Return how many numbers with lower bits precede a slice, of each component."""
        return [(at - self.first) * of_slice] * self.side.own if self.alike else self._before[at]

    def release(self) -> None:
        """Give back the memory of the streams."""
        self._streams = []


def _pass_over(stream: Unpacker, count: int) -> None:
    while count:
        count -= len(stream.take(min(count, _PIECE)))


class Joined:
    """The slabs of a volume that has such numbers, as samples. Safe for several threads, which wait for each other."""

    def __init__(
        self, samples: Sequence[Any], ranges: Sequence[tuple[int, int]], planes: Callable[[int], Planes]
    ) -> None:
        """`samples`: of each slice; `ranges`: first and past-the-end slice of each slab; `planes` decodes a slab."""
        self._samples, self._ranges, self._planes = samples, ranges, planes
        self._lock = Lock()
        self._last: Apart | None = None  # whose streams are open

    def decode(self, numbers: list[int]) -> Generator[Slab]:
        """Yield slabs as (number, samples). Raises DamagedError."""
        for k in numbers:
            with self._lock:
                joined = self._slab(k)
            yield k, joined
            del joined

    def _slab(self, k: int) -> np.ndarray:
        first, end = self._ranges[k]
        if isinstance(begun := self._samples[first], Apart) and not begun.alike:
            for j in range(k):
                self._count(begun, j)
        planes, parts, at = self._planes(k), [], first
        for found, run in groupby(self._samples[first:end]):
            count = len(list(run))
            if isinstance(found, Apart):
                self._only(found)
            parts.append(found.join([plane[at - first :][:count] for plane in planes], at))
            at += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _count(self, found: Apart, j: int) -> None:
        """Count what the image has in slab j, unless that is done, or it has nothing there."""
        first, end = self._ranges[j]
        begin = max(first, found.first)
        if begin < end and begin == found.counted:
            found.count([plane[begin - first :] for plane in self._planes(j)], begin)

    def _only(self, found: Apart) -> None:
        if self._last is not None and self._last is not found:
            self._last.release()
        self._last = found
