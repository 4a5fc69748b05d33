"""Memory that is free, given back to the system: the allocator of the C library keeps much of it otherwise."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    """What glibc has for it; None where there is another library."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


def give_back() -> None:
    """Give back what is free in the arenas of all threads.

    glibc maps arrays from the system one by one, but from the first on that is freed it keeps any as large as that and
    up to 32 MB for later; and what lies between two pieces in use it never gives back by itself.
    """
    trim = _trim()
    if trim:
        trim(0)
