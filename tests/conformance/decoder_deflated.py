"""The part of the conformance decoder for files with deflate streams, written from docs/format.md alone: bodies 4, 8,
9, and packing 2. Stream codec 4, which makes such a stream of its bytes, is the package's, since that defines it."""

import struct
import zlib

import numpy as np

from tests.conformance.decoder_bits import Reader, check
from tests.conformance.decoder_bodies import of_map, voxel_bytes
from volcomp.streams.deflate import make

Member = tuple[bytes, int, int, bytes]  # head, ending, size, side


def string(reader: Reader) -> bytes:
    """Strings."""
    return reader.take(reader.varint())


def rest(reader: Reader) -> bytes:
    """What follows in a string."""
    return reader.data[reader.at // 8 :]


def deflated(before: bytes, side: bytes, after: bytes, planes: list[np.ndarray]) -> bytes:
    """Body 4."""
    reader = Reader(side)
    start, order = reader.varint(), string(reader)
    data = before + voxel_bytes(2, order, planes) + after
    check(start <= len(data), "start")
    return data[:start] + make(data[start:], rest(reader))


def gzipped(before: bytes, side: bytes, after: bytes, planes: list[np.ndarray]) -> bytes:
    """Body 8."""
    reader = Reader(side)
    start, body, inner = reader.varint(), reader.number(1), string(reader)
    check(body not in (4, 8, 9), "body")
    found = members(reader)
    data = before + voxel_bytes(body, inner, planes) + after
    return data[:start] + again(found, data[start:]) + rest(reader)


def inflated(data: bytes) -> bytes:
    """Files kept whole, packing 2."""
    reader = Reader(data)
    check(reader.number(1) == 1 and len(data) <= 1 << 28, "kind or size")
    found, end = members(reader), string(reader)
    return again(found, rest(reader)) + end


def members(reader: Reader) -> list[Member]:
    """Body 8: the members."""
    return [
        (string(reader), reader.number(1), reader.varint(), string(reader)) for _ in range(reader.varint())
    ]  # fmt: skip


def again(found: list[Member], data: bytes) -> bytes:
    """Body 8: members, of all that they hold."""
    check(sum(size for _, _, size, _ in found) == len(data), "sizes of members")
    made, at = b"", 0
    for head, ending, size, side in found:
        part = data[at : at + size]
        check(ending <= 2 and size < 1 << 31, "ending or size of a member")
        sums = (b"", struct.pack("<II", zlib.crc32(part), size), struct.pack(">I", zlib.adler32(part)))
        made += head + make(part, side) + sums[ending]
        at += size
    return made


def png(side: bytes, planes: list[np.ndarray]) -> bytes:
    """Body 9."""
    reader = Reader(side)
    head = reader.take(4)
    check(head[1] in (0, 2) and head[2] == len(planes), "type or components of a map")
    runs = [(reader.varint(), reader.varint()) for _ in range(reader.varint())]
    check(sum(count for size, count in runs if size == 0) <= 1 << 20, "empty chunks")
    begin, filters, side_of_stream, ending = reader.take(2), string(reader), string(reader), reader.number(1)
    check(ending <= 1, "ending")
    samples = of_map(head, planes)
    check(samples.shape[1] == 1, "slices")
    words = np.moveaxis(samples[:, 0], 0, -1)
    words = words.astype(words.dtype.newbyteorder(">"))
    rows = filtered([row.tobytes() for row in words], filters, samples.shape[0] * words.itemsize)
    stream = begin + make(rows, side_of_stream)
    stream += struct.pack(">I", zlib.adler32(rows)) * ending + rest(reader)
    sizes = [size for size, count in runs for _ in range(count)]
    check(sum(sizes) <= len(stream), "sizes of chunks")
    made, at = b"", 0
    for size in [*sizes, len(stream) - sum(sizes)]:
        chunk = b"IDAT" + stream[at : at + size]
        made += struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += size
    return made


def filtered(rows: list[bytes], filters: bytes, step: int) -> bytes:
    """Body 9: the filtered rows. `step`: bytes of a pixel."""
    reader = Reader(filters)
    rule = reader.number(1)
    check(rule <= 7, "rule")
    kinds: list[int | None] = [None] * len(rows)
    if rest(reader):
        if reader.number(1):
            stated = [value // 5**place % 5 for value in rest(reader) for place in range(3)]
            check(len(stated) - 3 < len(rows) <= len(stated) and not any(stated[len(rows) :]), "filters")
            kinds = [*stated[: len(rows)]]
        else:
            row = -1
            for _ in range(reader.varint()):
                row += reader.varint() + 1
                check(row < len(rows), "filters")
                kinds[row] = reader.number(1)
            reader.end()
    made, above = b"", bytes(len(rows[0]))
    for row, kind in zip(rows, kinds, strict=True):
        best = by_rule(rule, row, above, step) if kind is None else kind
        made += bytes([best]) + of_filter(best, row, above, step)
        above = row
    return made


def by_rule(rule: int, row: bytes, above: bytes, step: int) -> int:
    """Body 9: the filter that a rule gives."""
    if rule < 5:
        return rule
    if rule == 7:
        return max(range(5), key=lambda kind: alike(bytes([kind]) + of_filter(kind, row, above, step)))
    order = (0, 1, 2, 3, 4) if rule == 5 else (0, 2, 1, 4)
    return min(order, key=lambda kind: sum(min(v, 256 - v) for v in of_filter(kind, row, above, step)))


def alike(values: bytes) -> int:
    """Body 9: rule 7."""
    total = 0
    for value in set(values):
        c = values.count(value)
        e = c.bit_length() - 1
        total += c * e + 2 * (c - 2**e)
    return total


def of_filter(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    """ISO/IEC 15948, clause 9: a filtered row."""
    check(kind <= 4, "filter")
    made = bytearray()
    for i, value in enumerate(row):
        left, up, corner = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda one: abs(guess - one))
        made.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
    return bytes(made)
