"""Chunks of what `.vcz` files do not hold: words of 32 and 64 bits, floating-point numbers, records, long thin shapes.

A payload begins with a signature and a byte for its kind; all integers are varints.

    PLANES   the bytes of an item; a zstd frame of the items' first bytes, then of their second bytes, and so on
    TABLE    the bytes of an item; the length of a frame, and the frame, as in PLANES, of the bit patterns that occur,
             in ascending order of what they stand for; then a `.vcz` file that has the rank of each item's pattern
    SWAPPED  a payload of items in the other byte order (of arrays of format 2 alone, whose codec returns memory)

Patterns are compared as bits, so that every NaN, and the sign of a zero, comes back. A table pays for images that were
scaled to floating point: some thousand values occur in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import zstandard

from ..errors import DamagedError, UnsupportedError
from ..wire.cursor import Cursor, varint

SIGNATURE = b"\x89VCC\r\n\x1a\n"
PLANES, TABLE, SWAPPED = 0, 1, 2
PATTERNS = 1 << 16  # of a table, at most: a rank has 16 bits
_SAMPLE = 1 << 18  # items that are looked at before all are sorted
_LEVEL = 9  # of zstd: the higher ones gain some per cent at a tenth of the speed
_RATIO = 1 << 15  # bytes that a byte of a zstd frame stands for, at most: a block of 128 KiB has four bytes at least
_ITEM = 1 << 20  # bytes of an item, at most

Ranks = Callable[[np.ndarray], bytes]  # encodes ranks, u1 or u2 [n], as a `.vcz` file
Voxels = Callable[[bytes], np.ndarray]  # and decodes it [n]


def planes(items: np.ndarray) -> bytes:
    """Encode items of any type [n] as PLANES."""
    return SIGNATURE + bytes([PLANES]) + varint(items.dtype.itemsize) + _frame(items)


def table(numbers: np.ndarray, encode: Ranks) -> bytes | None:
    """Encode little-endian numbers of 4 or 8 bytes [n] as TABLE; None where more patterns occur than a table holds."""
    keys = _keys(numbers)
    if len(np.unique(keys[:_SAMPLE])) > PATTERNS:
        return None
    found, ranks = np.unique(keys, return_inverse=True)
    if len(found) > PATTERNS:
        return None
    frame = _frame(_patterns(found, numbers.dtype.kind))
    head = SIGNATURE + bytes([TABLE]) + varint(numbers.dtype.itemsize) + varint(len(frame))
    return head + frame + encode(ranks.astype(np.uint8 if len(found) <= 1 << 8 else np.uint16))


def swapped(payload: bytes) -> bytes:
    """Mark a payload: its items are to be returned in big-endian byte order."""
    return SIGNATURE + bytes([SWAPPED]) + payload


def decode(payload: bytes, total: int | None, voxels: Voxels) -> np.ndarray:
    """Decode PLANES or TABLE: items [n] of raw bytes (`V`). `total` is how many bytes must come out, if that is known.

    Raises DamagedError, and UnsupportedError for another kind.
    """
    cursor = Cursor(payload[len(SIGNATURE) :], "the chunk")
    kind = cursor.take(1)[0]
    if kind not in (PLANES, TABLE):
        raise UnsupportedError(f"the chunk is of the unknown kind {kind}; upgrade volcomp")
    size = cursor.varint(limit=_ITEM)
    if not size:
        raise cursor.damaged()
    if kind == PLANES:
        return _items(cursor.rest(), size, total)
    patterns = _items(cursor.string(), size, None)
    ranks = voxels(cursor.rest())
    if ranks.size and int(ranks.max()) >= len(patterns):
        raise DamagedError(f"the chunk has a table of {len(patterns)} values, and asks for number {int(ranks.max())}")
    return patterns[ranks]


def _frame(items: np.ndarray) -> bytes:
    """Return a zstd frame of the planes of items [n]."""
    raw = np.ascontiguousarray(items).view(np.uint8).reshape(len(items), items.dtype.itemsize)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)
    return compressor.compress(np.ascontiguousarray(raw.T).data)


def _items(frame: bytes, size: int, total: int | None) -> np.ndarray:
    """Decode a frame: items [n] of `size` raw bytes. No more memory is taken than the frame can stand for."""
    try:
        stated = zstandard.get_frame_parameters(frame).content_size
        if stated % size or stated > _RATIO * len(frame) or total not in (None, stated):
            wanted = "" if total is None else f" where one of the array has {total}"
            raise DamagedError(f"the chunk states {stated} bytes, in items of {size}{wanted}")
        raw = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise DamagedError(f"the chunk is damaged: it does not unpack ({error})") from None
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(size, stated // size).T).view(f"V{size}")[:, 0]


def _sign(keys: np.ndarray) -> Any:
    return keys.dtype.type(1 << 8 * keys.dtype.itemsize - 1)


def _keys(numbers: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the order of the numbers, one for every bit pattern; NaN is beyond the infinities."""
    bits = numbers.view(f"<u{numbers.dtype.itemsize}")
    if numbers.dtype.kind == "u":
        return bits
    if numbers.dtype.kind != "f":
        return bits ^ _sign(bits)
    return np.where(bits & _sign(bits), ~bits, bits ^ _sign(bits))


def _patterns(keys: np.ndarray, kind: str) -> np.ndarray:
    """Undo `_keys` for numbers of a kind."""
    if kind == "u":
        return keys
    if kind != "f":
        return keys ^ _sign(keys)
    return np.where(keys & _sign(keys), keys ^ _sign(keys), ~keys)
