"""Payloads of the lossy layer: changed ones are refused, or decode to an image of the shape that they state."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from random import Random

import numpy as np

from volcomp import lossy
from volcomp.errors import VolcompError
from volcomp.lossy import header
from volcomp.wire.cursor import Cursor

from . import mutations
from .target import Target, expect

_MOST = 1 << 16  # pixels


@lru_cache(maxsize=1)
def _seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :56]
    smooth = 90 + 60 * np.sin(y / 9) * np.cos(x / 7) + random.normal(0, 4, (40, 56))
    found = []
    for dtype, factor, least in (("u1", 1, 0), ("i1", 0.5, -60), ("u2", 300, 0), ("i2", 10, -900)):
        image = np.round(smooth * factor + least).astype(dtype)
        found += [lossy.encode(image, budget) for budget in (30, 200, 1500)]
    return [*found, lossy.encode(np.full((1, 1), 7, np.uint8), 40), lossy.encode(np.full((9, 1), 7, np.int16), 40)]


def _mutate(random: Random, data: bytes, others: list[bytes]) -> bytes:
    if random.random() < 0.2:  # the header of one with the coefficients of another
        with suppress(VolcompError):  # inputs that were changed before
            start = len(header.read(Cursor(data, "it")).to_bytes())
            return header.read(Cursor(random.choice(others), "it")).to_bytes() + data[start:]
    return mutations.changed(random, data, others)


def _check(data: bytes) -> None:
    image = lossy.decode(data, most_pixels=_MOST)
    head = header.read(Cursor(data, "it"))
    expect(image.shape == head.shape and image.dtype == head.dtype, f"{image.dtype} {image.shape} is not {head}")
    expect(head.least <= image.min() and image.max() <= head.greatest, "pixels are outside their limits")
    small = lossy.decode(data, reduce=2, most_pixels=_MOST)
    expect(small.size <= image.size, "a smaller image is larger")


TARGETS = [Target("lossy", _seeds, _mutate, _check)]
