"""Lossless JPEG-LS (ITU-T T.87 | ISO/IEC 14495-1, NEAR = 0), transfer syntax 1.2.840.10008.1.2.4.80.

The standard leaves an encoder no choice once the headers are given, but for the unused bits of a last byte. So what
remains of a stream is itself without the entropy-coded data; docs/streams.md has the form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from .jpeg_ls_decode import decode
from .jpeg_ls_encode import encode
from .jpeg_ls_markers import MalformedError, Scan, Walk
from .jpeg_ls_model import Coding, coding
from .protocol import FrameInfo, NotReproducible, Parts, Samples

VERSION = 1
UNCLAMPED, FILLED = 1, 2  # flags: thresholds of JAI; the unused bits of last bytes are not all 0


class Segment(NamedTuple):
    """Lines first … end - 1 of a scan, between two markers."""

    scan: Scan
    first: int
    end: int
    components: np.ndarray  # int64
    coding: Coding


def _segments(scan: Scan, unclamped: bool) -> Iterator[Segment]:
    """Divide a scan at its restart markers. There the coder starts afresh, as in the first line (T.87, C.2.5)."""
    parameters = coding(scan.frame.precision, scan.presets, unclamped)
    if parameters is None:
        raise MalformedError("its JPEG-LS stream has preset parameters out of range")
    components = np.array(scan.components, np.int64)
    for first in range(0, scan.frame.rows, scan.interval):
        yield Segment(scan, first, min(first + scan.interval, scan.frame.rows), components, parameters)


def _restart(data: bytes, at: int, segment: Segment) -> int:
    """Return the end of the restart marker before a segment."""
    end = Walk.marker(data, at)
    if data[end - 1] != 0xD0 + (segment.first // segment.scan.interval - 1) % 8:
        raise MalformedError("its JPEG-LS stream lacks a restart marker")
    return end


def _plain(data: bytes, at: int) -> bool:
    """Return whether a marker comes at `at`, or after the zero byte that some encoders append to a last 0xFF."""
    if data[at - 1 : at] == b"\xff" and data[at : at + 1] == b"\0":
        at += 1
    return data[at : at + 1] == b"\xff"


class _Apart(NamedTuple):
    """A stream taken apart, and whether markers came where data ended, as they do with the right thresholds."""

    samples: Samples
    side: bytes
    plain: bool
    deep: bool  # more than 12 bits, where encoders differ about thresholds


def _take_apart(data: bytes, frame: FrameInfo, unclamped: bool) -> _Apart:
    everything = np.frombuffer(data, np.uint8)
    walk = Walk()
    samples = None
    kept, fills = [], bytearray()
    plain = True
    at = 0
    while True:
        scan, begin = walk.next_scan(data, at)
        if scan is None:
            break
        if samples is None:
            shape = (len(scan.frame.identifiers), scan.frame.rows, scan.frame.columns)
            if shape != (frame.components, frame.rows, frame.columns) or scan.frame.precision > frame.bits:
                raise MalformedError("its JPEG-LS stream has another shape than the file states")
            samples = np.empty(shape, np.uint8 if scan.frame.precision <= 8 else np.uint16)
        for segment in _segments(scan, unclamped):
            if segment.first:
                begin = _restart(data, at, segment)
            kept.append(data[at:begin])
            found = decode(
                everything[begin:], samples, segment.components, segment.first, segment.end, scan.by_sample,
                segment.coding,
            )  # fmt: skip
            if found is None:
                raise MalformedError("its JPEG-LS stream is damaged")
            at = begin + found.length
            fills.append(found.fill)
            plain = plain and _plain(data, at)
    kept.append(data[at:])
    assert samples is not None and walk.frame is not None
    filled = any(fills)
    flags = UNCLAMPED * unclamped | FILLED * filled
    extra = len(fills).to_bytes(4, "little") + fills if filled else b""
    return _Apart(samples, bytes([VERSION, flags]) + extra + b"".join(kept), plain, walk.frame.precision > 12)


class JpegLs:
    """Lossless JPEG-LS."""

    number = 3
    name = "JPEG-LS"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Decode one frame; see `Stream.take_apart`.

        Samples are uint8 of up to 8 bits and uint16 of more, as they were coded: with mapping tables, the indices.
        """
        try:
            reason = MalformedError("its JPEG-LS stream is damaged")
            apart = None
            try:
                apart = _take_apart(data, frame, False)
            except MalformedError as error:
                reason = error
            if apart is None or (apart.deep and not apart.plain):
                try:
                    other = _take_apart(data, frame, True)
                    apart = other if other.plain and other.deep else apart
                except MalformedError:
                    pass
        except MemoryError:
            raise NotReproducible("memory does not suffice for its samples") from None
        if apart is None:
            raise NotReproducible(str(reason)) from None
        return Parts(apart.samples, apart.side)

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side; see `Stream.make`."""
        try:
            return b"".join(self._made(samples, side))
        except MalformedError:
            raise DamagedError("what is kept of a JPEG-LS stream makes no sense") from None

    def _made(self, samples: Samples, side: bytes) -> Iterator[bytes]:
        if len(side) < 2 or side[0] != VERSION or side[1] & ~(UNCLAMPED | FILLED):
            raise MalformedError
        fills, begin = b"", 2
        if side[1] & FILLED:
            begin = 6 + int.from_bytes(side[2:6], "little")
            fills = side[6:begin]
        kept = side[begin:]
        walk = Walk()
        at = 0
        number = 0
        while True:
            scan, end = walk.next_scan(kept, at)
            if scan is None:
                break
            shape = (len(scan.frame.identifiers), scan.frame.rows, scan.frame.columns)
            dtype = np.uint8 if scan.frame.precision <= 8 else np.uint16
            if samples.shape != shape or samples.dtype != dtype:
                raise MalformedError
            for segment in _segments(scan, bool(side[1] & UNCLAMPED)):
                if segment.first:
                    end = _restart(kept, at, segment)
                elif samples[segment.components].max() > segment.coding.maxval:
                    raise MalformedError
                yield kept[at:end]
                at = end
                yield from encode(
                    samples, segment.components, segment.first, segment.end, scan.by_sample, segment.coding,
                    fills[number] if number < len(fills) else 0,
                )  # fmt: skip
                number += 1
        yield kept[at:]
