"""The decoded slabs of one archive or of several: bounded in bytes, decoded once however many threads ask for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import closing
from threading import Event, Lock

import numpy as np

from ..codec.decode import Slab
from ..errors import VolcompError

Key = tuple[Hashable, int]  # a volume, as its number where there is one archive, and the number of a slab in it
Decode = Callable[[list[int]], Generator[Slab]]  # decodes slabs of a volume, in increasing order; the caller closes it


class _Pending:
    """A slab that some thread is decoding."""

    def __init__(self) -> None:
        self.done = Event()
        self.voxels: np.ndarray | None = None  # None when it is done: the thread was stopped
        self.error: VolcompError | None = None


class Slabs:
    """The slabs that were used last, and those that are being decoded. Safe for several threads."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: bytes of decoded slabs to hold; 0 holds none."""
        self._capacity, self._size = capacity, 0
        self._held: dict[Key, np.ndarray] = {}  # the last used at the end
        self._pending: dict[Key, _Pending] = {}
        self._lock = Lock()

    def get(self, volume: Hashable, numbers: Sequence[int], decode: Decode) -> Generator[tuple[int, np.ndarray]]:
        """Yield the slabs of a volume as (number, voxels [z, Y, X], read-only), in any order; close the generator.

        Raises:
            DamagedError, UnsupportedError: what `decode` raises or yields for a slab; others may have been yielded.
        """
        left = list(numbers)
        while left:
            ready: dict[int, np.ndarray] = {}
            mine: dict[int, _Pending] = {}
            theirs: dict[int, _Pending] = {}
            with self._lock:
                for k in left:
                    key = (volume, k)
                    if key in self._held:
                        ready[k] = self._held[key] = self._held.pop(key)
                    elif key in self._pending:
                        theirs[k] = self._pending[key]
                    else:
                        mine[k] = self._pending[key] = _Pending()
            # Its own slabs first: of two threads that wait for each other's, each has then decoded what it promised.
            yield from self._decoded(volume, mine, decode)
            while ready:
                yield ready.popitem()
            left = []
            for k, pending in theirs.items():
                pending.done.wait()
                if pending.error:
                    raise pending.error
                if pending.voxels is None:
                    left.append(k)
                else:
                    yield k, pending.voxels

    def clear(self) -> None:
        """Drop all slabs."""
        with self._lock:
            self._held.clear()
            self._size = 0

    def drop(self, of: Callable[[Hashable], bool]) -> None:
        """Drop the slabs of the volumes for which `of` returns True."""
        with self._lock:
            for key in [key for key in self._held if of(key[0])]:
                self._size -= self._held.pop(key).nbytes

    @property
    def size(self) -> int:
        """The bytes of the slabs that are held."""
        return self._size

    def _decoded(
        self, volume: Hashable, mine: dict[int, _Pending], decode: Decode
    ) -> Generator[tuple[int, np.ndarray]]:
        if not mine:
            return
        try:
            with closing(decode(sorted(mine))) as decoded:
                for k, voxels in decoded:
                    if isinstance(voxels, VolcompError):
                        raise voxels
                    voxels.flags.writeable = False
                    self._keep((volume, k), mine.pop(k), voxels)
                    yield k, voxels
                    del voxels  # or it would stay in memory until the next one comes
        except VolcompError as error:
            for pending in mine.values():
                pending.error = error
            raise
        finally:
            with self._lock:
                for k, pending in mine.items():
                    del self._pending[volume, k]
                    pending.done.set()

    def _keep(self, key: Key, pending: _Pending, voxels: np.ndarray) -> None:
        """Hand a slab to the threads that wait for it, and hold it."""
        with self._lock:
            del self._pending[key]
            pending.voxels = voxels
            pending.done.set()
            if voxels.nbytes > self._capacity:
                return
            while self._size + voxels.nbytes > self._capacity:
                self._size -= self._held.pop(next(iter(self._held))).nbytes
            self._held[key] = voxels
            self._size += voxels.nbytes
