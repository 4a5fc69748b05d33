"""The file formats that an archive codes as voxels. A new format is a new file in this folder and its name here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .dicom import DICOM
from .gzipped import Gzipped
from .metaimage import METAIMAGE, METAIMAGE_DATA
from .mgh import MGH
from .netpbm import NETPBM
from .nifti import NIFTI, NIFTI_PAIR
from .npy import NPY
from .nrrd import NRRD, NRRD_DATA
from .png import PNG
from .protocol import HEAD_BYTES, Description, Detached, Format, Image, NotCoded
from .tiff import TIFF

# Told by how a file begins.
PLAIN: tuple[Format, ...] = (DICOM, NIFTI, NRRD, METAIMAGE, NPY, MGH, TIFF, PNG, NETPBM)
# In the order in which they are asked; last those that can tell their files only by what lies beside these.
DETACHED: tuple[Detached, ...] = (NIFTI_PAIR, NRRD_DATA, METAIMAGE_DATA)
FORMATS: tuple[Format, ...] = (*PLAIN, Gzipped(PLAIN), *DETACHED)
_MAGIC = slice(128, 132)  # of DICOM, whatever stands before it


def read_image(path: Path, name: str) -> Image | None:
    """Return the image in a file that is archived as `name`; None where it is of no known format.

    Raises:
        NotCoded: where it is of a known format, but its voxels cannot be coded.
        OSError: where the file cannot be read.
    """
    refused: NotCoded | None = None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        for file_format in FORMATS:
            if file_format.sniff(head):
                file.seek(0)
                try:
                    if image := file_format.read(path, name, file):
                        return image
                except NotCoded as error:
                    if not (refused and refused.jpeg):  # a format that only guesses would hide them
                        refused = error
    if refused:
        raise refused
    return None


def format_of(before: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes; None for DICOM and where there is no magic number."""
    head = before[:HEAD_BYTES]
    if head[_MAGIC] == b"DICM":
        return None
    return next((one for one in PLAIN if one is not DICOM and one.sniff(head)), None)


def describe(headers: Sequence[bytes]) -> Description:
    """Describe a volume by the bytes before the voxels of its first images, in order; empty where no format can."""
    for file_format in FORMATS:
        if headers and file_format.sniff(headers[0][:HEAD_BYTES]):
            found = file_format.describe(headers)
            if found != Description():
                return found
    return Description()
