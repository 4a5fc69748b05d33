"""The part of `decoder.py` that reads numbers and symbols, from docs/format.md alone."""

import itertools


def check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def clip(v: int, high: int, low: int | None = None) -> int:
    """Numbers; or within low … high."""
    return min(max(v, -high if low is None else low), high)


class Reader:
    """Numbers: the fields of sections, read one after the other; bits from the least significant of a byte on."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0  # at: in bits

    def bits(self, n: int) -> int:
        begin, self.at = self.at, self.at + n
        check(self.at <= 8 * len(self.data), "too short")
        return int.from_bytes(self.data[begin // 8 : -(-self.at // 8)], "little") >> begin % 8 & ((1 << n) - 1)

    def number(self, n: int) -> int:
        return self.bits(8 * n)

    def take(self, n: int) -> bytes:
        return self.number(n).to_bytes(n, "little")

    def varint(self) -> int:
        value = 0
        for i in range(9):
            byte = self.number(1)
            value |= (byte & 127) << 7 * i
            if byte < 128:
                check(byte > 0 or i == 0, "varint is not the shortest")
                return value
        raise ValueError("varint is too long")

    def string(self) -> "Reader":
        return Reader(self.take(self.varint()))

    def rice(self, n: int) -> list[int]:
        k, values = self.number(1), []
        for _ in range(n):
            ones = 0
            while self.bits(1):
                ones += 1
            values.append(unzigzag(ones << k | self.bits(k)))
        self.end()
        return values

    def end(self) -> None:
        check(self.bits(-self.at % 8) == 0 and self.at == 8 * len(self.data), "nothing may follow but padding")


def unzigzag(v: int) -> int:
    return -(v + 1) // 2 if v & 1 else v // 2


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


class Binary:
    """Fitted models: the binary arithmetic coder."""

    def __init__(self, data: bytes):
        self.low, self.high, self.code, self.rest = 0, 2**32 - 1, 0, data
        for _ in range(4):
            self.shift()

    def shift(self) -> None:
        self.code = (self.code << 8) % 2**32 + (self.rest[0] if self.rest else 0)
        self.rest = self.rest[1:]

    def bit(self, p: int) -> int:
        middle = self.low + (self.high - self.low >> 16) * p
        bit = int(self.code <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            self.low, self.high = (self.low << 8) % 2**32, (self.high << 8) % 2**32 + 255
            self.shift()
        return bit

    def adaptive(self, counts: list[int]) -> int:
        bit = self.bit(clip(2**16 * counts[1] // sum(counts), 65472, 64))
        counts[bit] += 1
        return bit


class Ans:
    """Entropy coder."""

    def __init__(self, words: list[int]):
        self.words, self.state = words, 0
        self.refill()

    def refill(self) -> None:
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, counts: list[int]) -> int:
        """Counts that sum to 2^20, or weights, which may have any sum."""
        totals = list(itertools.accumulate([0, *counts]))
        return self.between([total * (2**24 - len(counts)) // totals[-1] + j for j, total in enumerate(totals)])

    def between(self, edges: list[int]) -> int:
        low = self.state % 2**24
        j = sum(edge <= low for edge in edges) - 1
        self.state = (self.state >> 24) * (edges[j + 1] - edges[j]) + low - edges[j]
        self.refill()
        return j


def odds(m: int) -> list[int]:
    """Spike: the counts of no and yes under a code."""
    larger, smaller = 9 ** abs(m - 128), 8 ** abs(m - 128)
    likelier = min(2**20 * larger // (larger + smaller), 2**20 - 1)
    return [2**20 - likelier, likelier] if m >= 128 else [likelier, 2**20 - likelier]
