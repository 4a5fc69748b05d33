"""Lossless JPEG (ITU-T T.81, process 14; DICOM transfer syntaxes 1.2.840.10008.1.2.4.57 and .70) as a stream codec.

Samples and headers determine nearly all of such a stream, for each difference to a prediction has one code. It comes
back from the headers as they are, how each restart interval ends, and what the encoder does with 16-bit differences.

The layout of `side` (docs/streams.md) is that of every archive written, so it never changes; another would have another
first byte. Integers are varints, see `wire.cursor`.

    1 byte           VERSION
    1 byte           a `Sixteen`
    for each scan, until each component has had one:
      varint, bytes  the stream from the end of the scan before to the end of the scan header
      1 byte         an `Ending`, plus BARE_FF if 0xFF as the last byte of an interval is not followed by 0x00
      if GIVEN:      for each restart interval, varint and bytes: from the one with its last bit to its end
    bytes            the rest of the stream, most often EOI alone

Samples are uint8 up to 8 bits of precision, else uint16, whatever the container file has allocated. Values that it
takes for signed are the same bits here. Not supported: hierarchical streams, arithmetic codes, subsampling, restarts
that begin within a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from ..wire.cursor import Cursor, string
from . import jpeg_lossless_scan as loops
from .jpeg_lossless_header import Frame, Headers, Scan
from .jpeg_lossless_tables import Sixteen, decoding, encoding
from .protocol import FrameInfo, NotReproducible, Parts, Samples

VERSION = 1
BARE_FF = 16
_FORMS = {False: (Sixteen.BARE,), True: (Sixteen.NEGATIVE, Sixteen.POSITIVE, Sixteen.WHOLE)}
_NO_STREAM = "its JPEG stream is damaged, or its encoder deviates from the standard"


class Ending(IntEnum):
    """What fills the last byte of a restart interval: ones (F.1.2.3), zeros, or what `side` gives."""

    ONES = 0
    ZEROS = 1
    GIVEN = 2


class _Decoded(NamedTuple):
    """A scan that has been decoded."""

    end: int  # where it ends in the stream
    ending: bytes  # what `side` has about it
    sure: bool  # whether these are its samples, and `make` gives it again


class JpegLossless:
    """Lossless JPEG; see the module."""

    number = 1
    name = "JPEG Lossless"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Decode one frame; see `protocol.Stream`."""
        found = []
        for sixteen, forms in _FORMS.items():
            parts, sure = self._decode(data, frame, sixteen)
            if parts is None:
                continue
            if sure and not sixteen:
                return parts
            given = (Parts(parts.samples, bytes([VERSION, form]) + parts.side[2:]) for form in forms)
            found += [one for one in given if self._makes(one, data)]
        if not found:
            raise NotReproducible(_NO_STREAM)
        return min(found, key=lambda parts: len(parts.side))

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side; see `protocol.Stream`."""
        cursor = Cursor(side, "the side information of a JPEG stream")
        if cursor.take(1)[0] != VERSION:
            raise cursor.damaged()
        form = cursor.take(1)[0]
        if form not in set(Sixteen):
            raise cursor.damaged()
        try:
            return b"".join(_make(samples, Sixteen(form), cursor))
        except NotReproducible as error:
            raise cursor.damaged() from error

    def _decode(self, data: bytes, info: FrameInfo, sixteen: bool) -> tuple[Parts | None, bool]:
        """Decode with bits after category 16, or without; None if that fails. Second, see `_Decoded.sure`."""
        headers, at = Headers(), 0
        side = [bytes([VERSION, Sixteen.BARE])]
        missing: set[int] | None = None
        sure = True
        while missing is None or missing:
            scan, begin = headers.scan(data, at)
            if missing is None:
                frame = _checked(headers.frame, data, info)
                missing = set(range(len(frame.identifiers)))
                decoded = np.empty((len(missing), info.rows, info.columns), np.uint16)
            if not missing.issuperset(scan.components):
                raise NotReproducible("its JPEG stream has a component twice")
            missing.difference_update(scan.components)
            found = _decode_scan(data, begin, scan, frame, decoded, sixteen)
            if found is None:
                return None, False
            side += [string(data[at:begin]), found.ending]
            sure = sure and found.sure
            at = found.end
        side.append(data[at:])
        if frame.precision <= 8:
            if decoded.max() > 0xFF:
                return None, False
            return Parts(decoded.astype(np.uint8), b"".join(side)), sure
        return Parts(decoded, b"".join(side)), sure

    def _makes(self, parts: Parts, data: bytes) -> bool:
        """Return whether `make` gives `data`."""
        try:
            return self.make(*parts) == data
        except DamagedError:  # some difference has no code in this form
            return False


def _checked(frame: Frame | None, data: bytes, info: FrameInfo) -> Frame:
    """Return the frame header if the container file has the same, and `data` may have so many samples."""
    if (
        frame is None
        or frame.rows not in (0, info.rows)
        or (frame.columns, len(frame.identifiers)) != (info.columns, info.components)
        or info.rows < 1
    ):
        raise NotReproducible("its JPEG stream has another size than the file states")
    if info.rows * info.columns * info.components > 8 * len(data):  # a sample has at least one bit
        raise NotReproducible("its JPEG stream is cut short")
    return frame


def _intervals(scan: Scan, rows: int) -> tuple[int, int]:
    """Return the lines of a restart interval, and the number of intervals."""
    lines = min(scan.lines, rows) or rows
    return lines, -(-rows // lines)


def _decode_scan(data: bytes, at: int, scan: Scan, frame: Frame, decoded: np.ndarray, sixteen: bool) -> _Decoded | None:
    """Decode a scan, whose data begin at `at`, into its components of `decoded` uint16 [components, Y, X]."""
    rows = decoded.shape[1]
    lines, count = _intervals(scan, rows)
    stream = np.frombuffer(data, np.uint8)
    raw = np.empty((len(data) - at + 7) // 8 * 8 + 8 * loops.SPARE, np.uint8)
    begin, fills, ends = np.zeros(count + 1, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    end = loops.unstuff(stream, at, raw, begin, fills)
    tables = [decoding(table) for table in scan.tables]
    if end < 0 or None in tables:
        return None
    room = int(begin[-1] + 7) // 8 + loops.SPARE
    raw[begin[-1] : 8 * room] = 0
    words = raw[: 8 * room].view(">u8").astype(np.uint64)
    short, whole = (np.stack(kind) for kind in zip(*(table for table in tables if table), strict=True))
    chosen = decoded if scan.components == tuple(range(len(decoded))) else decoded[list(scan.components)]
    seen = np.zeros(1, np.bool_)
    start = 1 << frame.precision - scan.transform - 1
    if not loops.decode(words, begin, short, whole, sixteen, scan.selection, start, lines, chosen, ends, seen):
        return None
    if scan.transform:
        if chosen.max() >> 16 - scan.transform:
            return None
        chosen <<= scan.transform
    if chosen is not decoded:
        decoded[list(scan.components)] = chosen
    return _endings(raw, begin, fills, ends, end, bool(seen[0]))


def _endings(
    raw: np.ndarray, begin: np.ndarray, fills: np.ndarray, ends: np.ndarray, end: int, seen: bool
) -> _Decoded | None:
    """State how the restart intervals of a scan end, given where their bits do; None where `make` could not do that."""
    used = (ends + 7) // 8
    past = begin[1:].copy()
    optional = (fills > 0) & (used == past)  # the first fill byte has bits of the interval
    past -= (fills > 0) & ~optional
    if (fills[:-1] > optional[:-1]).any():
        return None
    flags = BARE_FF if optional.any() else 0
    end += int(optional[-1])
    last, free = raw[used - 1].astype(np.int64), 8 * used - ends
    if (past == used).all():
        fill = (1 << free) - 1
        if (last & fill == fill).all():
            return _Decoded(end, bytes([flags | Ending.ONES]), not flags)
        if (last & fill == 0).all():
            return _Decoded(end, bytes([flags | Ending.ZEROS]), not flags)
    given = [string(raw[u - 1 : p].tobytes()) for u, p in zip(used.tolist(), past.tolist(), strict=True)]
    # With the wrong number of bits after category 16, a scan may seem to end early.
    return _Decoded(end, bytes([flags | Ending.GIVEN]) + b"".join(given), not flags and not seen)


def _make(samples: Samples, form: Sixteen, cursor: Cursor) -> Iterator[bytes]:
    """Yield the pieces of a stream."""
    headers = Headers()
    missing: set[int] | None = None
    while missing is None or missing:
        header = cursor.string()
        scan, end = headers.scan(header, 0)
        frame = headers.frame
        if end != len(header) or frame is None:
            raise cursor.damaged()
        if missing is None:
            components, columns = len(frame.identifiers), frame.columns
            type = np.uint8 if frame.precision <= 8 else np.uint16
            if samples.dtype != type or samples.ndim != 3 or samples.shape[::2] != (components, columns):
                raise cursor.damaged()
            if samples.shape[1] < 1 or frame.rows not in (0, samples.shape[1]):
                raise cursor.damaged()
            missing = set(range(components))
        if not missing.issuperset(scan.components):
            raise cursor.damaged()
        missing.difference_update(scan.components)
        kind, count = cursor.take(1)[0], _intervals(scan, samples.shape[1])[1]
        if kind & ~BARE_FF not in set(Ending):
            raise cursor.damaged()
        given = [cursor.string() for _ in range(count)] if kind & ~BARE_FF == Ending.GIVEN else None
        if given and not all(given):
            raise cursor.damaged()
        yield header
        whole = len(scan.components) == len(samples)
        chosen = samples if whole and list(scan.components) == sorted(scan.components) else samples[[*scan.components]]
        coded = _encode_scan(chosen, scan, frame, form, kind, given)
        if coded is None:
            raise cursor.damaged()
        yield coded
    yield cursor.rest()


def _encode_scan(
    chosen: np.ndarray, scan: Scan, frame: Frame, form: Sixteen, kind: int, given: Sequence[bytes] | None
) -> bytes | None:
    """Encode the components of a scan; None if a difference has no code."""
    lines, count = _intervals(scan, chosen.shape[1])
    tables = [encoding(table) for table in scan.tables]
    if None in tables:
        return None
    near, codes = (np.stack(both) for both in zip(*(table for table in tables if table), strict=True))
    words = np.empty((loops.LONGEST * chosen.size + 8 * count) // 64 + 2, np.uint64)
    ends = np.zeros(count, np.int64)
    start = 1 << frame.precision - scan.transform - 1
    values = np.ascontiguousarray(chosen >> scan.transform if scan.transform else chosen, np.uint16)
    ones = kind & ~BARE_FF != Ending.ZEROS
    if not loops.encode(values, near, codes, int(form), scan.selection, start, lines, ones, words, ends):
        return None
    raw = words[: int(ends[-1] + 7) // 8].astype(">u8").view(np.uint8)[: ends[-1]]
    if given is not None:
        pieces = np.split(raw, ends[:-1])
        raw = np.concatenate(
            [
                part
                for piece, ending in zip(pieces, given, strict=True)
                for part in (piece[:-1], np.frombuffer(ending, np.uint8))
            ]
        )
        ends = np.cumsum([len(piece) - 1 + len(ending) for piece, ending in zip(pieces, given, strict=True)])
    out = np.empty(len(raw) + int(np.count_nonzero(raw == 0xFF)) + 2 * (count - 1), np.uint8)
    return out[: loops.stuff(raw, ends, not kind & BARE_FF, out)].tobytes()
