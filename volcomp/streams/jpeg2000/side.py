"""What samples do not determine of a JPEG 2000 stream, as bytes: `docs/streams.md` describes them."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import DamagedError
from ...wire.cursor import Cursor, string, varint

_VERSION = 1


class Correction(NamedTuple):
    """How a block's segment differs from what our coder makes: without its last `cut` bytes, and followed by `tail`."""

    block: int
    cut: int
    tail: bytes


class Side(NamedTuple):
    """The parts of the side information.

    frame         the stream without its packets
    lengths       whether the lengths of tile-parts are 0 in the frame and are to be counted
    fewer         how many passes fewer than it has each block declares, 0 or 1
    habits        how the encoder writes what may be written in two ways, see `packets`
    packets       how many packets each tile-part has
    heads         packets without the bytes of their blocks, with their numbers, that do not follow from the blocks
    corrections   in the order of the blocks
    """

    frame: bytes
    lengths: bool
    fewer: int
    habits: int
    packets: list[int]
    heads: list[tuple[int, bytes]]
    corrections: list[Correction]


def _gaps(numbers: list[int]) -> list[int]:
    return [number - before - 1 for before, number in zip([-1, *numbers], numbers, strict=False)]


def _from_gaps(gaps: list[int]) -> list[int]:
    numbers, last = [], -1
    for gap in gaps:
        last += gap + 1
        numbers.append(last)
    return numbers


def pack(side: Side) -> bytes:
    """Return the bytes of side information. Like stands by like, for a compressor that sees those of many frames."""
    corrections, heads = side.corrections, side.heads
    numbers = [
        len(side.packets),
        *side.packets,
        len(heads),
        *_gaps([number for number, _ in heads]),
        *(len(head) for _, head in heads),
        len(corrections),
        *_gaps([one.block for one in corrections]),
        *(one.cut for one in corrections),
        *(len(one.tail) for one in corrections),
    ]
    return b"".join(
        [
            bytes([_VERSION, side.lengths | side.fewer << 1 | side.habits << 2]),
            string(side.frame),
            *map(varint, numbers),
            *(head for _, head in heads),
            *(one.tail for one in corrections),
        ]
    )


def unpack(data: bytes) -> Side:
    """Return the side information that `pack` wrote; DamagedError where it is none."""
    cursor = Cursor(data, "the side information of a JPEG 2000 stream")
    if cursor.varint() != _VERSION:
        raise DamagedError("the side information of a JPEG 2000 stream has a version that this volcomp does not know")
    flags = cursor.varint(31)
    frame = cursor.string()
    limit = 1 << 31
    packets = cursor.varints(cursor.varint(), limit)
    count = cursor.varint()
    numbers, sizes = _from_gaps(cursor.varints(count, limit)), cursor.varints(count, limit)
    count = cursor.varint()
    blocks = _from_gaps(cursor.varints(count, limit))
    cuts, tails = cursor.varints(count, limit), cursor.varints(count, limit)
    heads = [(number, cursor.take(size)) for number, size in zip(numbers, sizes, strict=True)]
    corrections = [
        Correction(block, cut, cursor.take(size)) for block, cut, size in zip(blocks, cuts, tails, strict=True)
    ]
    cursor.end()
    return Side(frame, bool(flags & 1), flags >> 1 & 1, flags >> 2, packets, heads, corrections)
