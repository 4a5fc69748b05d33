"""The slabs of a volume to voxels: the inverse of `encode.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing

import numpy as np

from ..container.sections import SLAB, Reader, SectionId
from ..container.volume import DIGEST, Volume, VolumeHeader, read_header, slab_checksum
from ..errors import DamagedError
from ..models import RELEASED, Model
from ..options import DECODING, DecodeOptions
from ..pipelines.protocol import Levels
from ..pipelines.registry import Ready, SomeStream, ready
from ..stages.histogram_packing import HistogramPacking as Packing
from ..wire.cursor import Cursor
from .engines import Decoded, EngineChoice, Workers, by_device

Progress = Callable[[int], None]  # called with the number of voxels done since the last call
Slab = tuple[int, Decoded]  # number of a slab, and its voxels or what is wrong with it


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


def decode_and_compare(
    reader: Reader, volume: Volume, slabs: list[int], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode like `decode_volume`; where these are all slabs, the last one is an error unless their SHA-256 fits."""
    sha, everything = hashlib.sha256(), len(slabs) == len(volume.layout.slabs)
    with closing(decode_volume(reader, volume, slabs, options, progress=progress)) as decoded:
        for k, voxels in decoded:
            if everything and not isinstance(voxels, DamagedError):
                sha.update(np.ascontiguousarray(voxels).data)
                if k == slabs[-1] and sha.digest() != volume.sha256:
                    voxels = DamagedError(f"volume {volume.number} is damaged: the SHA-256 of its voxels does not fit")
            yield k, voxels
            del voxels  # see `decode_volume`


def sha256_of(slabs: Iterable[Slab]) -> bytes:
    """Return the SHA-256 of the voxels of all slabs; raises the error of the first damaged one."""
    sha = hashlib.sha256()
    for _, voxels in slabs:
        if isinstance(voxels, DamagedError):
            raise voxels
        sha.update(np.ascontiguousarray(voxels).data)
        del voxels  # or they would stay in memory until the next ones come
    return sha.digest()


def decode_slabs(
    section: bytes, payloads: Mapping[int, bytes], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None, engine: EngineChoice = by_device, trial: Model | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode some slabs of a volume.

    section    the bytes of the volume's header
    payloads   of the slabs to decode, by number. A payload is read when its turn comes, from any thread; a DamagedError
               of that read becomes the result for the slab
    progress   called with the number of voxels done since the last call
    engine     chooses whether the CPU or a GPU does the work
    trial      the model of a file that was written with a model that was never released

    Yields (number, voxels [z, Y, X] of the header's dtype) in ascending order, with a DamagedError instead of the
    voxels where a payload is damaged. At most as many slabs are in memory at a time as there are threads. Raises
    DamagedError and UnsupportedError for the header.
    """
    header = read_header(section, RELEASED if trial is None else {**RELEASED, trial.number: trial})
    made, numbers = ready(header.model, header.weight_delta), sorted(payloads)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(header.slabs):
        raise DamagedError(f"the volume has {len(header.slabs)} slabs, and is given one of number {numbers[-1]}")
    if not numbers:
        return
    sizes = {k: header.voxels_of(k) for k in numbers}
    with Workers(options.threads, len(numbers)) as workers:
        chosen = engine(made, options.device, sizes, workers, workers.reporting(progress))
        results = chosen.decode(sizes, payloads.__getitem__, Opener(section, header, made))
        for k in numbers:
            result = next(results)
            if isinstance(result, DamagedError):
                result = header.located(k, result)
            yield k, result
            del result


class Opener:
    """Opens the payloads of slabs, and turns their decoded levels into voxels, under a header."""

    def __init__(self, section: bytes, header: VolumeHeader, made: Ready) -> None:
        self._section, self._header, self._coder = section, header, made.coder
        self._packing = Packing(header.runs)
        self._stated: dict[int, bytes] = {}  # checksums

    def begin(self, k: int, payload: bytes) -> SomeStream:
        """Open a payload."""
        first, end = self._header.slabs[k]
        self._stated[k] = payload[:DIGEST]
        shape = (end - first, *self._header.shape[1:])
        return self._coder.open(Cursor(payload[DIGEST:], "what it holds"), shape, self._packing.limit)

    def end(self, k: int, levels: Levels) -> np.ndarray:
        """Undo histogram packing. Raises DamagedError if the voxels do not have the checksum of the payload."""
        voxels = self._packing.backward(levels, self._header.dtype)
        if slab_checksum(self._section, k, voxels) != self._stated.pop(k):
            raise DamagedError("its voxels do not have the checksum that it states")
        return voxels


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
