"""The payloads of slabs to their voxels: the way of `encode.py`, backwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from typing import Generic

import numpy as np

from ..container.header import DIGEST, VolumeHeader, read_header
from ..errors import DamagedError
from ..models import RELEASED, Model
from ..options import DECODING, DecodeOptions
from ..pipelines.protocol import Choice, Input, Levels, Predictions, Stream
from ..stages.histogram_packing import HistogramPacking as Packing
from ..wire.cursor import Cursor, varint
from .engines import Decoded, Engine, Workers
from .place import Place, by_device
from .ready import Ready, ready

Progress = Callable[[int], None]  # called with the number of voxels done since the last call


def decode_slabs(
    section: bytes, payloads: Mapping[int, bytes], options: DecodeOptions = DECODING, *,
    progress: Progress | None = None, place: Place = by_device, trial: Model | None = None,
) -> Generator[tuple[int, Decoded]]:  # fmt: skip
    """Decode the slabs that are given by number under a header's bytes.

    Yields (number, voxels [z, Y, X] of the header's dtype), or the error where a payload is damaged, in ascending
    order. No more slabs are in memory at a time than there are threads, and a payload is asked for when its turn comes,
    by whatever thread; a DamagedError is then the slab's. `place` decides who does the work; `trial` is the model of a
    file that was made with one that was never released. Raises DamagedError and UnsupportedError for the header.
    """
    header = read_header(section, RELEASED if trial is None else {**RELEASED, trial.number: trial})
    made, numbers = ready(header.model, header.weight_delta), sorted(payloads)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(header.slabs):
        raise DamagedError(f"the volume has {len(header.slabs)} slabs, and is given one of number {numbers[-1]}")
    if not numbers:
        return
    sizes = {k: header.voxels_of(k) for k in numbers}
    placement = place(made, header.weight_delta, options.device, sizes)
    with Workers(options.threads, len(numbers)) as workers:
        engine: Engine[object, object, object] = placement.engine(workers, workers.telling(progress))
        results = engine.decode(sizes, payloads.__getitem__, Opener(section, header, made))
        for k in numbers:
            result = next(results)
            if isinstance(result, DamagedError):
                result = located(k, header.slabs[k], result)
            yield k, result
            del result


class Opener(Generic[Choice, Input, Predictions, Stream]):
    """The two ends of a slab's way out of a file, under a header."""

    def __init__(self, section: bytes, header: VolumeHeader, made: Ready[Choice, Input, Predictions, Stream]) -> None:
        self._section, self._header, self._coder = section, header, made.coder
        self._packing = Packing(header.runs)
        self._stated: dict[int, bytes] = {}  # checksums

    def begin(self, k: int, payload: bytes) -> Stream:
        """What decoding begins with."""
        first, end = self._header.slabs[k]
        self._stated[k] = payload[:DIGEST]
        shape = (end - first, *self._header.shape[1:])
        return self._coder.open(Cursor(payload[DIGEST:], "what it holds"), shape, self._packing.limit)

    def end(self, k: int, levels: Levels) -> np.ndarray:
        """The voxels, if the payload states their checksum."""
        voxels = self._packing.backward(levels, self._header.dtype)
        if slab_checksum(self._section, k, voxels) != self._stated.pop(k):
            raise DamagedError("its voxels do not have the checksum that it states")
        return voxels


def slab_checksum(section: bytes, k: int, voxels: np.ndarray) -> bytes:
    """What slab k is checked by. The header and the number are part of it: a slab of another volume, in another's
    place, or under a header that was altered is as damaged as one whose voxels are wrong."""
    sha = hashlib.sha256(section + varint(k))
    sha.update(np.ascontiguousarray(voxels).data)
    return sha.digest()[:DIGEST]


def located(k: int, slices: tuple[int, int], error: DamagedError) -> DamagedError:
    """What is wrong with slab k."""
    return DamagedError(f"slab {k} (slices {slices[0]} to {slices[1] - 1}) is damaged: {error}")
