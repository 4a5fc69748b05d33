"""Gzipped files that are kept whole: what they inflate to is compressed like other files, and their streams made again.

A packed file is a byte for the version; what is kept of its members, as in body 8 (`bodies/gzipped.py`); a string, what
follows the last member; and all that the members inflate to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..bodies.gzipped import deflated, members_of, members_to_bytes, read_members
from ..bodies.protocol import Piece
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, string

_VERSION = 1
MAGIC = b"\x1f\x8b\x08"
MOST_BYTES = 1 << 28  # of a file, and of what it is packed to; both are held in memory


def pack(data: bytes) -> bytes:
    """Pack a file that begins with a gzip member. Raises NotReproducible where its streams cannot be made again."""
    parts: list[bytes] = []
    members, end = members_of(data, parts, MOST_BYTES)
    packed = bytes([_VERSION]) + members_to_bytes(members) + string(data[end:]) + b"".join(parts)
    if len(packed) > MOST_BYTES:
        raise NotReproducible("it inflates to too many bytes")
    return packed


def unpack(data: bytes) -> Iterator[Piece]:
    """Yield the bytes of the file. Raises DamagedError."""
    cursor = Cursor(data, "a packed file")
    if cursor.take(1)[0] != _VERSION:
        raise cursor.damaged()
    members, rest = read_members(cursor), cursor.string()
    raw = np.frombuffer(cursor.rest(), np.uint8)
    if raw.size != sum(member.size for member in members):
        raise cursor.damaged()
    yield from deflated(raw, members)
    yield rest
