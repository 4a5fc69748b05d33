"""The marker segments of a lossless JPEG stream (ITU-T T.81, Annex B): frame, Huffman tables, restarts, scans."""

from __future__ import annotations

from typing import NamedTuple

from .protocol import NotReproducible

SOF3, DHT, SOI, EOI, SOS, DRI = 0xC3, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
TEM = 0x01
OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {SOF3, DHT, 0xC8, 0xCC}  # SOF of other processes; C8 is JPG, CC is DAC
OTHER_STANDALONE = frozenset(range(0xD0, 0xD8)) | {SOI, EOI}  # without a length, and in no header but SOI at its start
LARGEST_CATEGORY = 16
HIGHEST_SELECTION = 7


class Frame(NamedTuple):
    """A frame header, SOF3.

    precision    bits of a sample, 2 … 16
    rows         lines; 0 if a DNL segment defines them after the first scan
    columns      samples of a line
    identifiers  of the components
    factors      horizontal and vertical sampling factor of each component, as one byte
    """

    precision: int
    rows: int
    columns: int
    identifiers: bytes
    factors: bytes


class Scan(NamedTuple):
    """A scan header, SOS, with what applies to it.

    components   places of its components in the frame header
    tables       the Huffman table of each: 16 bytes with the numbers of codes of each length, then the categories
    selection    number of the predictor, 1 … 7
    transform    point transform: bits by which samples are shifted to the right
    lines        lines of a restart interval; 0 if there are none
    """

    components: tuple[int, ...]
    tables: tuple[bytes, ...]
    selection: int
    transform: int
    lines: int


class Headers:
    """Reads marker segments, and remembers the tables that they define for later scans."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self._tables: dict[int, bytes] = {}
        self._interval = 0
        self._begun = False

    def scan(self, data: bytes, at: int) -> tuple[Scan, int]:
        """Read from `at` to the end of the next scan header. Returns it, and where its entropy-coded data begin.

        Raises:
            NotReproducible: there is no such header, or one that `jpeg_lossless` does not support.
        """
        while True:
            code, at = self._marker(data, at)
            if not self._begun:
                if code != SOI:
                    raise NotReproducible("it has no JPEG stream")
                self._begun = True
                continue
            if code == TEM:
                continue
            if code in OTHER_STANDALONE or code == 0:
                raise NotReproducible("its JPEG stream ends before its samples")
            if len(data) - at < 2:
                raise NotReproducible("its JPEG stream is cut short")
            end = at + int.from_bytes(data[at : at + 2], "big")
            if end < at + 2 or end > len(data):
                raise NotReproducible("its JPEG stream is cut short")
            segment = data[at + 2 : end]
            at = end
            if code == SOS:
                return self._scan(segment), at
            self._segment(code, segment)

    @staticmethod
    def _marker(data: bytes, at: int) -> tuple[int, int]:
        """Return the code of the marker at `at`, which fill bytes may precede, and where it ends (B.1.1.2)."""
        start = at
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at == start or at == len(data):
            raise NotReproducible("its JPEG stream is cut short, or bytes stand where a marker must be")
        return data[at], at + 1

    def _segment(self, code: int, segment: bytes) -> None:
        """Note what a segment defines. Those that define nothing for lossless scans are passed over."""
        if code == SOF3:
            self._read_frame(segment)
        elif code in OTHER_FRAMES:
            raise NotReproducible("its JPEG stream is of another process than the lossless one with Huffman codes")
        elif code == DHT:
            self._read_tables(segment)
        elif code == DRI:
            if len(segment) != 2:
                raise NotReproducible("its JPEG stream has a damaged restart interval")
            self._interval = int.from_bytes(segment, "big")

    def _read_frame(self, segment: bytes) -> None:
        """Read a frame header (B.2.2)."""
        if self.frame is not None or len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
            raise NotReproducible("its JPEG stream has a damaged frame header")
        rows, columns = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        frame = Frame(segment[0], rows, columns, segment[6::3], segment[7::3])
        if not 2 <= frame.precision <= 16 or columns == 0 or not 1 <= len(frame.identifiers) <= 4:
            raise NotReproducible("its JPEG stream has a frame header that no lossless stream has")
        if len(set(frame.identifiers)) < len(frame.identifiers):
            raise NotReproducible("its JPEG stream has two components of one name")
        if len(frame.factors) > 1 and set(frame.factors) != {0x11}:
            raise NotReproducible("its JPEG stream has subsampled components")
        self.frame = frame

    def _read_tables(self, segment: bytes) -> None:
        """Read Huffman tables (B.2.4.2). Whether one makes sense matters only where a scan uses it."""
        at = 0
        while at < len(segment):
            end = at + 17 + sum(segment[at + 1 : at + 17])
            if end > len(segment):
                raise NotReproducible("its JPEG stream has a damaged Huffman table")
            self._tables[segment[at]] = segment[at + 1 : end]
            at = end

    def _scan(self, segment: bytes) -> Scan:
        """Read a scan header (B.2.3)."""
        frame = self.frame
        if frame is None or not segment or not 1 <= segment[0] <= 4 or len(segment) != 4 + 2 * segment[0]:
            raise NotReproducible("its JPEG stream has a damaged scan header")
        names, destinations = segment[1:-3:2], segment[2:-3:2]
        selection, transform = segment[-3], segment[-1] & 15
        if not 1 <= selection <= HIGHEST_SELECTION or transform >= frame.precision:
            raise NotReproducible("its JPEG stream has an unknown predictor or point transform")
        if len(set(names)) < len(names) or not set(names) <= set(frame.identifiers):
            raise NotReproducible("its JPEG stream has a scan of components that it lacks")
        if not {destination >> 4 for destination in destinations} <= self._tables.keys():
            raise NotReproducible("its JPEG stream lacks a Huffman table")
        # An interval is a number of MCUs, here of one sample of each component, and whole lines (H.1.1).
        lines, odd = divmod(self._interval, frame.columns)
        if odd:
            raise NotReproducible("its JPEG stream has restarts within a line")
        components = tuple(frame.identifiers.index(name) for name in names)
        tables = tuple(self._tables[destination >> 4] for destination in destinations)
        return Scan(components, tables, selection, transform, lines)
