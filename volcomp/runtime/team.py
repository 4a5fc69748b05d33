"""Threads that share the work on one slab, if a volume has fewer slabs than the machine has threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise


class Team:
    """Several threads, including the calling one."""

    def __init__(self, executor: Executor | None = None, members: int = 1) -> None:
        self._executor, self._members = executor, members

    def share(self, work: Callable[[int, int], None], count: int, least: int = 64) -> None:
        """Call work(lo, hi) for all of 0 … count: a part on every thread, or all on the calling one if `count` is below
        `least`."""
        members = self._members if self._executor is not None and count >= least else 1
        cuts = [count * k // members for k in range(members + 1)]
        others = [self._executor.submit(work, a, b) for a, b in pairwise(cuts[1:])] if self._executor else []
        work(cuts[0], cuts[1])
        for other in others:
            other.result()
