"""One volume <-> its sections: the codec's header and slabs, and the SHA-256 of the voxels.

The VHDR payload is one byte of flags, 32 bytes of SHA-256 over the voxels (little-endian, C order), then the header of
the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from . import loop
from .loop import check_effort, progress_of
from ..container.sections import SLAB, VOLUME_HEADER, Reader, SectionId, Writer
from ..errors import DamagedError, UnsupportedError
from ..container.header import VolumeHeader, read_header
from ..options import EFFORT
from .source import Source

__all__ = ["Progress", "Volume", "check_effort", "progress_of", "read_volume", "write_volume"]

Progress = Callable[[int], None]  # called with the number of voxels done since the last call

Decoded = tuple[int, np.ndarray | DamagedError]  # number of a slab, and its voxels or what is wrong with it

_TWO_DIMENSIONAL = 1  # flag: the array was given as (y, x)
_SHA_BYTES = 32


@dataclass(frozen=True)
class Volume:
    """What the header of a volume says."""

    number: int
    codec_header: bytes
    layout: VolumeHeader
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
    source: Source,
    *,
    model: str,
    threads: int | None,
    device: str,
    effort: int = EFFORT,
    two_dimensional: bool = False,
    progress: Progress | None = None,
    check: bool = False,
) -> tuple[Volume, Generator[Decoded]]:
    """Append VHDR; returns it as a reader sees it, and an iterator that codes the slabs and appends each SLAB in turn.

    It yields what `decode` would yield of each, or with `check` what has been decoded of its payload, and else nothing;
    where a payload cannot be decoded it raises DamagedError.
    """
    header, slabs = loop.encode_slabs(
        source, model=model, threads=threads, device=device, progress=progress, effort=effort, check=check
    )
    flags, sha = bytes([_TWO_DIMENSIONAL if two_dimensional else 0]), source.sha256
    writer.add(SectionId(VOLUME_HEADER, number), flags + sha + header)
    volume = Volume(number, header, read_header(header), sha, two_dimensional)
    return volume, _write_slabs(writer, volume, slabs)


def _write_slabs(
    writer: Writer, volume: Volume, slabs: Generator[tuple[bytes, np.ndarray | None]]
) -> Generator[Decoded]:
    with closing(slabs):  # whatever ends this ends the work at once
        for k in range(len(volume.layout.slabs)):
            payload, voxels = next(slabs)
            writer.add(SectionId(SLAB, volume.number, k), payload)
            del payload  # or it would be here until the next one comes, as would the voxels
            if voxels is not None:
                yield k, voxels
            del voxels


def read_volume(reader: Reader, number: int) -> Volume:
    """Parse the header of a volume; its slabs are not touched."""
    payload = reader.read(SectionId(VOLUME_HEADER, number))
    if len(payload) <= 1 + _SHA_BYTES:
        raise DamagedError(f"the header of volume {number} is damaged: it is too short")
    if payload[0] & ~_TWO_DIMENSIONAL:
        raise UnsupportedError(f"volume {number} has the unknown flags {payload[0]:#04x}; upgrade volcomp")
    header = payload[1 + _SHA_BYTES :]
    layout = read_header(header)
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
) -> Generator[Decoded]:
    """Decode the given slabs (increasing numbers); yields (number, voxels [z,Y,X] or the error) in the same order. Each
    is read when its turn comes."""
    payloads = _Payloads(reader, volume.number, slabs)
    decoded = loop.decode_slabs(volume.codec_header, payloads, threads=threads, device=device, progress=progress)
    with closing(decoded):  # its threads end here, not when garbage is collected, perhaps in a thread that begins
        for k, voxels in decoded:
            if isinstance(voxels, DamagedError):
                voxels = payloads.lost.get(k) or DamagedError(f"volume {volume.number}, {voxels}")
            yield k, voxels
            del voxels  # or they would be here until the next ones come


class _Payloads(Mapping[int, bytes]):
    """The payloads of slabs by number, each read when it is asked for; `lost` has the errors of those that cannot be
    read."""

    def __init__(self, reader: Reader, volume: int, slabs: list[int]) -> None:
        self._reader, self._volume, self._slabs = reader, volume, slabs
        self.lost: dict[int, DamagedError] = {}

    def __getitem__(self, k: int) -> bytes:
        try:
            return self._reader.read(SectionId(SLAB, self._volume, k))
        except DamagedError as error:
            self.lost[k] = error
            raise

    def __iter__(self) -> Iterator[int]:
        return iter(self._slabs)

    def __len__(self) -> int:
        return len(self._slabs)
