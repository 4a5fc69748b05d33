"""Work that goes to and fro between threads without Python: locks that compiled code waits for.

A walk on a GPU hands every front to a thread for each slab and waits for all of them. Threads that come back to Python
for it wait for each other as well, for Python's lock, some 25 µs a slab and front. So a thread serves all fronts of its
slab in one compiled call, and the locks are those that Python's own are made of, by the names under which the
interpreter exports them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba import types

from ..errors import DamagedError
from .compiled import entry
from .cpus import cores

PATIENCE = 2000  # times that a lock is asked for before its thread sleeps, where every thread has a core: some 30 µs

_allocate, _free = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_free_lock
_allocate.restype, _free.argtypes, _free.restype = ctypes.c_void_p, [ctypes.c_void_p], None
for _name in ("PyThread_acquire_lock", "PyThread_release_lock"):
    _address = ctypes.cast(getattr(ctypes.pythonapi, _name), ctypes.c_void_p).value
    binding.add_symbol(_name, _address)
_acquire: Any = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))
_release: Any = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))


@entry
def wait(lock: int, patience: int = 0) -> None:
    """Until somebody releases the lock, which is asked for so many times before the thread sleeps."""
    for _ in range(patience):
        if _acquire(lock, 0):
            return
    _acquire(lock, 1)


@entry
def release(lock: int) -> None:
    """Let whoever waits for the lock go on."""
    _release(lock)


@entry
def _ask(asked: np.ndarray, answered: np.ndarray, patience: int) -> None:
    for lock in asked:
        release(lock)
    for lock in answered:
        wait(lock, patience)


class Taker(NamedTuple):
    """Whoever takes a slab's part of every front.

    asked, answered       addresses of the locks that he waits for, and releases
    over uint8 [1]        not 0 once nothing more will be asked
    pieces int64 [f, 2]   what his part of every front is: from one voxel, up to another
    patience              how often he asks for a lock before he sleeps
    """

    asked: int
    answered: int
    over: np.ndarray
    pieces: np.ndarray
    patience: int


class Handover:
    """The locks of whoever asks, and of so many takers."""

    def __init__(self, pieces: np.ndarray, threads: int) -> None:
        """pieces int64 [f, s, 2]: those of every taker; `threads` are at work altogether."""
        self._patience = PATIENCE if threads <= cores() else 0
        over = np.zeros(1, np.uint8)
        self._asked, self._answered = (np.array([_lock() for _ in pieces[0]], np.int64) for _ in range(2))
        self._over = over
        locks = zip(self._asked.tolist(), self._answered.tolist(), strict=True)
        self.takers = [
            Taker(*pair, over, np.ascontiguousarray(pieces[:, s]), self._patience) for s, pair in enumerate(locks)
        ]

    def ask(self) -> None:
        """Have all take their parts of the next front."""
        _ask(self._asked, self._answered, self._patience)

    def end(self) -> None:
        """Let all who wait to be asked go home."""
        self._over[0] = 1
        for lock in self._asked.tolist():
            release(lock)

    def free(self) -> None:
        """Once all have gone."""
        for lock in [*self._asked.tolist(), *self._answered.tolist()]:
            _free(lock)


def _lock() -> int:
    """A new lock, which is held."""
    lock: int | None = _allocate()
    if lock is None:
        raise MemoryError
    wait(lock)
    return lock


class ByCalls:
    """Takes fronts by calls of Python, for those who need not hurry."""

    take: Callable[..., np.ndarray]  # the voxels of the next front, from what is said of them

    def serve(self, taker: Taker, voxel: np.ndarray, *said: np.ndarray) -> bool:
        """Take all fronts, each when asked: from what is `said` of all takers' voxels, into `voxel`. A DamagedError is
        raised in the end; until then the voxels are 0. False if the asking ended sooner."""
        damage: DamagedError | None = None
        for begin, end in taker.pieces.tolist():
            wait(taker.asked, taker.patience)
            if taker.over[0]:
                return False
            voxel[begin:end] = 0
            if begin < end and damage is None:
                try:
                    voxel[begin:end] = self.take(*(array[begin:end] for array in said))
                except DamagedError as error:
                    damage = error
            release(taker.answered)
        if damage is not None:
            raise damage
        return True
