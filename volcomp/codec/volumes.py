"""Write a volume as sections of a file, and read it from them, slab by slab."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing

from ..container.header import read_header
from ..container.sections import SLAB, Reader, SectionId, Writer
from ..container.volume import Volume, write_volume_header
from ..errors import DamagedError
from ..models import RELEASED, Model
from ..options import DECODING, DecodeOptions, EncodeOptions
from .decode import Progress, decode_slabs
from .encode import Encoded, check_options, encode_slabs
from .engines import Decoded
from .source import Source

Slab = tuple[int, Decoded]  # number of a slab, and its voxels or what is wrong with it


def write_volume(
    writer: Writer,
    number: int,
    source: Source,
    options: EncodeOptions,
    *,
    two_dimensional: bool = False,
    progress: Progress | None = None,
) -> tuple[Volume, Generator[Slab]]:
    """Append the header section, and prepare to append the slabs.

    Returns the volume as a reader sees it, and an iterator that encodes and appends slab after slab. If slabs are
    verified, it yields (number, voxels) for each, as decoded from the payload, and raises DamagedError for a payload
    that cannot be decoded. Else it yields nothing.
    """
    section, slabs = encode_slabs(source, options, progress=progress)
    model = check_options(options)
    layout = read_header(section, {**RELEASED, model.number: model})
    volume = Volume(number, section, layout, source.sha256, two_dimensional)
    write_volume_header(writer, volume)
    return volume, _write_slabs(writer, volume, slabs)


def _write_slabs(writer: Writer, volume: Volume, slabs: Generator[Encoded]) -> Generator[Slab]:
    with closing(slabs):  # so that the threads stop at once, however this ends
        for k in range(len(volume.layout.slabs)):
            payload, voxels = next(slabs)
            writer.add(SectionId(SLAB, volume.number, k), payload)
            del payload  # which would else stay in memory until the next one arrives, as would the voxels
            if voxels is not None:
                yield k, voxels
            del voxels


def decode_volume(
    reader: Reader, volume: Volume, slabs: list[int], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode the given slabs (increasing numbers). Yields (number, voxels [z, Y, X] or the error) in the same order.
    Each payload is read when its turn comes."""
    payloads, model = _Payloads(reader, volume.number, slabs), volume.layout.model
    trial: Model | None = None if RELEASED.get(model.number) == model else model
    decoded = decode_slabs(volume.section, payloads, options, progress=progress, trial=trial)
    with closing(decoded):  # so that its threads end here, not at a garbage collection that may run in a new thread
        for k, voxels in decoded:
            if isinstance(voxels, DamagedError):
                voxels = payloads.lost.get(k) or DamagedError(f"volume {volume.number}, {voxels}")
            yield k, voxels
            del voxels  # which would else stay in memory until the next ones arrive


class _Payloads(Mapping[int, bytes]):
    """The payloads of slabs by number, each read on access. `lost` holds the errors of those that cannot be read."""

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
