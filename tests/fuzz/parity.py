"""Protected files: whatever is damaged, a repair gives the bytes that were written, or an error."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random

import volcomp
from tests.conformance import golden
from volcomp.archive import protect
from volcomp.container import layout, parity
from volcomp.errors import VolcompError

from . import mutations
from .target import Target, expect, join, split

_FORGED, _DAMAGED = b"forged", b"damaged"


@lru_cache(maxsize=1)
def _protected() -> list[bytes]:
    """Return protected files with little and much parity, in one group and in several."""
    arrays = golden.volumes()
    made = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.vcz"
        for key, share in (("one", 0.5), ("scan", 0.02), ("scan", 0.3), ("signed", 0.1)):
            path.write_bytes(volcomp.compress(arrays[key], model="turbo", threads=1))
            protect.protect(path, share)
            made.append(path.read_bytes())
    return made


def _changed(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Damage a stretch or some places, cut, move; or write a description of another layout."""
    kind, file = split(data)
    what = random.random()
    size = len(file)
    begin = random.randrange(size) if size else 0
    length = random.randrange(1, 2 + random.choice((8, 64, size // 50, size // 10, size // 4)))
    if what < 0.3:
        file = file[:begin] + random.choice((bytes(length), random.randbytes(length))) + file[begin + length :]
    elif what < 0.4:
        file = file[:begin] + file[begin + length :]
    elif what < 0.5:
        file = file[:begin] + random.randbytes(length) + file[begin:]
    elif what < 0.6:
        file = file[:begin] if random.random() < 0.5 else file + random.randbytes(length)
    elif what < 0.7 and others:
        other = split(random.choice(others))[1]
        file = random.choice((file + other, other + file, file[:begin] + other[begin:]))
    elif what < 0.9:
        forged = _forged(random, file)
        return join(_FORGED, forged) if forged else data
    else:
        file = mutations.changed(random, file)
    return join(kind, file)


def _forged(random: Random, file: bytes) -> bytes | None:
    """Put a block's head or the description that states another layout, with a sound checksum, into a file."""
    blocks = list(parity.find(io.BytesIO(file)))
    if not blocks:
        return None
    found = random.choice(blocks)
    field = random.choice(("size", "block", "data", "parity", "groups"))
    value = getattr(found.layout, field)
    values = (value - 1, value + 1, 2 * value, value // 2, mutations.number(random) % (1 << 31), *layout.BLOCK_BYTES)
    other = replace(found.layout, **{field: max(0, random.choice(values))})
    with suppress(Exception):  # numbers that their fields do not hold
        head = layout.write_description(other)
        return file[: found.offset] + head + file[found.offset + len(head) :]
    return None


def _check(data: bytes) -> object:
    """A repair gives the bytes that were written or an error, and a file that is called sound is one of these."""
    kind, file = split(data)
    with tempfile.TemporaryDirectory() as name:
        path, target = Path(name) / "a.vcz", Path(name) / "b.vcz"
        path.write_bytes(file)
        health = protect.check(path)
        said = protect.diagnose(path)
        expect(path.read_bytes() == file, "a check changed the file")
        if health is None:
            return None
        if health.is_sound and kind == _DAMAGED:
            expect(file in _protected(), "a damaged file is called sound")
        repaired = None
        try:
            repaired = protect.repair(path, target)
        except VolcompError:  # also where it seemed repairable: a group without parity cannot be checked
            expect(not target.exists() and os.listdir(name) == ["a.vcz"], "an error leaves a file")
            return "no", health.is_repairable
        if repaired.output:
            expect(target.read_bytes() in _protected(), "a repaired file is none that was written")
        return said is None, health.damaged > 0, min(health.damaged, 5)


TARGETS = (Target("parity", lambda: [join(_DAMAGED, data) for data in _protected()], _changed, _check),)
