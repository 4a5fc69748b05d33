"""Voxels as they are: one plane, little-endian or with the bytes of its 16-bit words swapped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .protocol import Kept, Piece, Planes


class Native:
    """Bodies 0 (little-endian) and 1 (big-endian). Nothing is kept at the side."""

    def __init__(self, *, big_endian: bool) -> None:
        self._big_endian = big_endian

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        yield kept.before
        for block in planes:
            words = block[0].byteswap() if self._big_endian else np.ascontiguousarray(block[0])
            del block  # or its slab would stay in memory until the next one comes
            yield words.view(np.uint8).reshape(-1).data
            del words
        yield kept.after
