"""The interface of a file format, and the description of an image. A new format is a new file beside this one.

A file of a known format is cut in three: the bytes before its voxels, the bytes of the voxels, the bytes after them.
The bytes around the voxels are kept as they are, and those of the voxels are made again by a body codec (`bodies`).
Each file is tried when it is archived, so a wrong guess about it costs size, never exactness.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from ..bodies.protocol import Reading
from .facts import Facts

HEAD_BYTES = 512  # of a file, that `Format.sniff` gets


@dataclass(frozen=True)
class Image:
    """A file with voxels: where they lie, and what `series.volumes` groups and orders by.

    Without `reading`, the voxels are native: one run of bytes, uncompressed, of 8 or 16 bits, x fastest, then y, then
    frames. A file that holds a whole volume has its slices as frames.
    """

    format: Format
    path: Path
    name: str  # in the archive
    size: int  # bytes of the file
    start: int  # of the voxels in the file, bytes
    rows: int
    columns: int
    frames: int
    bits: int  # of the words of a plane: 8 or 16
    signed: bool
    big_endian: bool
    stored: int = 0  # bits of a word that belong to the picture, the lowest; 0 where that is not known
    series: str = ""  # what the images of a volume have in common
    position: tuple[float, float, float] | None = None  # of the first voxel, mm
    orientation: tuple[float, ...] | None = None  # direction cosines along a row, then down a column
    kind: tuple[str, ...] = ()  # what tells reconstructions in one series apart
    order: tuple[float, ...] = ()  # time, acquisition and instance number, for slices at one position
    times: int = 1  # time points, one after another, each of frames / times slices
    reading: Reading | None = None  # how the voxels are read where they are not native words of one plane

    @property
    def planes(self) -> int:
        """Return the number of planes that the voxels become."""
        return self.reading.planes if self.reading else 1

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes of all frames, as words of all planes."""
        return self.rows * self.columns * self.frames * self.planes * self.bits // 8


class Extent(NamedTuple):
    """A stretch of a file."""

    start: int
    length: int


class NotCoded(Exception):
    """A file of a format whose voxels cannot be coded. The message completes "kept whole because …"."""

    def __init__(self, reason: str, jpeg: list[Extent] | None = None) -> None:
        """`jpeg`: where the file has JPEG frames."""
        super().__init__(reason)
        self.jpeg = jpeg or []


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
    """One file format: `sniff` and `read`. A format derives from this class; the other methods are optional.

    Only an encoder asks for a format. An archive does not name the formats of its files, so that every reader restores
    them, also one that is older than the format: it writes them by the body codecs alone.
    """

    def sniff(self, head: bytes) -> bool:
        """Return whether a file that begins with `head` (HEAD_BYTES, or all of a shorter file) may be of this format.

        `head` may also be the bytes before the voxels alone. A wrong yes is harmless: `read` decides.
        """
        ...

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file; None where it is of another format after all.

        Parameters:
            path: where the file is, for what lies beside it.
            name: its name in the archive.
            file: the open file, at its beginning. All bytes and the size come from here: it may be what a compressed
                file at `path` holds.

        Raises:
            NotCoded: where the file holds no voxels that can be coded, or contradicts itself.
            OSError: where the file cannot be read. No content may raise another error.
        """
        ...

    def cut(self, before: bytes) -> list[Cut]:
        """Cut the bytes before the voxels into elements, by strictly increasing tags and starts.

        Elements with the same tag are compressed side by side. An element lasts to the next one, the last to the end.
        Without elements the bytes are compressed as a whole.
        """
        return []

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by the bytes before the voxels of its first images, in order. Must not raise.

        Of DICOM, and of a format with `facts`, spacing is found by these.
        """
        return Description()

    def facts(self, header: bytes) -> Facts | None:
        """Return what the bytes before the voxels state of a whole volume; None for nothing. Must not raise."""
        return None


class Detached(Format, Protocol):
    """A format of numbers alone, with their header in another file of the folder."""

    def headers(self, name: str, others: Iterable[str]) -> list[str]:
        """Return the names that the header of a file `name` may have, of `others`, the names in its folder, or without
        regard to these."""
        ...

    def facts_beside(self, header: bytes, name: str) -> Facts | None:
        """Return what a header states of the volume that a file `name` in its folder is of; None where it is no header
        of this format, or of another file. Must not raise."""
        ...
