"""The section that states which files of an archive are not those that were given, and how far their voxels may differ.

An archive gives its files back byte for byte, always. Where a user allowed an error, these files are others than the
originals: `derived` made them, with voxels within a bound. The section has, as varints, how many losses follow; of each
how many files, the largest error in grey levels, and as a string the region that is exact, empty where there is none.
Releases before 0.12.0 pass over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import DamagedError
from ..wire.cursor import Cursor, string, varint
from .sections import LOSSES, Reader, SectionId, Writer

_MOST = 1 << 10  # losses
_MOST_ERROR = 1 << 16


@dataclass(frozen=True)
class Loss:
    """What was allowed of some files."""

    files: int
    max_error: int  # grey levels
    region: str = ""  # that is exact: "x0:x1,y0:y1,z0:z1", or the name of a mask

    def __str__(self) -> str:
        files = "1 file differs" if self.files == 1 else f"{self.files} files differ"
        inside = f", not at all inside {self.region}" if self.region else ""
        return f"{files} from the original by at most {self.max_error} in a voxel{inside}"


def write_losses(writer: Writer, losses: Iterable[Loss]) -> None:
    """Append the section."""
    listed = list(losses)
    payload = varint(len(listed))
    for loss in listed:
        payload += varint(loss.files) + varint(loss.max_error) + string(loss.region.encode())
    writer.add(SectionId(LOSSES), payload)


def read_losses(reader: Reader) -> tuple[Loss, ...]:
    """Return the losses that a file states; none for most files. Raises DamagedError."""
    if SectionId(LOSSES) not in reader.places:
        return ()
    cursor = Cursor(reader.read(SectionId(LOSSES)), "the list of losses")
    found = []
    for _ in range(cursor.varint(_MOST)):
        files, error, region = cursor.varint(), cursor.varint(_MOST_ERROR), cursor.string()
        try:
            found.append(Loss(files, error, region.decode()))
        except UnicodeDecodeError:
            raise DamagedError("the list of losses is damaged: it names a region that is no text") from None
    cursor.end()
    return tuple(found)
