"""Changes to bytes that know no format: bits, bytes, numbers, lengths, pieces moved or taken from another input."""

from __future__ import annotations

from random import Random

from volcomp.errors import DamagedError
from volcomp.wire.cursor import Cursor, varint

_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 65536)
_LARGE = (1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 61) + 1, (1 << 63) - 1)
NUMBERS = (*_NUMBERS, *_LARGE)


def number(random: Random) -> int:
    """Return a number at which something often changes, or one beside it."""
    return max(0, random.choice(NUMBERS) + random.choice((0, 0, 0, -1, 1)))


def changed(random: Random, data: bytes, others: list[bytes] | None = None) -> bytes:
    """Return bytes with one to four changes, mostly one."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        _change(random, out, others or [])
    return bytes(out)


def _change(random: Random, out: bytearray, others: list[bytes]) -> None:
    at = _place(random, len(out))
    kind = random.choice((0, 1, 1, 1, 2, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9))
    if not out or kind == 0:
        out[at:at] = random.randbytes(random.choice((1, 1, 2, 4, 9)))
    elif kind == 1:
        out[at] ^= 1 << random.randrange(8)
    elif kind == 2:
        out[at] = random.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, random.randrange(256), (out[at] + 1) % 256))
    elif kind == 3:  # a number of a fixed width
        width = random.choice((2, 4, 8))
        value = number(random) % (1 << 8 * width)
        out[at : at + width] = value.to_bytes(width, random.choice(("little", "big")))
    elif kind == 4:  # a varint
        try:
            cursor = Cursor(bytes(out[at : at + 9]), "")
            value = cursor.varint()
            length = cursor.position
        except DamagedError:
            value, length = 0, 1
        near = max(0, value + random.choice((-2, -1, 1, 2)))
        out[at : at + length] = varint(min(random.choice((near, near, number(random))), (1 << 63) - 1))
    elif kind == 5:
        del out[at : at + random.choice((1, 1, 2, 4, random.randrange(1, len(out) + 1)))]
    elif kind == 6:  # a piece twice, or moved
        piece = out[at : at + random.randrange(1, 65)]
        to = _place(random, len(out))
        if random.random() < 0.5:
            out[to:to] = piece
        else:
            out[to : to + len(piece)] = piece
    elif kind == 7:
        del out[at:]
    elif kind == 8 and others:  # a piece of another input
        other = random.choice(others)
        begin = _place(random, len(other))
        piece = other[begin : begin + random.randrange(1, 65)]
        out[at : at + (len(piece) if random.random() < 0.5 else 0)] = piece
    else:
        size = random.choice((1, 2, 4, 16, 64))
        out[at : at + size] = bytes([random.choice((0, 0xFF, random.randrange(256)))]) * size


def _place(random: Random, size: int) -> int:
    """Return a place: mostly anywhere, now and then near the beginning, where headers are."""
    most = min(size, random.choice((16, 64, 256, size, size, size, size, size)))
    return random.randrange(most) if most else 0
