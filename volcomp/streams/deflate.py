"""Deflate streams (RFC 1951): of whole data sets, transfer syntax 1.2.840.10008.1.2.1.99, and of frames, …1.2.8.1.

Nearly all of them were made by zlib with some settings. Here are zlib's choices in code of our own, since the zlib that
is installed years from now may choose otherwise. What a stream has that they do not give is kept beside the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from . import deflate_side
from .deflate_apart import side_of
from .deflate_blocks import blocks
from .protocol import FrameInfo, NotReproducible, Parts, Samples

LARGEST = (1 << 31) - 1  # bytes; positions are 32-bit integers


def _inflated(data: bytes | memoryview, limit: int) -> tuple[bytes, int]:
    """Inflate, `limit` bytes at most; returns the bytes and the size of the stream."""
    machine = zlib.decompressobj(-15)
    try:
        raw = machine.decompress(data, limit + 1)
    except zlib.error:
        raise NotReproducible("its deflate stream is damaged") from None
    if len(raw) > limit:
        raise NotReproducible("its deflate stream holds more bytes than are allowed")
    if not machine.eof:
        raise NotReproducible("its deflate stream is cut short")
    return raw, len(data) - len(machine.unused_data)


class Apart(NamedTuple):
    """A stream taken apart."""

    raw: bytes  # what it holds
    side: bytes  # what `pieces` needs to make it again, without what follows it
    size: int  # of the stream, bytes


def apart(data: bytes | memoryview, limit: int) -> Apart:
    """Inflate a raw deflate stream, which bytes may follow; they are not part of `side`. See `take_apart`."""
    raw, size = _inflated(data, min(limit, LARGEST))
    try:
        return Apart(raw, side_of(bytes(data[:size]), raw), size)
    except MemoryError:
        raise NotReproducible("memory does not suffice for its deflate stream") from None
    except DamagedError:
        raise NotReproducible("its deflate stream does not come back identical") from None


def take_apart(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """Inflate a raw deflate stream, which bytes may follow.

    Parameters:
        data: the stream. It may be damaged or hostile.
        limit: how many bytes it may hold.

    Returns:
        The bytes that it holds, and what `make` needs to deflate them to `data` again.

    Raises:
        NotReproducible: where `make` could not, or would need more than a fiftieth of the bytes; where the stream is
            damaged or holds more than `limit` bytes. No content may raise another error.
    """
    raw, side, size = apart(data, limit)
    return raw, side + data[size:]


def make(raw: bytes, side: bytes) -> bytes:
    """Deflate bytes as `side` demands, the inverse of `take_apart`; DamagedError where it makes no sense for them."""
    return b"".join(pieces(np.frombuffer(raw, np.uint8), side))


def pieces(raw: np.ndarray, side: bytes) -> Iterator[bytes]:
    """Yield what `make` returns, block by block; `raw` is uint8 [n]."""
    if raw.size > LARGEST:
        raise DamagedError("what is kept of a deflate stream belongs to fewer bytes")
    raw = raw.view()
    raw.flags.writeable = False  # as arrays of bytes are: loops are compiled for one type
    yield from blocks(raw, deflate_side.read(side, raw.size))


class Deflate:
    """Deflated frames. The bytes of a frame are its native samples, little endian, those of a pixel side by side."""

    number = 4
    name = "Deflate"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Inflate one frame; see `Stream.take_apart`."""
        if frame.bits not in (8, 16):
            raise NotReproducible(f"its samples have {frame.bits} bits")
        shape = (frame.rows, frame.columns, frame.components)
        size = frame.rows * frame.columns * frame.components * frame.bits // 8
        raw, side = take_apart(data, size)
        if len(raw) != size:
            raise NotReproducible("its deflate stream holds fewer bytes than the frame")
        samples = np.frombuffer(raw, f"<u{frame.bits // 8}").reshape(shape)
        native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
        return Parts(np.ascontiguousarray(native.transpose(2, 0, 1)), side)

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side; see `Stream.make`."""
        if samples.ndim != 3 or samples.dtype.kind not in "iu" or samples.itemsize > 2:
            raise DamagedError("what is kept of a deflate stream belongs to other samples")
        little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
        return make(little.transpose(1, 2, 0).tobytes(), side)
