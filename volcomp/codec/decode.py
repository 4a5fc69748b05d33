"""The slabs of a volume to voxels: the inverse of `encode.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from threading import Lock

import numpy as np

from ..container.sections import SLAB, Reader, SectionId
from ..container.volume import DIGEST, Volume, VolumeHeader, read_header, read_key, slab_checksum
from ..errors import DamagedError
from ..models import RELEASED, Model
from ..options import DECODING, DecodeOptions
from ..pipelines.protocol import Levels
from ..pipelines.registry import Ready, SomeStream, ready
from ..runtime.team import Team
from ..stages.histogram_packing import HistogramPacking as Packing
from ..stages.histogram_packing import level_type
from ..wire.cursor import Cursor
from .engines import Decoded, EngineChoice, Workers, by_device, referring
from .layer import read_slab

KEPT_BYTES = 1 << 28  # of slabs of keys: two of those that an encoder makes at most
Progress = Callable[[int], None]  # called with the number of voxels done since the last call
Slab = tuple[int, Decoded]  # number of a slab, and its voxels or what is wrong with it
# Returns the voxels [z, Y, X] of a slab of the key that a volume refers to, by number. Raises DamagedError where they
# are lost. Several threads may call it at once.
Key = Callable[[int], np.ndarray]


def decode_volume(
    reader: Reader, volume: Volume, slabs: list[int], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None, key: Key | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode the given slabs (increasing numbers). Yields (number, voxels [z, Y, X] or the error) in the same order.
    Each payload is read when its turn comes.

    Slabs of a volume that refers to another one, its key, need the same slabs of that one. `key` returns them, such as
    `Keys.of` with an object that serves several volumes; without it they are decoded here as well."""
    payloads, model = _Payloads(reader, volume.number, slabs), volume.layout.model
    trial: Model | None = None if RELEASED.get(model.number) == model else model
    if volume.refers and key is None:
        key = Keys(reader).of(volume)
    decoded = decode_slabs(
        volume.section, payloads, options, progress=progress, trial=trial, key=key if volume.refers else None
    )
    with closing(decoded):  # so that its threads end here, not at a garbage collection that may run in a new thread
        for k, voxels in decoded:
            if isinstance(voxels, DamagedError):
                voxels = payloads.lost.get(k) or DamagedError(f"volume {volume.number}, {voxels}")
            yield k, voxels
            del voxels  # which would else stay in memory until the next ones arrive


def decode_and_compare(
    reader: Reader, volume: Volume, slabs: list[int], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None, key: Key | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode like `decode_volume`; where these are all slabs, the last one is an error unless their SHA-256 fits."""
    sha, everything = hashlib.sha256(), len(slabs) == len(volume.layout.slabs)
    with closing(decode_volume(reader, volume, slabs, options, progress=progress, key=key)) as decoded:
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
    key: Key | None = None,
) -> Generator[Slab]:  # fmt: skip
    """Decode some slabs of a volume.

    section    the bytes of the volume's header
    payloads   of the slabs to decode, by number. A payload is read when its turn comes, from any thread; a DamagedError
               of that read becomes the result for the slab
    progress   called with the number of voxels done since the last call
    engine     chooses whether the CPU or a GPU does the work
    trial      the model of a file that was written with a model that was never released
    key        returns the slabs that slabs of this volume may refer to; these are decoded on the CPU

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
        choice = engine if key is None else referring(engine)
        chosen = choice(made, options.device, sizes, workers, workers.reporting(progress))
        results = chosen.decode(sizes, payloads.__getitem__, Opener(section, header, made, key))
        for k in numbers:
            result = next(results)
            if isinstance(result, DamagedError):
                result = header.located(k, result)
            yield k, result
            del result


class Opener:
    """Opens the payloads of slabs, and turns their decoded levels into voxels, under a header. `key` returns the slabs
    that they may refer to."""

    def __init__(self, section: bytes, header: VolumeHeader, made: Ready, key: Key | None = None) -> None:
        self._section, self._header, self._coder = section, header, made.coder
        self._packing, self._key = Packing(header.runs), key
        self._stated: dict[int, bytes] = {}  # checksums

    def begin(self, k: int, payload: bytes) -> SomeStream:
        """Open a payload."""
        first, end = self._header.slabs[k]
        self._stated[k] = payload[:DIGEST]
        shape = (end - first, *self._header.shape[1:])
        limit = self._packing.limit
        reference = partial(refer, self._packing, self._key, k, shape) if self._key else None
        return self._coder.open(Cursor(payload[DIGEST:], "what it holds"), shape, limit, reference)

    def end(self, k: int, levels: Levels) -> np.ndarray:
        """Undo histogram packing. Raises DamagedError if the voxels do not have the checksum of the payload."""
        voxels = self._packing.backward(levels, self._header.dtype)
        if slab_checksum(self._section, k, voxels) != self._stated.pop(k):
            raise DamagedError("its voxels do not have the checksum that it states")
        return voxels


def refer(packing: Packing, key: Key, k: int, shape: tuple[int, int, int]) -> Levels:
    """Return the reference of slab k, of this shape: the voxels of the key, in the levels of the volume that refers to
    it. Raises DamagedError where the key has another shape."""
    voxels = key(k)
    if voxels.shape != shape:
        raise DamagedError("what it refers to has another shape")
    return packing.nearest(voxels, level_type(packing.limit))


class Keys:
    """Slabs of keys, each decoded when a slab that refers to it is opened, on the thread that opens it.

    Those that were last needed stay in memory, since the time points of a series share a few. Several threads may use
    an object at once.
    """

    def __init__(self, reader: Reader, most: int = KEPT_BYTES) -> None:
        """`most`: bytes of slabs that stay in memory."""
        self._reader, self._lock, self._left = reader, Lock(), most
        self._kept: dict[tuple[int, int], np.ndarray] = {}  # by volume and slab, the last used at the end

    def of(self, volume: Volume) -> Key | None:
        """Return the `Key` of a volume; None where it refers to nothing."""
        if volume.layered:
            return partial(read_slab, self._reader, volume)
        return None if volume.key is None else partial(self._slab, volume)

    def clear(self) -> None:
        """Drop all slabs."""
        with self._lock:
            self._left += sum(voxels.nbytes for voxels in self._kept.values())
            self._kept.clear()

    def keep(self, number: int, k: int, voxels: np.ndarray) -> None:
        """Keep slab k of a volume that has been decoded, in place of those that were not used for longest."""
        with self._lock:
            if (number, k) in self._kept or voxels.nbytes > self._left + sum(one.nbytes for one in self._kept.values()):
                return
            while voxels.nbytes > self._left:
                self._left += self._kept.pop(next(iter(self._kept))).nbytes
            self._left -= voxels.nbytes
            self._kept[number, k] = voxels

    def _slab(self, volume: Volume, k: int) -> np.ndarray:
        number = volume.key
        assert number is not None
        with self._lock:
            kept = self._kept.pop((number, k), None)
            if kept is not None:
                self._kept[number, k] = kept
                return kept
        try:
            model = volume.layout.model
            voxels = self._decode(read_key(self._reader, volume, {**RELEASED, model.number: model}), k)
        except DamagedError as error:
            raise DamagedError(f"what it refers to is lost: {error}") from None
        self.keep(number, k, voxels)
        return voxels

    def _decode(self, key: Volume, k: int) -> np.ndarray:
        made = ready(key.layout.model, key.layout.weight_delta)
        opener, payload = Opener(key.section, key.layout, made), self._reader.read(SectionId(SLAB, key.number, k))
        try:
            return opener.end(k, made.network.decode(opener.begin(k, payload), Team(), _ignore))
        except DamagedError as error:
            raise DamagedError(f"volume {key.number}, {key.layout.located(k, error)}") from None


def _ignore(voxels: int) -> None:
    """Report no progress: the voxels of a key are not those that were asked for."""


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
