"""Released models. They are only ever added: a file names its model by number and digest, and must decode for ever.

Each has a card beside it that says what it learned from, how, and how well it does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..stages.ans import Tables
from ..errors import DamagedError, UnsupportedError
from ..stages.lstm.weights import Weights, load
from ..pipelines.paper import weights as published

FITTED = 128  # added to the number of a released model where differences to it follow
# Number in the file -> name of the .npz here.
RELEASED = {
    1: "fast-1", 2: "base-1", 3: "fast-2", 4: "base-2", 5: "fast-3", 6: "base-3", 7: "base-4", 8: "turbo-1",
    16: "paper-1",
}  # fmt: skip
CURRENT = {"turbo": 8, "fast": 5, "base": 7, "paper": 16}  # what `--model` means today
PUBLISHED = {16}  # those of the published kind (`paper`)
# Models that were never released, by numbers that no file has: experiments put them here, and into the tables above.
TRIALS: dict[int, Weights | published.Weights] = {}
# The most runs that a support of the linear stage may have, for they cost time in decoding too.
RUNS = {"turbo": 12, "fast": 16, "base": 24}
# How many efforts less than asked for the search for the linear stage takes, where it would take longer than all else.
HASTE = {"turbo": 2}
# The share of a slab that factors of grey levels must save, for they take time as well: some 80 ns a voxel.
WORTHWHILE = {"turbo": 1 / 64, "fast": 1 / 128, "base": 1 / 1024}
# How many voxels of a slab tell whether there are factors, where it is fewer than `histogram.SAMPLE`.
LOOKED_AT = {"turbo": 1 << 16}


@cache
def weights(number: int) -> Weights:
    """The integers of a released model that runs along the row; UnsupportedError for a number that this version does
    not know, DamagedError for one of the published kind, which has no differences."""
    if number in PUBLISHED:
        raise DamagedError(f"the file asks for changes of {RELEASED[number]}, which has none")
    tried = TRIALS.get(number)
    return tried if isinstance(tried, Weights) else load(_path(number), RELEASED[number])


@cache
def paper(number: int) -> published.Weights:
    """The integers of a released model of the published kind."""
    tried = TRIALS.get(number)
    return tried if isinstance(tried, published.Weights) else published.load(_path(number), RELEASED[number])


def _path(number: int) -> Path:
    if number not in RELEASED:
        raise UnsupportedError(f"the file needs model {number}, this version has {sorted(RELEASED)}; upgrade volcomp")
    return Path(__file__).parent / f"{RELEASED[number]}.npz"


def digest(number: int) -> bytes:
    """The SHA-256 of a released model's arrays."""
    return paper(number).digest() if number in PUBLISHED else weights(number).digest()


@cache
def tables(number: int) -> Tables:
    """Its probability tables."""
    return Tables(weights(number).tables())


def check(number: int, stated: bytes) -> None:
    """Raise DamagedError unless the installed model is the one that a file was made with."""
    if digest(number)[: len(stated)] != stated:
        raise DamagedError(
            f"model {RELEASED[number]} is not the one that the file was made with; reinstall volcomp, "
            "or fetch the file again"
        )
