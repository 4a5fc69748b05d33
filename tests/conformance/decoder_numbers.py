"""The part of the conformance decoder for body 5, numbers of any type, written from docs/format.md alone."""

import lzma
import struct
from collections.abc import Callable

import numpy as np

from tests.conformance.decoder_bits import Reader, check, unzigzag

TYPES = "BbHhIiQqefd"  # of struct
Key = Callable[[int, int], int]  # of a level and lower bits


def key_of(value: float, letter: str) -> int:
    """The key of a floating-point number, rounded to its type."""
    word = int.from_bytes(struct.pack("<" + letter, value), "little")
    top = 1 << 8 * struct.calcsize(letter) - 1
    return 2 * top - 1 - word if word & top else word + top


def word_of(key: int, letter: str) -> int:
    """The bits of the number with a key."""
    top = 1 << 8 * struct.calcsize(letter) - 1
    if letter in "efd":
        return key - top if key >= top else 2 * top - 1 - key
    return key ^ top if letter.islower() else key


def array(reader: Reader, n: int, width: int) -> list[int]:
    """Arrays of codes."""
    data = reader.take(n * width)
    return [int.from_bytes(data[i::n], "little") for i in range(n)]


def table(reader: Reader, letter: str) -> tuple[dict[int, int], int]:
    """Code 0: the key of each level, and how many levels there are."""
    width = struct.calcsize(letter)
    modulus = 256**width
    n = reader.varint()
    check(0 < n <= 65536, "numbers of a table")
    gaps, kind = array(reader, n, 2), reader.number(1)
    check(kind <= (letter in "efd"), "prediction")
    a, b = struct.unpack("<2d", reader.take(16)) if kind else (0.0, reader.number(8))
    key, last, found = 0, 0, {}
    level = -1
    for gap, miss in zip(gaps, array(reader, n, width), strict=True):
        level += gap + 1
        key = key_of(a + b * level, letter) if kind else key + b * (level - last)
        key = (key + unzigzag(miss)) % modulus
        last = level
        found[level] = key
    check(level < 65536, "levels of a table")
    return found, level + 1


class Split:
    """Code 1."""

    def __init__(self, reader: Reader, letter: str):
        self.width = struct.calcsize(letter)
        self.base, self.stretch = reader.number(8), reader.number(1)
        self.stretches = array(reader, reader.varint(), 2)
        self.limit, self.shift = reader.number(9), reader.number(1)
        specials = [reader.number(8) for _ in range(reader.number(1))]
        check(len(specials) <= 16 and sorted(set(specials)) == specials, "special keys")
        self.specials = {(k >> self.shift) + 2 * i + 1: k for i, k in enumerate(specials)}
        self.levels = (self.limit - 1 >> self.shift) + 1 + 2 * len(specials)
        check(self.levels <= 65536 and self.shift < 8 * self.width, "levels of a split")

    def key(self, level: int, low: int) -> int:
        below = sum(special < level for special in self.specials)
        d = self.specials.get(level, (level - 2 * below << self.shift) + low)
        check(d < self.limit, "a key beyond the limit")
        if self.stretches:
            d = (self.stretches[d >> self.stretch] << self.stretch) + d % (1 << self.stretch)
        return (d + self.base) % 256**self.width


def stream(data: bytes) -> list[int]:
    """Streams."""
    if data[0]:
        check(data[0] == 1, "method of a stream")
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
        return list(lzma.decompress(data[1:], lzma.FORMAT_RAW, filters=filters))
    return list(data[1:])


def numbers(reader: Reader, planes: list[np.ndarray]) -> bytes:
    """Body 5: the bytes of all numbers and the gaps between them."""
    letter, components, flags = TYPES[reader.number(1)], reader.varint(), reader.number(1)
    check(flags < 16 and 0 < components <= 4096, "flags or components")
    code = reader.string()
    own = 1 if flags & 2 else components
    kind = code.number(1)
    check(kind < 3, "code")
    split = Split(code, letter) if kind == 1 else None
    tables = [table(code, letter)[0]] if kind == 0 else []
    for _ in range(code.varint() if kind == 2 else 0):
        check(code.number(1) == 0, "a table")
        tables.append(table(code, letter)[0])
    code.end()
    shift = split.shift if split else 0
    gaps = [(reader.varint(), reader.take(reader.varint())) for _ in range(reader.varint() if flags & 8 else 0)]
    each = 1 + (-(-shift // 16) if flags & 4 else 0)
    check(len(planes) == own * each, "planes")
    keys = []
    for c in range(own):
        levels, *lower = (plane.reshape(-1).tolist() for plane in planes[c * each : (c + 1) * each])
        streams = [] if flags & 4 else [stream(reader.take(reader.varint())) for _ in range(-(-shift // 8))]
        at, found, pixels = 0, [], planes[0][0].size
        for v, level in enumerate(levels):
            low = sum(plane[v] << 16 * i for i, plane in enumerate(lower))
            if split and level not in split.specials:
                low += sum(data[at] << 8 * i for i, data in enumerate(streams))
                at += 1
            check(low < 1 << shift, "lower bits")
            found.append(split.key(level, low) if split else tables[v // pixels if kind == 2 else 0][level])
        check(all(len(data) == at for data in streams), "length of a stream")
        keys.append(np.array(found, object).reshape(planes[0].shape))
    reader.end()
    samples = np.stack(keys)
    if flags & 2:
        depth, rows, columns = planes[0].shape
        samples = samples.reshape(depth // components, components, rows, columns).swapaxes(0, 1)
    order = np.moveaxis(samples, 0, -1).reshape(-1).tolist()
    width = struct.calcsize(letter)
    data = b"".join(word_of(key, letter).to_bytes(width, "big" if flags & 1 else "little") for key in order)
    at, out = 0, b""
    for count, gap in gaps:
        out, at = out + data[at : at + count] + gap, at + count
    return out + data[at:]
