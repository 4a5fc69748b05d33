"""Memory that is free, given back to the system: glibc's allocator keeps much of it otherwise.

It maps large arrays from the system one by one, but whenever one of up to 32 MB is freed, it keeps all up to that size
from then on; and each thread has an arena of its own to keep them in. That is as much again as two slabs take.
"""

from __future__ import annotations

import ctypes
from functools import cache

_MMAP_THRESHOLD = -3  # as malloc.h has it
_LARGE = 1 << 20  # bytes of an array that is worth a call of the system


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process; None where it is another one."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):
        return None


def give_back() -> None:
    """Give back what all threads have freed by now."""
    library = _glibc()
    if library:
        library.malloc_trim(0)


def give_back_at_once() -> None:
    """From now on give back large arrays when they are freed: for a process that is ours, since it holds for all that
    runs in it."""
    library = _glibc()
    if library:
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
