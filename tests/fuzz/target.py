"""What a fuzz target is: where its inputs begin, how they are changed, and what must hold for each.

An input is a string of bytes, so that it can be saved and repeated. Where it has parts, they are strings one after the
other (`join`, `split`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from volcomp.errors import VolcompError
from volcomp.streams.protocol import NotReproducible
from volcomp.wire.cursor import Cursor, string

REFUSALS = (VolcompError, NotReproducible)  # what a check may raise: the input is refused as it should be


class Target(NamedTuple):
    """One target.

    name      as on the command line
    seeds     returns sound inputs, the same ones each time
    mutate    returns another input made of one, with the other ones at hand
    check     does with an input what is tested; raises one of REFUSALS for a bad one, and anything else is a failure
    """

    name: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[Random, bytes, list[bytes]], bytes]
    check: Callable[[bytes], None]


class WrongError(Exception):
    """What came out is wrong, or larger than may be."""


def expect(truth: object, what: str) -> None:
    """Raise WrongError unless something holds. (An `assert` would be lost under `python -O`.)"""
    if not truth:
        raise WrongError(what)


def join(*parts: bytes) -> bytes:
    """Return an input of several parts."""
    return b"".join(map(string, parts))


def split(data: bytes) -> list[bytes]:
    """Return the parts of an input."""
    cursor, parts = Cursor(data, "an input"), []
    while cursor.position < len(data):
        parts.append(cursor.string())
    return parts
