"""Streams of bytes beside planes, such as the lower bits of numbers: written and read piece by piece, as slabs come."""

from __future__ import annotations

import lzma
from typing import Any

from ..errors import DamagedError

_STORED, _LZMA2 = 0, 1  # methods
# Piece by piece, a reader has several streams at once: with a small dictionary each.
_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0}
]
_WORTHWHILE = 0.985  # of its bytes, at most, that packing leaves of a stream


class Packer:
    """Packs a stream."""

    def __init__(self, *, stored: bool) -> None:
        """`stored`: whether the bytes are kept as they are."""
        self._packing = None if stored else lzma.LZMACompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        self._pieces = [bytes([_STORED if stored else _LZMA2])]

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._pieces.append(self._packing.compress(data) if self._packing else data)

    def finish(self) -> bytes:
        """Return the packed stream."""
        return b"".join([*self._pieces, self._packing.flush() if self._packing else b""])


class Unpacker:
    """Unpacks a stream. Takes no more memory than the packed bytes and those that are asked for."""

    def __init__(self, packed: bytes) -> None:
        if packed[:1] not in (bytes([_STORED]), bytes([_LZMA2])):
            raise DamagedError("bytes beside its planes are packed in an unknown way")
        self._unpacking = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS) if packed[0] == _LZMA2 else None
        self._packed, self._at = packed, 1

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes. Raises DamagedError."""
        if not self._unpacking:
            taken = self._packed[self._at : self._at + count]
            self._at += len(taken)
        else:
            taken = b""
            try:
                while len(taken) < count and not self._unpacking.eof:
                    piece = self._unpacking.decompress(self._packed[self._at :], count - len(taken))
                    self._at = len(self._packed)  # it holds what it has not unpacked
                    if not piece and self._unpacking.needs_input:
                        break
                    taken += piece
            except lzma.LZMAError as error:
                raise DamagedError(f"bytes beside its planes do not unpack ({error})") from None
        if len(taken) != count:
            raise DamagedError("there are too few bytes beside its planes")
        return taken

    def finish(self) -> None:
        """Raise DamagedError where bytes are left."""
        if self._unpacking:
            try:
                more = b"" if self._unpacking.eof else self._unpacking.decompress(self._packed[self._at :], 1)
            except lzma.LZMAError:
                more = b"?"
            if more or not self._unpacking.eof or self._unpacking.unused_data:
                raise DamagedError("there are too many bytes beside its planes")
        elif self._at != len(self._packed):
            raise DamagedError("there are too many bytes beside its planes")


def packed_size(sample: bytes) -> int:
    """Return the bytes of a packed stream."""
    packer = Packer(stored=False)
    packer.add(sample)
    return len(packer.finish())


def is_noise(sample: bytes) -> bool:
    """Return whether a stream like a sample is kept as it is."""
    return packed_size(sample) > _WORTHWHILE * len(sample)
