"""A worker with targets that fail, each in its own way: the supervisor must notice all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from volcomp.errors import DamagedError

from . import mutations, worker
from .target import Target, expect

_BAD = 200  # a first byte of at least that


def _raises() -> None:
    raise IndexError("planted")


def _refuses() -> None:
    raise DamagedError("planted")


def _hangs() -> None:
    while True:
        pass


def _fills_memory() -> None:
    np.ones(worker.MEMORY + (64 << 20), np.uint8)


def _takes_memory() -> None:
    np.empty(4 * worker.MEMORY, np.uint8)  # untouched, so that no peak shows it


def _target(name: str, bad: Callable[[], None]) -> Target:
    def check(data: bytes) -> object:
        if data[:1] >= bytes([_BAD]):
            bad()
        return len(data)

    return Target(name, lambda: [b"seed"], lambda random, data, others: mutations.changed(random, data, others), check)


PLANTED = {
    "raises": _target("raises", _raises),
    "refuses": _target("refuses", _refuses),
    "wrong": _target("wrong", lambda: expect(False, "planted")),
    "hangs": _target("hangs", _hangs),
    "dies": _target("dies", os.abort),
    "fills": _target("fills", _fills_memory),
    "takes": _target("takes", _takes_memory),
}

if __name__ == "__main__":
    worker.SECONDS = 2 if sys.argv[1] == "hangs" else 60
    worker.main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), PLANTED)
