"""Decoded slabs of all open archives: bounded in bytes, each decoded once however many threads ask, few at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

import numpy as np

from ...codec.decode import Key, Slab, decode_volume
from ...codec.layer import read_slab
from ...container.sections import Reader
from ...container.volume import Volume, read_key
from ...models import RELEASED
from ...options import DecodeOptions
from ...reading.slabs import Slabs
from ...runtime.cpus import cores

if TYPE_CHECKING:
    from ...archive.run import Decode

_WORK_BYTES = 1 << 28  # that decoding one slab takes, of 32 slices of 512²


class SharedSlabs:
    """The slabs that were used last, of any archive. Safe for several threads.

    As many slabs are decoded at once as there are cores and memory for. A slab that another one refers to is fetched
    in the same way; meanwhile the thread that needs it gives its turn away, so that no two wait for each other.
    """

    def __init__(self, memory: int, device: str = "cpu") -> None:
        """`memory`: bytes of slabs, and of what decodes them."""
        self._at_once = max(1, min(cores(), memory // 2 // _WORK_BYTES))
        self._slabs = Slabs(max(0, memory - self._at_once * _WORK_BYTES) or memory // 4)
        self._turns, self._device = BoundedSemaphore(self._at_once), device
        self._serials = count()
        self.decoded = 0  # slabs since the start

    @property
    def size(self) -> int:
        """The bytes of the slabs that are held."""
        return self._slabs.size

    def of(self, reader: Reader) -> tuple[Decode, Callable[[], None]]:
        """Return what decodes slabs of an archive, and what drops those of it."""
        serial = next(self._serials)
        decode = partial(self._in_order, serial, reader)
        return decode, lambda: self._slabs.drop(lambda volume: isinstance(volume, tuple) and volume[0] == serial)

    def _in_order(self, serial: int, reader: Reader, volume: Volume, numbers: list[int]) -> Generator[Slab]:
        """Yield slabs by increasing numbers, some fetched at once. Raises DamagedError."""
        for first in range(0, len(numbers), self._at_once):
            some = numbers[first : first + self._at_once]
            found: dict[int, np.ndarray] = {}
            with closing(
                self._slabs.get((serial, volume.number), some, partial(self._new, serial, reader, volume))
            ) as got:
                found.update(got)
            for k in some:
                yield k, found.pop(k)

    def _new(self, serial: int, reader: Reader, volume: Volume, numbers: list[int]) -> Generator[Slab]:
        """Decode slabs, on as many threads as there are turns left."""
        with self._turn(len(numbers)) as turns:
            threads = cores() if turns == self._at_once else max(1, cores() // self._at_once) * turns
            key = self._key(serial, reader, volume) if volume.refers else None
            options = DecodeOptions(threads, self._device)
            with closing(decode_volume(reader, volume, numbers, options, key=key)) as slabs:
                for slab in slabs:
                    self.decoded += 1
                    yield slab
                    del slab  # or it would stay in memory until the next one comes

    def _key(self, serial: int, reader: Reader, volume: Volume) -> Key:
        if volume.layered:
            return partial(read_slab, reader, volume)
        model = volume.layout.model
        key = read_key(reader, volume, {**RELEASED, model.number: model})

        def slab(k: int) -> np.ndarray:
            self._turns.release()
            try:
                ((_, voxels),) = self._in_order(serial, reader, key, [k])
            finally:
                self._turns.acquire()
            assert isinstance(voxels, np.ndarray)
            return voxels

        return slab

    @contextmanager
    def _turn(self, most: int) -> Iterator[int]:
        """Wait for a turn, and take more where nobody waits; yield their number."""
        self._turns.acquire()
        taken = 1
        while taken < most and self._turns.acquire(blocking=False):
            taken += 1
        try:
            yield taken
        finally:
            for _ in range(taken):
                self._turns.release()
