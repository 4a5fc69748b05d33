"""What the header of a file of another format than DICOM states: the place of its voxels, and the type of its numbers,
which an archive does not keep, since words of both signs are coded alike.

Where a header says nothing without the voxels, the format itself is asked, of a file with zeros in their place.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..bodies.protocol import Kept
from ..errors import UnsupportedError
from ..formats.facts import Facts
from ..formats.geometry import Geometry
from ..formats.protocol import NotCoded
from ..formats.registry import format_of


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


def type_of(
    facts: Facts | None, kept: Kept, name: str, pixel_bytes: int, words: np.dtype[Any]
) -> np.dtype[Any]:  # fmt: skip
    """Return the type of the numbers of a file that are words: as its header states it, else `words`.

    Parameters:
        facts: what the header states, if it says that without the voxels.
        kept: the bytes around the voxels.
        name: of the file.
        pixel_bytes: of the voxels.
        words: the type that the archive has of them.
    """
    if facts is not None:
        fits = facts.type.kind in "iu" and facts.type.itemsize == words.itemsize
        return np.dtype(words.str.replace(words.kind, facts.type.kind)) if fits else words
    found = format_of(kept.before)
    if found is None:
        return words
    file = cast(BinaryIO, io.BufferedReader(_Hollow(kept.before, pixel_bytes, kept.after)))
    try:
        image = found.read(Path(name), name, file)
    except NotCoded:  # its header is not what it was when the file was archived, or it was gzipped in several members
        return words
    return words if image is None else np.dtype(words.str.replace(words.kind, "i" if image.signed else "u"))


def geometry_of_facts(facts: Facts, depth: int) -> Geometry:
    """Return where the voxels of a file of another format than DICOM lie: of the first time point, if it has several.

    `depth`: slices of the volume. Raises UnsupportedError where its header states no place.
    """
    if isinstance(facts.place, str):
        raise UnsupportedError(facts.place)
    if facts.axes is None:
        raise UnsupportedError("it has fewer than two axes in space")
    columns, rows, slices = facts.axes
    if depth != facts.depth * facts.times:
        raise UnsupportedError("its numbers of each voxel are slices beside each other")
    return Geometry(facts.place.lps[:, [columns, rows, slices, 3]], facts.place.code)
