"""Released models. They are only ever added: a file names its model by number and digest, and must decode for ever.

Each has a card beside it that says what it learned from, how, and how well it does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..entropy import Tables
from ..errors import DamagedError, UnsupportedError
from ..lstm.weights import Weights, load

FITTED = 128  # added to the number of a released model where differences to it follow
# Number in the file -> name of the .npz here.
RELEASED = {1: "fast-1", 2: "base-1", 3: "fast-2", 4: "base-2", 5: "fast-3", 6: "base-3"}
CURRENT = {"fast": 5, "base": 6}  # what `--model` means today
# The most runs that a support of the linear stage may have, for they cost time in decoding too.
RUNS = {"fast": 16, "base": 24}


@cache
def weights(number: int) -> Weights:
    """The integers of a released model; UnsupportedError for a number that this version does not know."""
    if number not in RELEASED:
        raise UnsupportedError(f"the file needs model {number}, this version has {sorted(RELEASED)}; upgrade volcomp")
    return load(Path(__file__).parent / f"{RELEASED[number]}.npz", RELEASED[number])


@cache
def tables(number: int) -> Tables:
    """Its probability tables."""
    return Tables(weights(number).tables())


def check(number: int, digest: bytes) -> None:
    """Raise DamagedError unless the installed model is the one that a file was made with."""
    if weights(number).digest()[: len(digest)] != digest:
        raise DamagedError(
            f"model {RELEASED[number]} is not the one that the file was made with; reinstall volcomp, "
            "or fetch the file again"
        )
