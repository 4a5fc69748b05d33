"""Find out early that the address space is limited too much: LLVM ends the process where it gets no memory."""

from __future__ import annotations

import mmap

# Of code that is loaded or compiled, of threads' stacks and arenas, and of the slabs of a small input. Where less is
# left, LLVM has been seen to abort.
_NEEDED = 192 << 20


def check() -> None:
    """Raise MemoryError where a limit of address space (RLIMIT_AS) leaves too little. Nothing is allocated."""
    try:
        mmap.mmap(-1, _NEEDED).close()
    except OSError:
        raise MemoryError from None
