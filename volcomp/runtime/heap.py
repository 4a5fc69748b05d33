"""Return free memory to the system, since glibc's allocator keeps much of it otherwise.

glibc maps large arrays from the system one by one. But once an array of up to 32 MB is freed, glibc keeps later arrays
of up to that size, in an arena of each thread. Together these take
as much memory again as two slabs.
"""

from __future__ import annotations

import ctypes
from functools import cache

_MMAP_THRESHOLD = -3  # from malloc.h
_LARGE = 1 << 20  # bytes; a smaller array is not worth a system call


@cache
def _glibc() -> ctypes.CDLL | None:
    """Load glibc; None if this process has another C library."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):
        return None


def give_back() -> None:
    """Return to the system all memory that any thread has freed so far."""
    library = _glibc()
    if library:
        library.malloc_trim(0)


def give_back_at_once() -> None:
    """From now on, return large arrays to the system when they are freed. Only for processes of volcomp's own, because
    it affects everything in the process."""
    library = _glibc()
    if library:
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
