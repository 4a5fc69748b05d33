"""Files with JPEG frames, which JPEG XL makes smaller: each frame is packed, and what is around it stays as it is.

A packed file is a byte for the version, then strings, in turn what is between frames and a packed frame, beginning and
ending with the former.
"""

from __future__ import annotations

from ..formats.protocol import Extent
from ..streams import jpeg_xl
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, string

_VERSION = 1
MOST_BYTES = 1 << 28  # of a file that is packed; it is held in memory


def pack(data: bytes, frames: list[Extent]) -> bytes:
    """Pack the frames of a file.

    Raises:
        NotReproducible: where no frame can be packed.
    """
    pieces, at, reason = [], 0, NotReproducible("it has no frames")
    for start, length in frames:
        try:
            packed = jpeg_xl.take_apart(data[start : start + length])
        except NotReproducible as error:
            reason = error
            continue
        pieces += [data[at:start], packed]
        at = start + length
    if not pieces:
        raise reason
    return bytes([_VERSION]) + b"".join(map(string, [*pieces, data[at:]]))


def unpack(data: bytes) -> bytes:
    """Return the file. Raises DamagedError, and UnsupportedError where the library for JPEG XL is missing."""
    cursor = Cursor(data, "a packed file")
    if cursor.take(1)[0] != _VERSION:
        raise cursor.damaged()
    pieces = [cursor.string()]
    while cursor.position < len(data):
        pieces += [jpeg_xl.make(cursor.string()), cursor.string()]
    return b"".join(pieces)
