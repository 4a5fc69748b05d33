"""The interface of a file format, and the description of an image. A new format is a new file beside this one.

A file of a known format is cut in three: the bytes before its voxels, the voxels, the bytes after them. The bytes
around the voxels are kept as they are, so a wrong guess about a file costs size, never exactness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

HEAD_BYTES = 512  # of a file, that `Format.sniff` gets


@dataclass(frozen=True)
class Image:
    """A file with native greyscale voxels: where they lie, and what `series.volumes` groups and orders by.

    The voxels are one run of bytes, uncompressed, of 8 or 16 bits, x fastest, then y, then frames. A file that holds a
    whole volume has its slices as frames.
    """

    format: Format
    path: Path
    name: str  # in the archive
    size: int  # bytes of the file
    start: int  # of the voxels in the file, bytes
    rows: int
    columns: int
    frames: int
    bits: int  # allocated: 8 or 16
    signed: bool
    big_endian: bool
    series: str = ""  # what the images of a volume have in common
    position: tuple[float, float, float] | None = None  # of the first voxel, mm
    orientation: tuple[float, ...] | None = None  # direction cosines along a row, then down a column
    kind: tuple[str, ...] = ()  # what tells reconstructions in one series apart
    order: tuple[float, ...] = ()  # time, acquisition and instance number, for slices at one position

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes of all frames."""
        return self.rows * self.columns * self.frames * self.bits // 8


class Cut(NamedTuple):
    """An element of the bytes before the voxels: `tag`, below 2^32 - 1, names what is alike in other files."""

    tag: int
    start: int  # of the element, bytes
    value: int  # start of its value, bytes


class Description(NamedTuple):
    """The facts of a volume that `volcomp info` shows, as far as its files have them."""

    series: str = ""
    modality: str = ""
    description: str = ""
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)  # z, y, x


class Format(Protocol):
    """One file format: `sniff`, `read`, `write_back`. A format derives from this class; the other methods are optional.

    Only an encoder asks for a format. An archive does not name the formats of its files, so that every reader restores
    them, also one that is older than the format. So `write_back` is the same for all formats; none may override it.
    """

    def sniff(self, head: bytes) -> bool:
        """Return whether a file that begins with `head` (HEAD_BYTES, or all of a shorter file) may be of this format.

        `head` may also be the bytes before the voxels alone. A wrong yes is harmless: `read` decides.
        """
        ...

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file; None where the file holds no native greyscale voxels or contradicts itself.

        Parameters:
            path: where the file is.
            name: its name in the archive.
            file: the open file, at its beginning.

        Raises:
            OSError: where the file cannot be read. No content may raise another error.
        """
        ...

    @staticmethod
    def write_back(
        before: bytes, voxels: Iterable[np.ndarray], after: bytes, *, big_endian: bool
    ) -> Iterator[bytes | memoryview]:
        """Yield the bytes of a file: before its voxels, the voxels, after them.

        Parameters:
            before, after: the bytes around the voxels.
            voxels: blocks of frames [z, Y, X], little-endian.
            big_endian: whether the file has its 16-bit voxels byte-swapped.
        """
        yield before
        for block in voxels:
            words = block.byteswap() if big_endian else np.ascontiguousarray(block)
            del block  # or its slab would stay in memory until the next one comes
            yield words.view(np.uint8).reshape(-1).data
            del words
        yield after

    def cut(self, before: bytes) -> list[Cut]:
        """Cut the bytes before the voxels into elements, by strictly increasing tags and starts.

        Elements with the same tag are compressed side by side. An element lasts to the next one, the last to the end.
        Without elements the bytes are compressed as a whole.
        """
        return []

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by the bytes before the voxels of its first images, in order. Must not raise."""
        return Description()
