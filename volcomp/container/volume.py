"""The header section of a volume: its flags and SHA-256, and the header that its slabs are decoded with.

One byte of flags, 32 bytes of SHA-256 over the voxels (little-endian, C order), then the header (`header.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DamagedError, UnsupportedError
from ..models import RELEASED, Catalogue
from .header import VolumeHeader, read_header
from .sections import SLAB, VOLUME_HEADER, Reader, SectionId, Writer

_TWO_DIMENSIONAL = 1  # flag: the array was given as (y, x)
_SHA_BYTES = 32


@dataclass(frozen=True)
class Volume:
    """The contents of the header section of a volume."""

    number: int
    section: bytes  # the header, undecoded; `layout` is the same decoded
    layout: VolumeHeader
    sha256: bytes  # of the voxels, little-endian in C order
    two_dimensional: bool

    @property
    def voxels(self) -> int:
        """Return the number of voxels of the volume."""
        return self.layout.voxels

    def slabs_of(self, first: int, end: int) -> list[int]:
        """Return the numbers of the slabs that hold any of the slices `first` to `end - 1`."""
        return [k for k, (a, b) in enumerate(self.layout.slabs) if a < end and b > first]


def write_volume_header(writer: Writer, volume: Volume) -> None:
    """Append the section."""
    flags = bytes([_TWO_DIMENSIONAL if volume.two_dimensional else 0])
    writer.add(SectionId(VOLUME_HEADER, volume.number), flags + volume.sha256 + volume.section)


def read_volume(reader: Reader, number: int, catalogue: Catalogue = RELEASED) -> Volume:
    """Parse the header section of a volume, without reading its slabs."""
    payload = reader.read(SectionId(VOLUME_HEADER, number))
    if len(payload) <= 1 + _SHA_BYTES:
        raise DamagedError(f"the header of volume {number} is damaged: it is too short")
    if payload[0] & ~_TWO_DIMENSIONAL:
        raise UnsupportedError(f"volume {number} has the unknown flags {payload[0]:#04x}; upgrade volcomp")
    section = payload[1 + _SHA_BYTES :]
    layout = read_header(section, catalogue)
    slabs = sum(one.tag == SLAB and one.major == number for one in reader.places)
    if slabs != len(layout.slabs) and reader.damage is None:  # so the size of the file bounds a false shape
        raise DamagedError(f"volume {number} has {slabs} slabs where its header says {len(layout.slabs)}")
    return Volume(number, section, layout, payload[1 : 1 + _SHA_BYTES], bool(payload[0] & _TWO_DIMENSIONAL))


def volume_numbers(reader: Reader) -> list[int]:
    """Return the numbers of the volumes that have a header or a slab, in increasing order."""
    return sorted({section.major for section in reader.places if section.tag in (VOLUME_HEADER, SLAB)})
