"""The payloads of slabs to voxels: the inverse of `encode.py`."""

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
    """Decode some slabs of a volume.

    section    the bytes of the volume's header
    payloads   of the slabs to decode, by number. A payload is read when its turn comes, from any thread; a DamagedError
               of that read becomes the result for the slab
    progress   called with the number of voxels done since the last call
    place      decides whether the CPU or a GPU does the work
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
    placement = place(made, header.weight_delta, options.device, sizes)
    with Workers(options.threads, len(numbers)) as workers:
        engine: Engine[object, object, object] = placement.engine(workers, workers.reporting(progress))
        results = engine.decode(sizes, payloads.__getitem__, Opener(section, header, made))
        for k in numbers:
            result = next(results)
            if isinstance(result, DamagedError):
                result = located(k, header.slabs[k], result)
            yield k, result
            del result


class Opener(Generic[Choice, Input, Predictions, Stream]):
    """Opens the payloads of slabs, and turns their decoded levels into voxels, under a header."""

    def __init__(self, section: bytes, header: VolumeHeader, made: Ready[Choice, Input, Predictions, Stream]) -> None:
        self._section, self._header, self._coder = section, header, made.coder
        self._packing = Packing(header.runs)
        self._stated: dict[int, bytes] = {}  # checksums

    def begin(self, k: int, payload: bytes) -> Stream:
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


def slab_checksum(section: bytes, k: int, voxels: np.ndarray) -> bytes:
    """Compute the checksum of slab k. It covers the header and the number, so that a slab of another volume, a slab in
    the place of another, and a slab under an altered header all count as damaged."""
    sha = hashlib.sha256(section + varint(k))
    sha.update(np.ascontiguousarray(voxels).data)
    return sha.digest()[:DIGEST]


def located(k: int, slices: tuple[int, int], error: DamagedError) -> DamagedError:
    """Add the number of the slab and its slices to an error."""
    return DamagedError(f"slab {k} (slices {slices[0]} to {slices[1] - 1}) is damaged: {error}")
