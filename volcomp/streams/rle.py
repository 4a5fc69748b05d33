"""DICOM RLE (PS3.5, Annex G; transfer syntax 1.2.840.10008.1.2.5) as a stream codec.

A stream has a header of 64 bytes and a segment for each byte of a pixel: of each component in turn, the most
significant byte first. How an encoder cuts a segment into literals and runs is up to it. Nearly always a `Strategy`
describes it, and else corrections say where it does not, so that any segments come back.

The layout of `side` (docs/streams.md) is that of every archive written, so it never changes; another would have another
first byte. Integers are varints, see `wire.cursor`.

    1 byte           VERSION
    1 byte           number of the strategy
    1 byte           a `Padding`, plus HEADER and CORRECTIONS for what follows
    if HEADER:       64 bytes, the header; else it has the offsets of the segments, and zeros
    if GIVEN:        varint and bytes: what is between header and first segment, then what follows each segment
    if CORRECTIONS:  for each segment, varint and bytes: see `rle_segments.deviations`

Samples are uint8, uint16 or uint32; values that the container file takes for signed are the same bits here. Not
supported: segments in another order than in the header, and those that overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

import numpy as np

from ..errors import DamagedError
from ..wire.cursor import Cursor, string
from . import rle_segments as loops
from .protocol import FrameInfo, NotReproducible, Parts, Samples
from .rle_segments import STRATEGIES, Pairs, Strategy

VERSION = 1
HEADER, CORRECTIONS = 16, 32
HEADER_SIZE, MOST_SEGMENTS = 64, 15
DENSEST = 64  # bytes of a segment's samples for a byte of the segment
TRIED_HEADERS = 4096  # of each segment, to choose a strategy
EVERYTHING = 1 << 62
# Strategies of well-known encoders. These are tried first, and no others if one of them fits.
_FIRST = (
    Strategy(True, 2, 2, 128, 128, Pairs.NOWHERE),
    Strategy(True, 3, 3, 128, 128, Pairs.ROW),
    Strategy(True, 2, 3, 128, 128, Pairs.LITERAL),
)
_ORDER = sorted(range(len(STRATEGIES)), key=lambda number: (STRATEGIES[number] not in _FIRST, number))
_PARAMETERS = np.array(STRATEGIES, np.int64)
_TYPES = {bits: np.dtype(f"u{bits // 8}") for bits in (8, 16, 32)}  # of samples, by the bits allocated
_DAMAGED = "its RLE stream is damaged"


class Padding(IntEnum):
    """What follows segments.

    EACH    a zero after each of odd length (G.3.1)
    LAST    a zero after the last if the length of all is odd
    NONE    nothing
    GIVEN   what `side` gives
    """

    EACH = 0
    LAST = 1
    NONE = 2
    GIVEN = 3


class Rle:
    """DICOM RLE; see the module."""

    number = 2
    name = "RLE"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Decode one frame; see `protocol.Stream`."""
        offsets = _offsets(data, frame)
        count, size = len(offsets) - 1, frame.rows * frame.columns
        planes = np.empty((count, size), np.uint8)
        stream = np.frombuffer(data, np.uint8)
        ends = [HEADER_SIZE]
        for plane, begin, limit in zip(planes, offsets[:-1], offsets[1:], strict=True):
            ends.append(loops.unpack(stream, begin, limit, plane))
        if min(ends) < 0:
            raise NotReproducible(_DAMAGED)
        number = _strategy(stream, offsets, planes, frame.columns)
        corrections = [
            _corrections(stream[begin:end], plane, frame.columns, number)
            for plane, begin, end in zip(planes, offsets[:-1], ends[1:], strict=True)
        ]
        gaps = [data[end:begin] for end, begin in zip(ends, offsets, strict=True)]
        lengths = [end - begin for end, begin in zip(ends[1:], offsets[:-1], strict=True)]
        known = (kind for kind in Padding if kind != Padding.GIVEN and gaps == _gaps(kind, lengths))
        padding = next(known, Padding.GIVEN)
        header = data[:HEADER_SIZE]
        flags = padding | (header != _header(gaps, lengths)) * HEADER | any(corrections) * CORRECTIONS
        side = [bytes([VERSION, number, flags])]
        if flags & HEADER:
            side.append(header)
        if padding == Padding.GIVEN:
            side += map(string, gaps)
        if flags & CORRECTIONS:
            side += map(string, corrections)
        return Parts(_joined(planes, frame), b"".join(side))

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side; see `protocol.Stream`."""
        cursor = Cursor(side, "the side information of an RLE stream")
        version, number, flags = cursor.take(3)
        padding = flags & 15
        known = number < len(STRATEGIES) and padding in set(Padding) and flags < 2 * CORRECTIONS
        if version != VERSION or not known:
            raise cursor.damaged()
        if samples.dtype not in _TYPES.values() or samples.ndim != 3 or not samples.size:
            raise cursor.damaged()
        planes = _split(samples)
        if len(planes) > MOST_SEGMENTS:
            raise cursor.damaged()
        header = cursor.take(HEADER_SIZE) if flags & HEADER else None
        gaps = [cursor.string() for _ in range(len(planes) + 1)] if padding == Padding.GIVEN else None
        corrections = [cursor.string() if flags & CORRECTIONS else b"" for _ in planes]
        cursor.end()
        segments = []
        for plane, given in zip(planes, corrections, strict=True):
            out = np.empty(2 * plane.size + len(given) + 1, np.uint8)
            length = loops.pack(plane, samples.shape[2], _PARAMETERS[number], np.frombuffer(given, np.uint8), out)
            if length < 0:
                raise cursor.damaged()
            segments.append(out[:length].tobytes())
        lengths = [len(segment) for segment in segments]
        if gaps is None:
            gaps = _gaps(Padding(padding), lengths)
        if header is None:
            header = _header(gaps, lengths)
        return b"".join([header, gaps[0], *(part for both in zip(segments, gaps[1:], strict=True) for part in both)])


def _offsets(data: bytes, frame: FrameInfo) -> list[int]:
    """Return where the segments begin, and the stream ends; NotReproducible if they are not those of such a frame."""
    if frame.bits not in _TYPES or frame.components < 1:
        raise NotReproducible("its RLE stream has samples of other than 8, 16 or 32 bits")
    count = frame.components * frame.bits // 8
    if count > MOST_SEGMENTS or len(data) < HEADER_SIZE or int.from_bytes(data[:4], "little") != count:
        raise NotReproducible("its RLE stream has another number of segments than the file states")
    if min(frame.rows, frame.columns) < 1 or frame.rows * frame.columns * count > DENSEST * len(data):
        raise NotReproducible("its RLE stream is cut short")
    offsets = np.frombuffer(data, "<u4", count, 4).tolist()
    edges = [HEADER_SIZE, *offsets, len(data)]
    if any(begin > end for begin, end in pairwise(edges)):
        raise NotReproducible("its RLE stream has segments in disorder")
    return edges[1:]


def _strategy(stream: np.ndarray, offsets: Sequence[int], planes: np.ndarray, width: int) -> int:
    """Return the number of the strategy that deviates least from where the segments begin."""
    best, least = _ORDER[0], EVERYTHING
    scratch, written = np.empty(4 * TRIED_HEADERS, np.uint8), np.empty(1, np.int64)
    for number in _ORDER:
        found = 0
        for plane, begin in zip(planes, offsets, strict=False):
            found += loops.deviations(
                stream, begin, plane, width, _PARAMETERS[number], TRIED_HEADERS, least - found, scratch, written
            )
            if found >= least:
                break
        if found < least:
            best, least = number, found
        if not least:
            break
    return best


def _corrections(segment: np.ndarray, plane: np.ndarray, width: int, number: int) -> bytes:
    """Return the corrections of a segment."""
    out, written = np.empty(2 * len(segment) + len(segment) // 64 + 2, np.uint8), np.zeros(1, np.int64)
    loops.deviations(segment, 0, plane, width, _PARAMETERS[number], EVERYTHING, EVERYTHING, out, written)
    return out[: written[0]].tobytes()


def _gaps(padding: Padding, lengths: Sequence[int]) -> list[bytes]:
    """Return what is between header and first segment, and after each, for a kind of padding that is not GIVEN."""
    gaps = [bytes(length & 1 if padding == Padding.EACH else 0) for length in lengths]
    if padding == Padding.LAST:
        gaps[-1] = bytes(sum(lengths) & 1)
    return [b"", *gaps]


def _header(gaps: Sequence[bytes], lengths: Sequence[int]) -> bytes:
    """Return the header of segments of these lengths, with these gaps around them (G.5)."""
    sizes = [HEADER_SIZE + len(gaps[0]), *(length + len(gap) for length, gap in zip(lengths, gaps[1:], strict=True))]
    offsets = np.cumsum(sizes)[:-1].tolist()
    if offsets[-1] >= 1 << 32:
        raise DamagedError("an RLE stream would have more than 4 GiB")
    return np.array([len(lengths), *offsets] + [0] * (MOST_SEGMENTS - len(lengths)), "<u4").tobytes()


def _joined(planes: np.ndarray, frame: FrameInfo) -> Samples:
    """Join the bytes of samples, uint8 [components · bytes, Y · X], most significant first."""
    kind = _TYPES[frame.bits]
    words = np.ascontiguousarray(planes.reshape(frame.components, kind.itemsize, -1).swapaxes(1, 2))
    joined = words.view(kind.newbyteorder(">")).reshape(frame.components, frame.rows, frame.columns)
    return joined.astype(kind, copy=False)


def _split(samples: Samples) -> np.ndarray:
    """Invert `_joined`."""
    size = samples.dtype.itemsize
    words = np.ascontiguousarray(samples, samples.dtype.newbyteorder(">")).view(np.uint8)
    return np.ascontiguousarray(words.reshape(len(samples), -1, size).swapaxes(1, 2)).reshape(size * len(samples), -1)
