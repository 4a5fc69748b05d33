"""The image data of PNG files (ISO/IEC 15948): IDAT chunks with one zlib stream of filtered rows.

`before` ends where the first IDAT chunk begins, `after` begins where the last one ends: all other chunks are in these,
as they are. The kept side is

    map       4 bytes, see `planes.Map`: samples of 8 or 16 bits, most significant byte first
    sizes     varint: how many runs of chunks; of each: varint, the bytes of a chunk, and varint, how many such chunks.
              The last chunk, which has the rest of the stream, is not among them
    head      2 bytes: the header of the zlib stream
    filters   string: see `png_filters.kept`
    deflate   string: what is kept of the deflate stream
    ending    byte: 1 where the Adler-32 of the rows follows the deflate stream
    rest      what follows in the chunks
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, string, varint
from .cost import predicted
from .planes import Map
from .protocol import Kept, Piece, Planes

IDAT = b"IDAT"
LIMIT = 1 << 28  # bytes of the rows, at most; reading takes some seven times as many
_LARGEST_CHUNK = (1 << 31) - 1
_LOOKED_AT = 1 << 20  # pixels by which it is estimated whether voxels are smaller than the file has them
_WORSE = 1.1  # times the bytes in the file: so many voxels may take by that estimate


class Png:
    """Body 9. It holds the rows in memory."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        from ..streams import deflate, png_filters  # numba is imported when there is a stream to make

        cursor = Cursor(kept.side, "what is kept of a PNG")
        samples = Map.decoded(cursor)
        _check(samples, cursor)
        sizes = _sizes(cursor)
        head, filters, side = cursor.take(2), cursor.string(), cursor.string()
        ending, rest = cursor.take(1)[0], cursor.rest()
        if ending > 1:
            raise cursor.damaged()
        raw = _rows(samples, list(planes))
        step = samples.components * samples.type.itemsize
        rows = png_filters.filtered(raw, png_filters.chosen(raw, filters, step), step).reshape(-1)
        del raw
        stream = bytearray(head)
        for piece in deflate.pieces(rows, side):
            stream += piece
        if ending:
            stream += zlib.adler32(rows.data).to_bytes(4, "big")
        stream += rest
        yield kept.before
        at = 0
        for size, count in sizes:
            if size * count > len(stream) - at:
                raise DamagedError("what is kept of a PNG belongs to a longer one")
            for begin in range(at, at + size * count, size) if size else [at] * count:
                yield _chunk(stream[begin : begin + size])
            at += size * count
        yield _chunk(stream[at:])
        yield kept.after


def _check(samples: Map, cursor: Cursor) -> None:
    if samples.type not in (np.dtype("u1"), np.dtype("<u2")) or samples.planes != samples.components:
        raise cursor.damaged()


def _sizes(cursor: Cursor) -> list[tuple[int, int]]:
    """Read the runs of equal chunks. Raises DamagedError."""
    runs = cursor.varint(len(cursor.data))
    found = [(cursor.varint(_LARGEST_CHUNK), cursor.varint(_LARGEST_CHUNK)) for _ in range(runs)]
    if sum(count for size, count in found if not size) > LIMIT >> 8:
        raise cursor.damaged()  # chunks without bytes are bounded by nothing else
    return found


def _rows(samples: Map, blocks: list[Planes]) -> NDArray[np.uint8]:
    """Return the bytes of rows uint8 [h, n], of the planes of one image. Raises DamagedError."""
    if len(blocks) != 1 or len(blocks[0][0]) != 1:
        raise DamagedError("what is kept of a PNG belongs to one slice")
    pixels = np.moveaxis(samples.inverse(blocks[0])[:, 0], 0, -1)
    return np.ascontiguousarray(pixels, samples.type.newbyteorder(">")).view(np.uint8).reshape(len(pixels), -1)


def _chunk(data: bytes | bytearray) -> bytes:
    """Return an IDAT chunk (clause 5.3)."""
    return len(data).to_bytes(4, "big") + IDAT + data + zlib.crc32(data, zlib.crc32(IDAT)).to_bytes(4, "big")


class PngReading:
    """How an encoder reads the image data."""

    number = 9

    def __init__(self, samples: Map, *, rows: int, columns: int, start: int) -> None:
        """`start`: of the first IDAT chunk, bytes."""
        self._map, self._start, self._shape = samples, start, (rows, columns)
        self.planes, self.bits = samples.planes, 8 * samples.word.itemsize
        self._kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """Return the kept bytes; see `Reading.kept`."""
        assert self._kept is not None
        return self._kept

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield the image; see `Reading.read`."""
        from ..streams import deflate, png_filters

        file.seek(0)
        before = file.read(self._start)
        stream, sizes, after = _chunks(file.read())
        if stream[1:2] == b"" or stream[0] & 15 != 8 or stream[1] & 32:
            raise NotReproducible("its image data are no zlib stream")
        step = self._map.components * self._map.type.itemsize
        rows, width = self._shape[0], self._shape[1] * step
        raw, side, used = deflate.apart(memoryview(stream)[2:], rows * (width + 1))
        if len(raw) != rows * (width + 1):
            raise NotReproducible("its zlib stream holds fewer bytes than its rows")
        adler = zlib.adler32(raw).to_bytes(4, "big")
        filtered = np.frombuffer(raw, np.uint8).reshape(rows, width + 1)
        try:
            pixels, kinds = png_filters.unfiltered(filtered, step)
        except ValueError as error:
            raise NotReproducible(str(error)) from None
        filters = png_filters.kept(pixels, kinds, step)
        end = 2 + used
        ended = stream[end : end + 4] == adler
        self._kept = Kept(
            before,
            self._map.encoded() + sizes + stream[:2] + string(filters) + string(side) + bytes([ended])
            + stream[end + 4 * ended :],
            after,
        )  # fmt: skip
        words = pixels.view(self._map.type.newbyteorder(">")).reshape(*self._shape, -1)
        samples = np.moveaxis(words, -1, 0)[:, None].astype(self._map.type)
        planes = self._map.forward(np.ascontiguousarray(samples))
        if _estimated(planes) > _WORSE * len(stream):
            raise NotReproducible("its image data are smaller as they are")
        yield planes


def _chunks(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what the IDAT chunks hold at the beginning of some bytes, how their sizes are kept, and what follows.

    Raises NotReproducible where one is cut short, or its checksum is wrong.
    """
    parts: list[memoryview] = []
    view, at = memoryview(data), 0
    while data[at + 4 : at + 8] == IDAT:
        size = int.from_bytes(data[at : at + 4], "big")
        part = view[at + 8 : at + 8 + size]
        check = data[at + 8 + size : at + 12 + size]
        if len(check) != 4 or zlib.crc32(part, zlib.crc32(IDAT)) != int.from_bytes(check, "big"):
            raise NotReproducible("a chunk of its image data is damaged")
        parts.append(part)
        at += 12 + size
    runs: list[list[int]] = []
    for part in parts[:-1]:
        if runs and runs[-1][0] == len(part):
            runs[-1][1] += 1
        else:
            runs.append([len(part), 1])
    sizes = varint(len(runs)) + b"".join(varint(number) for run in runs for number in run)
    return b"".join(parts), sizes, data[at:]


def _estimated(planes: Planes) -> float:
    """Estimate the bytes of an image as voxels, by its middle."""
    rows, columns = planes[0].shape[1:]
    width = min(columns, _LOOKED_AT)
    height = min(rows, max(1, _LOOKED_AT // width))
    top, left = (rows - height) // 2, (columns - width) // 2
    seen: list[NDArray[Any]] = [plane[0, top : top + height, left : left + width] for plane in planes]
    return sum(map(predicted, seen)) * rows * columns / (height * width)
