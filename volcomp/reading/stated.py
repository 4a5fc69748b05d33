"""What the header of a file of another format than DICOM states of its numbers: their type, which an archive does not
keep, since words of both signs are coded alike.

The format itself is asked, of a file with zeros in place of the voxels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..bodies.protocol import Kept
from ..formats.dicom import DICOM
from ..formats.protocol import HEAD_BYTES, Format, NotCoded
from ..formats.registry import PLAIN

_MAGIC = slice(128, 132)  # of DICOM, whatever stands before it


class _Hollow(io.RawIOBase):
    """A file with zeros between its first and its last bytes."""

    def __init__(self, before: bytes, zeros: int, after: bytes) -> None:
        self._before, self._after, self._end = before, after, len(before) + zeros
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._end + len(self._after)
        self._at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence], 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        if self._at < len(self._before):
            piece = self._before[self._at : self._at + len(target)]
        elif self._at < self._end:
            piece = bytes(min(len(target), self._end - self._at))
        else:
            begin = self._at - self._end
            piece = self._after[begin : begin + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def format_of(before: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes; None for DICOM and where there is no magic number."""
    head = before[:HEAD_BYTES]
    if head[_MAGIC] == b"DICM":
        return None
    return next((one for one in PLAIN if one is not DICOM and one.sniff(head)), None)


def type_of(kept: Kept, name: str, pixel_bytes: int, words: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the numbers of a file that are words: as its header states it, else `words`.

    Parameters:
        kept: the bytes around the voxels.
        name: of the file.
        pixel_bytes: of the voxels.
        words: the type that the archive has of them.
    """
    found = format_of(kept.before)
    if found is None:
        return words
    file = cast(BinaryIO, io.BufferedReader(_Hollow(kept.before, pixel_bytes, kept.after)))
    try:
        image = found.read(Path(name), name, file)
    except NotCoded:  # its header is not what it was when the file was archived, or it was gzipped in several members
        return words
    return words if image is None else np.dtype(words.str.replace(words.kind, "i" if image.signed else "u"))
