"""How loops are compiled: by numba, when they are first called, and kept on disk.

What is called from Python is an `entry`; what only other loops call is a `part`, which is compiled into each of them
and needs nothing that makes it callable from elsewhere: half of the code of a loop over many arrays is that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def entry(loop: Loop) -> Loop:
    """Compile a loop that Python calls."""
    return njit(nogil=True, cache=True, no_cfunc_wrapper=True)(loop)  # type: ignore[call-overload]


def part(loop: Loop) -> Loop:
    """Compile a loop that other loops call."""
    return njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(loop)  # type: ignore[call-overload]
