"""The marker segments of JPEG-LS (ITU-T T.87, Annex C): what the data between them must be decoded with.

The same walk goes through a whole stream, and through what remains of it without its entropy-coded data.
"""

from __future__ import annotations

from typing import NamedTuple

from .jpeg_ls_model import Presets

SOI, EOI, SOF_LS, SOS, LSE, DRI, COM = 0xD8, 0xD9, 0xF7, 0xDA, 0xF8, 0xDD, 0xFE
BY_LINE, BY_SAMPLE = 1, 2  # the interleave modes of a scan, beside 0 for none (C.2.3)


class MalformedError(Exception):
    """A stream that this codec does not read. The message completes "kept as it is, because …"."""


class Frame(NamedTuple):
    """The frame header."""

    precision: int
    rows: int
    columns: int
    identifiers: tuple[int, ...]  # of the components


class Scan(NamedTuple):
    """A scan header, with what was in force when it came."""

    frame: Frame
    components: tuple[int, ...]  # as places in the frame
    by_sample: bool
    presets: Presets
    interval: int  # lines between restart markers; all lines where there are none


class Walk:
    """A walk through the markers of a stream. It keeps what is in force."""

    def __init__(self) -> None:
        """Begin before the first marker."""
        self.frame: Frame | None = None
        self._presets = Presets()
        self._interval = 0
        self._coded: set[int] = set()

    def next_scan(self, data: bytes, at: int) -> tuple[Scan | None, int]:
        """Read on from `at`, the end of a scan's data or the begin of all.

        Returns the next scan and where its data begins, or None and the end of the end-of-image marker. Raises
        MalformedError where markers or their order are none of lossless JPEG-LS.
        """
        if at == 0:
            if data[:2] != bytes([0xFF, SOI]):
                raise MalformedError("it does not begin as a JPEG stream")
            at = 2
        else:
            at = self.marker(data, at) - 2
        while True:
            code, at = self._code(data, at)
            if code == EOI:
                if self.frame is None or len(self._coded) < len(self.frame.identifiers):
                    raise MalformedError("its JPEG-LS stream ends before all components came")
                return None, at
            if not (code in (SOF_LS, SOS, LSE, DRI, COM) or 0xE0 <= code <= 0xEF):
                raise MalformedError(f"its JPEG stream has a marker 0xFF{code:02X}, which lossless JPEG-LS has not")
            size = int.from_bytes(data[at : at + 2], "big")
            body = data[at + 2 : at + size]
            if size < 2 or len(body) != size - 2:
                raise MalformedError("its JPEG-LS stream is cut short in a header")
            at += size
            if code == SOS:
                return self._scan(body), at
            if code == SOF_LS:
                self._begin(body)
            elif code == LSE:
                self._preset(body)
            elif code == DRI:
                if len(body) not in (2, 3, 4):
                    raise MalformedError("its JPEG-LS stream has a restart interval of an unknown form")
                self._interval = int.from_bytes(body, "big")

    @staticmethod
    def marker(data: bytes, at: int) -> int:
        """Return the end of the next marker at or after `at`, passing over what is none."""
        while True:
            at = data.find(b"\xff", at)
            if at < 0 or at + 1 >= len(data):
                raise MalformedError("its JPEG-LS stream is cut short")
            if 0x80 <= data[at + 1] < 0xFF:
                return at + 2
            at += 1

    @staticmethod
    def _code(data: bytes, at: int) -> tuple[int, int]:
        """Return the code of the marker at `at` and its end. Bytes 0xFF may come before it."""
        if data[at : at + 1] != b"\xff":
            raise MalformedError("its JPEG-LS stream has bytes where a marker should be")
        while data[at : at + 1] == b"\xff":
            at += 1
        if at == len(data):
            raise MalformedError("its JPEG-LS stream is cut short")
        return data[at], at + 1

    def _begin(self, body: bytes) -> None:
        """Read a frame header (C.2.2)."""
        if self.frame is not None:
            raise MalformedError("its JPEG-LS stream has several frame headers")
        count = body[5] if len(body) > 5 else 0
        if not 1 <= count <= 4 or len(body) != 6 + 3 * count or not 2 <= body[0] <= 16:
            raise MalformedError("its JPEG-LS frame header is not one of 1 to 4 components of 2 to 16 bits")
        if any(body[7::3][n] != 0x11 for n in range(count)):
            raise MalformedError("its JPEG-LS stream has components of several sizes")
        identifiers = tuple(body[6::3])
        if len(set(identifiers)) < count:
            raise MalformedError("its JPEG-LS stream has two components of one name")
        rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        if not rows or not columns:
            raise MalformedError("its JPEG-LS frame header lacks the number of rows or columns")
        self.frame = Frame(body[0], rows, columns, identifiers)

    def _preset(self, body: bytes) -> None:
        """Read preset parameters (C.2.4.1). Mapping tables do not matter here: their indices are the samples."""
        kind = body[0] if body else 0
        if kind == 1 and len(body) == 11:
            self._presets = Presets(*(int.from_bytes(body[n : n + 2], "big") for n in range(1, 11, 2)))
        elif kind not in (2, 3):
            raise MalformedError("its JPEG-LS stream has preset parameters of an unknown form")

    def _scan(self, body: bytes) -> Scan:
        """Read a scan header (C.2.3)."""
        frame = self.frame
        count = body[0] if body else 0
        if frame is None or not 1 <= count <= 4 or len(body) != 4 + 2 * count:
            raise MalformedError("its JPEG-LS stream has a scan header of an unknown form")
        near, mode, shift = body[-3:]
        if near:
            raise MalformedError("its JPEG-LS stream is near-lossless")
        if shift or mode > BY_SAMPLE or (mode == 0) != (count == 1):
            raise MalformedError("its JPEG-LS stream has a point transform or an unknown interleave mode")
        try:
            components = tuple(frame.identifiers.index(name) for name in body[1 : 1 + 2 * count : 2])
        except ValueError:
            raise MalformedError("its JPEG-LS stream has a scan of an unknown component") from None
        if self._coded & set(components) or len(set(components)) < count:
            raise MalformedError("its JPEG-LS stream codes a component twice")
        self._coded |= set(components)
        interval = min(self._interval or frame.rows, frame.rows)
        return Scan(frame, components, mode == BY_SAMPLE and count > 1, self._presets, interval)
