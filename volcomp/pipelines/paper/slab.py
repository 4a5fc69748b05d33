"""Encode and decode one slab of a volume with a `paper` model.

The encoder knows all voxels, so it computes all predictions at once (`predict_slab`). The decoder predicts one front
after the other (`decode_slab`), in the order of a schedule (`neighbourhoods.Schedule`). There is one format: its order
is that of the smallest schedule of the model's neighbourhood, which includes the voxels to the left. The fronts of a
left-free neighbourhood are whole rows, as in the published batch decoder. `experiments.decoders` measures other
schedules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neighbourhoods import Schedule, gather, margins

from ...dtypes import Int32s, Int64s, Levels
from ...errors import DamagedError
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from ...wire.cursor import Cursor, varint
from ..protocol import Done, Shape
from . import adaptive
from .reference import ReferencePaperLstm
from .sequence import kind_of, padded
from .weights import PaperWeights

PART = 4096  # voxels that a thread predicts at a time
Predicted = np.ndarray  # ranks int32 [Z·Y·X] of all voxels, in raster order


class PaperInput(NamedTuple):
    """A slab whose voxels are known: its ranks [Z, Y, X] of 0 … limit."""

    ranks: Levels
    limit: int

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        depth, height, width = self.ranks.shape
        return depth, height, width


class PaperStream(NamedTuple):
    """A slab [Z, Y, X] of ranks 0 … limit whose voxels are still symbols."""

    shape: Shape
    symbols: PaperReader
    limit: int


def schedule_of(weights: PaperWeights) -> Schedule:
    """Return the schedule of a model: the order of voxels in files. Borders are constant and do not constrain it."""
    return Schedule.of(weights.offsets, borders=False)


def fronts_of(schedule: Schedule, shape: Shape) -> tuple[Int64s, Int64s]:
    """Return all voxels of a slab in the order of coding, as raster positions int64 [v], and the sizes of fronts."""
    fronts = [np.ravel_multi_index(front, shape) for front in schedule.walk(shape)]
    sizes = np.array([front.size for front in fronts], np.int64)
    return np.concatenate(fronts), sizes


# ------------------------------------------------------------------------------------------------------------ encode


def predict_slab(slab_input: PaperInput, network: ReferencePaperLstm, team: Team, done: Done) -> Int32s:
    """Predict the ranks int32 [Z·Y·X] of all voxels of a slab, in raster order."""
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(slab_input.ranks, offsets, slab_input.limit)
    out = np.empty(slab_input.ranks.size, np.int32)

    def work(lo: int, hi: int) -> None:
        for a in range(lo, hi, PART):
            b = min(a + PART, hi)
            z, y, x = np.unravel_index(np.arange(a, b), slab_input.shape)
            out[a:b] = network.predict(gather(known, (z, y, x), offsets, before, radius), slab_input.limit)
            done(b - a)

    team.share(work, slab_input.ranks.size)
    return out


def write(slab_input: PaperInput, predicted: Int32s, schedule: Schedule) -> bytes:
    """Encode a slab as bytes, given the predicted ranks int32 [Z·Y·X] of its voxels."""
    ranks, limit = slab_input
    order, sizes = fronts_of(schedule, slab_input.shape)
    voxel = ranks.reshape(-1)[order].astype(np.int32)
    counts = adaptive.Counts(limit)
    residual = voxel - predicted[order]
    escaped = np.abs(residual) > counts.reach
    token = np.where(escaped, counts.escape, residual + counts.reach).astype(np.int32)
    words = adaptive.encode(token, sizes, counts)
    width = limit.bit_length()
    raw = (voxel[escaped][:, None] >> np.arange(width)) & 1
    bits = np.packbits(raw.astype(np.uint8).ravel(), bitorder="little")
    return varint(words.size) + words.astype("<u4").tobytes() + bits.tobytes()


# ------------------------------------------------------------------------------------------------------------ decode


class PaperReader(ByCalls):
    """Reads the bytes of `write`, front by front: residuals and escapes."""

    def __init__(self, data: Cursor, limit: int) -> None:
        """Read the rest of `data`. Raises DamagedError for bytes that no encoder writes."""
        words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
        self._limit, self._counts = limit, adaptive.Counts(limit)
        self._decoder = adaptive.Decoder(words, self._counts)
        self._raw, self._at = np.unpackbits(np.frombuffer(data.rest(), np.uint8), bitorder="little"), 0

    def pop(self, predicted: Int32s) -> Int32s:
        """Pop the ranks int32 [v] of the next front, given the predicted ones."""
        token = self._decoder.pop(predicted.size)
        voxel = predicted + token - self._counts.reach
        escaped = np.flatnonzero(token == self._counts.escape)
        width = self._limit.bit_length()
        begin, self._at = self._at, self._at + width * escaped.size
        if self._at > self._raw.size:
            raise DamagedError("it holds fewer raw bits than its voxels have")
        raw = self._raw[begin : self._at].reshape(escaped.size, width)
        voxel[escaped] = raw.astype(np.int32) @ (1 << np.arange(width))
        if voxel.min() < 0 or voxel.max() > self._limit:
            raise DamagedError("it decodes to voxels that the volume cannot have")
        return voxel

    def finish(self) -> None:
        """Raise DamagedError unless exactly what was written has been read."""
        self._decoder.finish()
        if -(-self._at // 8) * 8 != self._raw.size or self._raw[self._at :].any():
            raise DamagedError("it holds more raw bits than its voxels have")


def decode_slab(
    stream: PaperStream, network: ReferencePaperLstm, team: Team, done: Done, schedule: Schedule | None = None
) -> Levels:
    """Decode the ranks [Z, Y, X] of a slab, as a view. Raises DamagedError for symbols that no encoder writes."""
    shape, symbols, limit = stream
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(np.zeros(shape, kind_of(limit)), offsets, limit)
    inner = known[before:, radius : radius + shape[1], radius : radius + shape[2]]
    for front in (schedule or schedule_of(network.weights)).walk(shape):
        if not front[0].size:
            continue
        predicted = np.empty(front[0].size, np.int32)

        def work(lo: int, hi: int, front: tuple[Int64s, ...] = front, predicted: Int32s = predicted) -> None:
            z, y, x = (part[lo:hi] for part in front)
            predicted[lo:hi] = network.predict(gather(known, (z, y, x), offsets, before, radius), limit)

        team.share(work, predicted.size)
        inner[front] = symbols.pop(predicted)
        done(predicted.size)
    symbols.finish()
    return inner


# ------------------------------------------------------------------------------------------------ both on one thread


def encode(ranks: Levels, limit: int, network: ReferencePaperLstm, schedule: Schedule | None = None) -> bytes:
    """Encode the ranks [Z, Y, X] of a slab, 0 … limit, on one thread."""
    slab_input = PaperInput(ranks, limit)
    predicted = predict_slab(slab_input, network, Team(), lambda count: None)
    return write(slab_input, predicted, schedule or schedule_of(network.weights))


def decode(
    data: Cursor, shape: Shape, limit: int, network: ReferencePaperLstm, schedule: Schedule | None = None
) -> Levels:
    """Decode the ranks [Z, Y, X] of a slab, as a view, on one thread; see `decode_slab` for errors."""
    return decode_slab(
        PaperStream(shape, PaperReader(data, limit), limit), network, Team(), lambda count: None, schedule
    )
