"""A lossless JPEG encoder for tests, written from ITU-T T.81 alone, bit by bit: with features that others lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ONE_CODE_EACH = [0, 0, 0, 0, 17] + [0] * 11  # 17 codes of five bits
PLAIN = (tuple(ONE_CODE_EACH), tuple(range(17)))
Table = tuple[Sequence[int], Sequence[int]]  # BITS and HUFFVAL of B.2.4.2


@dataclass
class Scan:
    """A scan: its components, the table of each, and how its encoder behaves."""

    components: Sequence[int]
    tables: Sequence[Table] = (PLAIN,)
    selection: int = 1
    transform: int = 0
    lines: int = 0  # of a restart interval
    before: bytes = b""  # segments of its own before it
    fill: str = "1"  # bits that fill the last byte
    extra: Sequence[bytes] = ()  # after the last byte of an interval
    bare: bool = False  # no zero after 0xFF as the last byte of an interval


@dataclass
class Stream:
    """A stream: its frame header and scans."""

    samples: np.ndarray  # [components, Y, X]
    precision: int
    scans: Sequence[Scan]
    sixteen: str = "bare"  # what is done with differences of 16 bits
    identifiers: Sequence[int] = (1, 2, 3, 4)
    factors: int = 0x11
    dnl: bool = False  # rows are defined by a DNL segment
    start: bytes = b""  # segments before the frame header
    end: bytes = b"\xff\xd9"

    def encode(self) -> bytes:
        """Write the stream."""
        components, rows, columns = self.samples.shape
        header = bytes([self.precision]) + (0 if self.dnl else rows).to_bytes(2, "big") + columns.to_bytes(2, "big")
        header += bytes([components])
        for name in self.identifiers[:components]:
            header += bytes([name, self.factors, 0])
        out = b"\xff\xd8" + self.start + segment(0xC3, header)
        interval = 0
        for number, scan in enumerate(self.scans):
            for place, (bits, values) in enumerate(scan.tables):
                out += segment(0xC4, bytes([place, *bits, *values]))
            if interval != scan.lines * columns:
                interval = scan.lines * columns
                out += segment(0xDD, interval.to_bytes(2, "big"))
            destinations = [
                (self.identifiers[component], min(place, len(scan.tables) - 1) << 4)
                for place, component in enumerate(scan.components)
            ]
            out += scan.before
            out += segment(
                0xDA,
                bytes([len(destinations), *(byte for pair in destinations for byte in pair)])
                + bytes([scan.selection, 0, scan.transform]),
            )
            out += self._scan(scan)
            if self.dnl and number == 0:
                out += segment(0xDC, rows.to_bytes(2, "big"))
        return out + self.end

    def _scan(self, scan: Scan) -> bytes:
        rows = self.samples.shape[1]
        lines = scan.lines or rows
        out = b""
        for number, first in enumerate(range(0, rows, lines)):
            if number:
                out += bytes([0xFF, 0xD0 + (number - 1) % 8])
            bits = self._interval(scan, first, min(first + lines, rows))
            bits += scan.fill * (-len(bits) % 8)
            data = int(bits, 2).to_bytes(len(bits) // 8, "big")
            data += scan.extra[number % len(scan.extra)] if scan.extra else b""
            stuffed = data.replace(b"\xff", b"\xff\0")
            out += stuffed[:-1] if scan.bare and data[-1] == 0xFF else stuffed
        return out

    def _interval(self, scan: Scan, first: int, end: int) -> str:
        planes = [(self.samples[component].astype(int) >> scan.transform).tolist() for component in scan.components]
        codes = [codes_of(table) for table in scan.tables]
        out = []
        for y in range(first, end):
            for x in range(self.samples.shape[2]):
                for place, plane in enumerate(planes):
                    if y == first:
                        predicted = plane[y][x - 1] if x else 1 << self.precision - scan.transform - 1
                    elif x == 0:
                        predicted = plane[y - 1][0]
                    else:
                        a, b, c = plane[y][x - 1], plane[y - 1][x], plane[y - 1][x - 1]
                        predicted = {
                            1: a, 2: b, 3: c, 4: a + b - c, 5: a + (b - c) // 2, 6: b + (a - c) // 2, 7: (a + b) // 2,
                        }[scan.selection]  # fmt: skip
                    out.append(self._code(plane[y][x] - predicted, codes[min(place, len(codes) - 1)]))
        return "".join(out)

    def _code(self, difference: int, codes: dict[int, str]) -> str:
        if self.sixteen != "whole":
            difference = (difference + 32767) % 65536 - 32767  # -32767 … 32768
        if difference == 32768 and self.sixteen == "negative":
            difference = -32768
        category = abs(difference).bit_length()
        if category == 0 or (category == 16 and self.sixteen == "bare"):
            return codes[category]
        low = difference if difference > 0 else difference - 1
        return codes[category] + format(low % (1 << category), f"0{category}b")


def segment(marker: int, content: bytes) -> bytes:
    """A marker segment with its length."""
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def codes_of(table: Table) -> dict[int, str]:
    """The code of every category (C.2)."""
    bits, values = table
    codes: dict[int, str] = {}
    code, at = 0, 0
    for length, count in enumerate(bits, 1):
        for category in values[at : at + count]:
            codes[category] = format(code, f"0{length}b")
            code += 1
        at += count
        code <<= 1
    return codes


def random_table(random: np.random.Generator, categories: int = 17) -> Table:
    """A random table that has a code for each category, of up to 16 bits, in any order."""
    lengths = random.integers(1, 17, categories)
    while sum(2.0**-length for length in lengths.tolist()) >= 1:  # the code of all ones stays unused
        lengths[random.integers(categories)] = 16 if random.random() < 0.5 else random.integers(5, 17)
    by_length = sorted(random.permutation(categories).tolist(), key=lambda category: int(lengths[category]))
    return [int((lengths == n).sum()) for n in range(1, 17)], by_length
