"""One volume <-> its sections: the codec's header and slabs, and the SHA-256 of the voxels.

The VHDR payload is one byte of flags, 32 bytes of SHA-256 over the voxels (little-endian, C order), then the header of
the codec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import codec
from .codec import EFFORT, check_effort, progress_of
from .container import SLAB, VOLUME_HEADER, Reader, SectionId, Writer
from .errors import DamagedError, UnsupportedError

__all__ = ["EFFORT", "Progress", "Volume", "check_effort", "progress_of", "read_volume", "write_volume"]

Progress = Callable[[int], None]  # called with the number of voxels done since the last call

_TWO_DIMENSIONAL = 1  # flag: the array was given as (y, x)
_SHA_BYTES = 32
# Payloads read ahead of the decoder; many slabs at once keep all threads busy, and this bounds the memory for it.
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Volume:
    """What the header of a volume says."""

    number: int
    codec_header: bytes
    layout: codec.VolumeHeader
    sha256: bytes  # of the voxels, little-endian in C order
    two_dimensional: bool

    @property
    def voxels(self) -> int:
        """How many voxels the volume has."""
        z, y, x = self.layout.shape
        return z * y * x


def write_volume(
    writer: Writer,
    number: int,
    voxels: np.ndarray,
    *,
    model: str,
    threads: int | None,
    device: str,
    effort: int = EFFORT,
    two_dimensional: bool = False,
    progress: Progress | None = None,
) -> None:
    """Code `voxels` [Z,Y,X] of u1, i1, <u2 or <i2, C order, and append VHDR and the SLABs."""
    header, slabs = codec.encode(voxels, model=model, threads=threads, device=device, progress=progress, effort=effort)
    sha = hashlib.sha256(voxels.data).digest()
    flags = bytes([_TWO_DIMENSIONAL if two_dimensional else 0])
    writer.add(SectionId(VOLUME_HEADER, number), flags + sha + header)
    for k, payload in enumerate(slabs):
        writer.add(SectionId(SLAB, number, k), payload)


def read_volume(reader: Reader, number: int) -> Volume:
    """Parse the header of a volume; its slabs are not touched."""
    payload = reader.read(SectionId(VOLUME_HEADER, number))
    if len(payload) <= 1 + _SHA_BYTES:
        raise DamagedError(f"the header of volume {number} is damaged: it is too short")
    if payload[0] & ~_TWO_DIMENSIONAL:
        raise UnsupportedError(f"volume {number} has the unknown flags {payload[0]:#04x}; upgrade volcomp")
    header = payload[1 + _SHA_BYTES :]
    layout = codec.read_header(header)
    slabs = sum(section.tag == SLAB and section.major == number for section in reader.places)
    if slabs != len(layout.slabs) and reader.damage is None:  # so a lying shape is bounded by the size of the file
        raise DamagedError(f"volume {number} has {slabs} slabs where its header says {len(layout.slabs)}")
    return Volume(number, header, layout, payload[1 : 1 + _SHA_BYTES], bool(payload[0] & _TWO_DIMENSIONAL))


def volume_numbers(reader: Reader) -> list[int]:
    """The volumes of which a header or a slab is there, in increasing order."""
    return sorted({section.major for section in reader.places if section.tag in (VOLUME_HEADER, SLAB)})


def slabs_of(volume: Volume, first: int, end: int) -> list[int]:
    """The numbers of the slabs that hold any of the slices `first` to `end - 1`."""
    return [k for k, (a, b) in enumerate(volume.layout.slabs) if a < end and b > first]


def decode(
    reader: Reader,
    volume: Volume,
    slabs: list[int],
    *,
    threads: int | None,
    device: str,
    progress: Progress | None = None,
) -> Iterator[tuple[int, np.ndarray | DamagedError]]:
    """Decode the given slabs (increasing numbers); yields (number, voxels [z,Y,X] or the error) in the same order."""
    for batch in _batches(reader, volume.number, slabs):
        payloads: dict[int, bytes] = {}
        broken: dict[int, DamagedError] = {}
        for k in batch:
            try:
                payloads[k] = reader.read(SectionId(SLAB, volume.number, k))
            except DamagedError as error:
                broken[k] = error
        decoded = codec.decode_slabs(volume.codec_header, payloads, threads=threads, device=device, progress=progress)
        for k in batch:
            if k in broken:
                yield k, broken[k]
                continue
            number, voxels = next(decoded)
            assert number == k
            if isinstance(voxels, DamagedError):
                voxels = DamagedError(f"volume {volume.number}, {voxels}")
            yield k, voxels


def _batches(reader: Reader, number: int, slabs: list[int]) -> Iterator[list[int]]:
    """Runs of slabs whose payloads together stay below _BATCH_BYTES."""
    batch: list[int] = []
    size = 0
    for k in slabs:
        place = reader.places.get(SectionId(SLAB, number, k))
        length = place.length if place else 0
        if batch and size + length > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(k)
        size += length
    if batch:
        yield batch
