"""A rendezvous of threads in compiled code: one side requests fronts, the others serve them, and none needs Python.

A wavefront on a GPU passes every front to one thread per slab and waits for all of these threads. If they returned to
Python for each front, they would also wait for Python's own lock, about 25 µs per slab and front. Instead, a thread
serves all fronts of its slab in one compiled call. The locks are the ones that Python's locks are made of; the
interpreter exports them by name.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba import types

from ..dtypes import Int32s, Int64s, UInt8s
from ..errors import DamagedError
from .compiled import entry
from .cpus import cores

PATIENCE = 2000  # attempts to acquire a lock before its thread sleeps, if every thread has a core: about 30 µs

_allocate, _free = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_free_lock
_allocate.restype, _free.argtypes, _free.restype = ctypes.c_void_p, [ctypes.c_void_p], None
for _name in ("PyThread_acquire_lock", "PyThread_release_lock"):
    _address = ctypes.cast(getattr(ctypes.pythonapi, _name), ctypes.c_void_p).value
    binding.add_symbol(_name, _address)
_acquire: Any = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))
_release: Any = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))


@entry
def wait(lock: int, patience: int = 0) -> None:
    """Acquire the lock, and sleep until another thread releases it once `patience` attempts have failed."""
    for _ in range(patience):
        if _acquire(lock, 0):
            return
    _acquire(lock, 1)


@entry
def release(lock: int) -> None:
    """Release the lock, so that the thread that waits for it continues."""
    _release(lock)


@entry
def _request(requested: Int64s, served: Int64s, patience: int) -> None:
    for lock in requested:
        release(lock)
    for lock in served:
        wait(lock, patience)


class Consumer(NamedTuple):
    """What a thread needs to serve a slab's part of every front.

    requested, served     addresses of the lock that it waits for, and of the lock that it releases
    ended uint8 [1]       not 0 once there are no more requests
    pieces int64 [f, 2]   its part of every front: the first voxel, and the one after the last
    patience              attempts to acquire a lock before the thread sleeps
    """

    requested: int
    served: int
    ended: UInt8s
    pieces: Int64s
    patience: int


class Rendezvous:
    """The locks of the thread that requests fronts and of the consumers that serve them."""

    def __init__(self, pieces: Int64s, threads: int) -> None:
        """Make the locks. pieces int64 [f, s, 2]: those of every consumer; threads: how many work altogether."""
        self._patience = PATIENCE if threads <= cores() else 0
        ended = np.zeros(1, np.uint8)
        self._requested, self._served = (np.array([_lock() for _ in pieces[0]], np.int64) for _ in range(2))
        self._ended = ended
        locks = zip(self._requested.tolist(), self._served.tolist(), strict=True)
        self.consumers = [
            Consumer(*pair, ended, np.ascontiguousarray(pieces[:, s]), self._patience) for s, pair in enumerate(locks)
        ]

    def request(self) -> None:
        """Request the next front and wait until all consumers have served their parts."""
        _request(self._requested, self._served, self._patience)

    def end(self) -> None:
        """End the calls of all consumers that wait for a request."""
        self._ended[0] = 1
        for lock in self._requested.tolist():
            release(lock)

    def free(self) -> None:
        """Free the locks. No consumer may be running."""
        for lock in [*self._requested.tolist(), *self._served.tolist()]:
            _free(lock)


def _lock() -> int:
    """Allocate a lock and acquire it."""
    lock: int | None = _allocate()
    if lock is None:
        raise MemoryError
    wait(lock)
    return lock


class ByCalls:
    """Serves fronts by one Python call each, where speed does not matter."""

    pop: Callable[..., np.ndarray]  # the voxels of the next front, given its outputs

    def serve(self, consumer: Consumer, voxel: Int32s, *outputs: np.ndarray) -> bool:
        """Serve all fronts, each on request: read the network's `outputs` for all consumers' voxels, write `voxel`.

        Returns False if the requests ended early. After a DamagedError the voxels are 0; it is raised at the end.
        """
        damage: DamagedError | None = None
        for begin, end in consumer.pieces.tolist():
            wait(consumer.requested, consumer.patience)
            if consumer.ended[0]:
                return False
            voxel[begin:end] = 0
            if begin < end and damage is None:
                try:
                    voxel[begin:end] = self.pop(*(array[begin:end] for array in outputs))
                except DamagedError as error:
                    damage = error
            release(consumer.served)
        if damage is not None:
            raise damage
        return True
