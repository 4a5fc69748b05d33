"""A data set that is deflated as a whole (PS3.5, A.5): what it inflates to is kept and coded like any other.

The kept side is the bytes of the file that precede the deflate stream (varint), the kept order of the samples (string,
see `samples.Order`), and what is kept of the deflate stream. `before` and `after` are of the inflated file.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from ..errors import DamagedError
from ..wire.cursor import Cursor, string, varint
from .protocol import Kept, Piece, Planes
from .samples import Samples, SamplesReading

# Bytes that a data set inflates to, at most. Taking it apart needs seven times as many, whatever the file holds.
LIMIT = 1 << 28


class Deflated:
    """Body 4."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        from ..streams import deflate  # numba is imported when there is a stream to make

        cursor = Cursor(kept.side, "what is kept of a deflated data set")
        start, order, side = cursor.varint(), cursor.string(), cursor.rest()
        inflated = b"".join(Samples().write(Kept(kept.before, order, kept.after), planes))
        if start > len(inflated):
            raise DamagedError("what is kept of a deflated data set belongs to a longer one")
        yield inflated[:start]
        yield deflate.make(inflated[start:], side)


class DeflatedReading:
    """How an encoder reads a deflated data set."""

    number = 4

    def __init__(self, inner: SamplesReading, start: int) -> None:
        """`inner` reads the inflated file; `start`: of the deflate stream, bytes."""
        self._inner, self._start, self._side = inner, start, b""
        self.planes, self.bits = inner.planes, inner.bits

    @property
    def kept(self) -> Kept:
        """Return the kept bytes; see `Reading.kept`."""
        inner = self._inner.kept
        return Kept(inner.before, varint(self._start) + string(inner.side) + self._side, inner.after)

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        from ..streams import deflate

        file.seek(0)
        head, stream = file.read(self._start), file.read()
        raw, self._side = deflate.take_apart(stream, LIMIT)
        yield from self._inner.read(BytesIO(head + raw))
