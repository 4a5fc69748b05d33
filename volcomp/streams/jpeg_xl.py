"""JPEG frames (ITU-T T.81, 8 bits) inside JPEG XL, from which the same JPEG file is made again (ISO/IEC 18181-2, 9.8).

JPEG XL codes the quantised coefficients better than Huffman codes do, by about a fifth, and keeps what else the file
has in a box. A packed frame is a JPEG XL file behind a version and a length, so that every JPEG XL decoder that knows
this box can restore it, now and later. The work is done by libjxl through imagecodecs, which is optional.
"""

from __future__ import annotations

from typing import Any

from ..errors import DamagedError, UnsupportedError
from ..wire.cursor import Cursor, varint
from .protocol import NotReproducible

NUMBER = 5
NAME = "JPEG in JPEG XL"
VERSION = 1
# A block of 8 × 8 coefficients takes a bit at least. Headers that state more blocks than this would only take memory.
BLOCKS_PER_BYTE = 8


def _library() -> Any | None:
    """Return imagecodecs if it is installed and has libjxl."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs if imagecodecs.JPEGXL.available else None


def _blocks(data: bytes) -> int:
    """Return the number of blocks that a JPEG header states; NotReproducible where it is not one of 8 bits."""
    if data[:2] != b"\xff\xd8":
        raise NotReproducible("it does not begin as a JPEG stream")
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            raise NotReproducible("its JPEG stream is damaged")
        code, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            break
        if size < 2 or code in (0xD9, 0xDA):
            raise NotReproducible("its JPEG stream lacks a frame header")
        at += 2 + size
    if code > 0xC2 or len(body) < 6 or body[0] != 8:
        raise NotReproducible("its JPEG stream is not one of 8 bits with Huffman codes")
    rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    sampling = [(byte >> 4, byte & 15) for byte in body[7::3]]
    if not sampling or min(map(min, sampling)) < 1 or body[5] != len(sampling):
        raise NotReproducible("its JPEG stream is damaged")
    across, down = max(h for h, _ in sampling), max(v for _, v in sampling)
    units = -(-columns // (8 * across)) * -(-rows // (8 * down))
    return units * sum(h * v for h, v in sampling)


def take_apart(data: bytes) -> bytes:
    """Pack the JPEG stream of one frame, with all bytes before, in and after it.

    Raises:
        NotReproducible: where libjxl does not read the stream, as it reads none of 12 bits, or would not give `data`
            again; where packing saves nothing; where imagecodecs is not installed.
    """
    library = _library()
    if library is None:
        raise NotReproducible("imagecodecs is not installed (pip install 'volcomp[jpeg]')")
    if _blocks(data) > BLOCKS_PER_BYTE * len(data):
        raise NotReproducible("its JPEG stream is too short for the size that it states")
    try:
        packed = bytes(library.jpegxl_encode_jpeg(data, numthreads=1))
        same = bytes(library.jpegxl_decode_jpeg(packed, numthreads=1)) == data
    except (library.JpegxlError, ValueError, MemoryError):
        raise NotReproducible("libjxl does not read its JPEG stream") from None
    if not same:
        raise NotReproducible("its JPEG stream does not come back identical")
    packed = bytes([VERSION]) + varint(len(data)) + packed
    if len(packed) >= len(data):
        raise NotReproducible("its JPEG stream is no larger than in JPEG XL")
    return packed


def make(packed: bytes) -> bytes:
    """Return the JPEG stream that `take_apart` packed.

    Raises:
        DamagedError: where `packed` is not what it returned.
        UnsupportedError: where imagecodecs is not installed.
    """
    library = _library()
    if library is None:
        raise UnsupportedError(
            "the archive holds JPEG frames packed as JPEG XL, and imagecodecs is not installed: "
            "pip install 'volcomp[jpeg]'"
        )
    cursor = Cursor(packed, "a JPEG frame packed as JPEG XL")
    if cursor.take(1)[0] != VERSION:
        raise cursor.damaged()
    size = cursor.varint()
    try:
        data = bytes(library.jpegxl_decode_jpeg(cursor.rest(), numthreads=1))
    except (library.JpegxlError, ValueError, MemoryError):
        raise cursor.damaged() from None
    if len(data) != size:
        raise DamagedError("a JPEG frame packed as JPEG XL has another length than was stated")
    return data
