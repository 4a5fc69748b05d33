"""What an archive knows of one file, folder or link: its name, its digest, and where its bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Kinds of entries; the numbers are part of the format."""

    FILE = 0
    FOLDER = 1
    LINK = 2  # symbolic


@dataclass(frozen=True)
class Voxels:
    """Where an image is: its voxels in volumes, the bytes around them in a record of a KEEP section."""

    volume: int  # number of the first of its volumes
    first: int  # slice of these volumes
    frames: int  # slices
    table: int  # number of the KEEP section
    row: int  # of its record in it
    before: int  # bytes of the record that precede the voxels' bytes in the file
    side: int  # bytes of the record that follow these: what the voxels' bytes are made with, beside voxels
    body: int = 0  # number of the body codec; see `bodies.registry`
    planes: int = 1  # volumes, with consecutive numbers and of one depth

    @property
    def end(self) -> int:
        """Return the slice after its last one."""
        return self.first + self.frames


AS_IT_IS, JPEG_XL, INFLATED = 0, 1, 2  # packings: JPEG frames as JPEG XL; gzip members as what they inflate to


@dataclass(frozen=True)
class Stored:
    """Where a file that is kept whole is: in the BLOB sections, which are one stream of bytes."""

    start: int
    size: int  # bytes there
    packing: int = AS_IT_IS  # what was done to them


@dataclass(frozen=True)
class Entry:
    """One file, folder or link."""

    name: str  # relative POSIX path; undecodable bytes as surrogates
    kind: Kind = Kind.FILE
    size: int = 0  # bytes of a file
    sha256: bytes = b""  # of a file
    place: Voxels | Stored | None = None  # of a file; copies share one
    mtime: int | None = None  # ns since 1970; None where times were not to be kept
    mode: int | None = None  # permissions, nine bits; as above
    note: str = ""  # of a link its target; of a file that is kept whole, why it is
