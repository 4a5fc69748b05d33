"""The streams of other encoders that tests have, as frames of one form."""

from __future__ import annotations

import csv
import zlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from volcomp.streams.protocol import FrameInfo

GOLDEN = Path(__file__).parents[1] / "streams" / "golden"
SEEDS = Path(__file__).parent / "seeds"
KINDS = {"jpeg_lossless": 1, "rle": 2, "jpeg_ls": 3, "deflate": 4, "jpeg2000": 6, "htj2k": 7}  # numbers of codecs


class Frame(NamedTuple):
    """One frame."""

    data: bytes
    info: FrameInfo


@lru_cache(maxsize=8)
def frames(kind: str) -> list[Frame]:
    """Return the streams of a kind, those of at most 4 kB."""
    found = {"jpeg_ls": _jpeg_ls, "deflate": _deflate}.get(kind, lambda: _named(kind))()
    return [frame for frame in found if len(frame.data) <= 4096]


def _named(kind: str) -> list[Frame]:
    """Return streams whose shape stands in their names: rows × columns × components, bits."""
    found = []
    for path in sorted([*(GOLDEN / kind).glob("*_*x*x*_*.*"), *(SEEDS / kind).glob("*_*x*x*_*.*")]):
        if path.suffix != ".npz":
            shape, bits = path.stem.split("_")[2:4]
            rows, columns, components = map(int, shape.split("x"))
            allocated = 8 if int(bits.rstrip("us")) <= 8 else 16
            found.append(Frame(path.read_bytes(), FrameInfo(rows, columns, components, allocated)))
    return found


def _jpeg_ls() -> list[Frame]:
    with (GOLDEN / "jpeg_ls" / "expected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Frame(
            (GOLDEN / "jpeg_ls" / f"{row['name']}.jls").read_bytes(),
            FrameInfo(int(row["rows"]), int(row["columns"]), int(row["components"]), 16),
        )
        for row in rows
    ]


def _deflate() -> list[Frame]:
    """Return the streams of one line that are stored, and small ones of zlib with all its strategies."""
    found = []
    for path in sorted((GOLDEN / "deflate").glob("*.deflate")):
        data = path.read_bytes()
        size = len(zlib.decompress(data, -15))
        found.append(Frame(data, FrameInfo(1, size, 1, 8)))
    random = np.random.default_rng(1)
    words = np.cumsum(random.integers(-2, 3, (12, 20)), axis=1).astype("<u2")
    for level, memory, window, strategy in ((1, 8, 15, 0), (6, 8, 15, 0), (9, 9, 15, 0), (6, 1, 9, 0), (0, 8, 15, 0),
                                            (6, 8, 15, 1), (6, 8, 15, 2), (6, 8, 15, 3), (6, 8, 15, 4)):  # fmt: skip
        machine = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
        data = machine.compress(words.tobytes()) + machine.flush()
        found.append(Frame(data, FrameInfo(12, 20, 1, 16)))
    return found
