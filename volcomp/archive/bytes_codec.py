"""General-purpose compression of kept bytes: LZMA2 for headers, the smaller of zstd and LZMA2 for whole files, or none.

A packed payload is one byte for the method, the size of the raw bytes as a varint, then the compressed bytes.
"""

from __future__ import annotations

import lzma

import zstandard

from ..errors import DamagedError, NewerError
from ..wire.cursor import Cursor, varint

# One payload unpacks to no more, so that a false size costs a reader no more memory.
CHUNK_BYTES = 32 << 20
_STORED, _ZSTD, _LZMA2 = 0, 1, 2
# LZMA's contexts (lc, lp, pb): of text and bytes, of words of 2, 4 and 8 bytes, and those of xz, which suit a mixture.
_CONTEXTS = ((3, 0, 0), (3, 1, 1), (2, 2, 2), (0, 3, 3), (3, 0, 2))
_PIECE, _PIECES = 1 << 16, 16  # of a chunk, that these are tried on
_COMPRESSIBLE = 0.97  # of its size, at most, that zstd leaves of what LZMA2 is tried on


def pack_table(raw: bytes) -> bytes:
    """Pack a table of headers by LZMA2: 10 to 30 % smaller than by zstd -22, at some MB/s."""
    return _smaller(_LZMA2, raw, lzma.compress(raw, lzma.FORMAT_RAW, filters=_filters(len(raw))))


def pack_blob(raw: bytes) -> bytes:
    """Pack whole files by zstd -19 with a window over all of `raw`, or by LZMA2 where that is smaller.

    What zstd makes hardly smaller is compressed already: LZMA2 is then not tried.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(raw),
        window_log=max(10, (len(raw) - 1).bit_length()),
        enable_ldm=True,
        write_content_size=False,
        write_checksum=False,
    )
    packed = _smaller(_ZSTD, raw, zstandard.ZstdCompressor(compression_params=parameters).compress(raw))
    if len(packed) >= _COMPRESSIBLE * len(raw):
        return packed
    by_lzma = lzma.compress(raw, lzma.FORMAT_RAW, filters=_filters(len(raw), _contexts(raw)))
    return min(packed, _smaller(_LZMA2, raw, by_lzma), key=len)


def unpack(data: bytes, what: str) -> bytes:
    """Return the raw bytes of a packed payload, allocating at most CHUNK_BYTES for them. Raises DamagedError."""
    cursor = Cursor(data, what)
    method = cursor.take(1)[0]
    size = cursor.varint(limit=CHUNK_BYTES)
    packed = data[cursor.position :]
    try:
        if method == _STORED:
            raw = packed
        elif method == _ZSTD:
            window = 1 << max(10, (size - 1).bit_length())
            stream = zstandard.ZstdDecompressor(max_window_size=window).stream_reader(packed)
            raw = stream.read(size + 1)
        elif method == _LZMA2:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(size))
            raw = decoder.decompress(packed, max_length=size + 1)
            if not decoder.eof or decoder.unused_data:
                raise cursor.damaged()
        else:
            raise NewerError(f"{what} is packed with the unknown method {method}; upgrade volcomp")
    except (lzma.LZMAError, zstandard.ZstdError, MemoryError) as error:
        raise DamagedError(f"{what} is damaged: it does not unpack ({error})") from None
    if len(raw) != size:
        raise DamagedError(f"{what} is damaged: it unpacks to another size than it says")
    return raw


def _smaller(method: int, raw: bytes, packed: bytes) -> bytes:
    assert len(raw) <= CHUNK_BYTES
    if len(packed) >= len(raw):
        method, packed = _STORED, raw
    return bytes([method]) + varint(len(raw)) + packed


def _contexts(raw: bytes) -> tuple[int, int, int]:
    """Return the contexts that make pieces of `raw` smallest."""
    step = max(_PIECE, len(raw) // _PIECES)
    sample = b"".join(raw[at : at + _PIECE] for at in range(0, len(raw), step))

    def size(contexts: tuple[int, int, int]) -> int:
        return len(lzma.compress(sample, lzma.FORMAT_RAW, filters=_filters(len(sample), contexts, 6)))

    return min(_CONTEXTS, key=size)


def _filters(
    size: int, contexts: tuple[int, int, int] = _CONTEXTS[0], preset: int = 9 | lzma.PRESET_EXTREME
) -> list[dict[str, int]]:
    """Return the LZMA2 settings. A decoder needs those that depend on the raw size; contexts are in the stream."""
    lc, lp, pb = contexts
    return [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": preset,
            "lc": lc,
            "lp": lp,
            "pb": pb,
            "dict_size": 1 << max(12, (size - 1).bit_length()),
        }
    ]
