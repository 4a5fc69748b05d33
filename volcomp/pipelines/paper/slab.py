"""One slab of a volume under a `paper` model, to bytes and back.

The encoder knows all voxels and asks the network for all predictions at once (`predict_slab`); the decoder asks for one front
after the other (`decode_slab`), and fronts follow from a schedule (`neighbourhoods.Schedule`). There is one format, in the
order of the smallest schedule of the model's neighbourhood, which keeps the voxels to the left; a left-free
neighbourhood has whole rows for fronts, as the published batch decoder does. `experiments.decoders` measures what other
schedules would do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neighbourhoods import Schedule, gather, margins

from ...errors import DamagedError
from ...runtime.rendezvous import ByCalls
from ...runtime.team import Team
from ...wire.cursor import Cursor, varint
from ..protocol import Done, Shape
from . import adaptive
from .reference import Network
from .sequence import kind_of, padded
from .weights import Weights

PART = 4096  # voxels that a thread asks for at a time
Predicted = np.ndarray  # ranks int32 [Z·Y·X] of all voxels, in raster order


class SlabInput(NamedTuple):
    """A slab whose voxels are known: its ranks [Z, Y, X] of 0 … limit."""

    ranks: np.ndarray
    limit: int

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        depth, height, width = self.ranks.shape
        return depth, height, width


class SlabStream(NamedTuple):
    """A slab whose voxels are symbols: as `SlabInput`, with these instead of the ranks."""

    shape: Shape
    symbols: Reader
    limit: int


def schedule_of(weights: Weights) -> Schedule:
    """The order of voxels in files. Borders hold a constant, so that they ask for nothing."""
    return Schedule.of(weights.offsets, borders=False)


def fronts_of(schedule: Schedule, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """All voxels of a slab in the order of coding, as places in raster order int64 [v]; and how many each front has."""
    fronts = [np.ravel_multi_index(front, shape) for front in schedule.walk(shape)]
    sizes = np.array([front.size for front in fronts], np.int64)
    return np.concatenate(fronts), sizes


# ------------------------------------------------------------------------------------------------------------- there


def predict_slab(given: SlabInput, network: Network, team: Team, done: Done) -> np.ndarray:
    """Predicted ranks int32 [Z·Y·X] of all voxels of a slab, in raster order."""
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(given.ranks, offsets, given.limit)
    out = np.empty(given.ranks.size, np.int32)

    def work(lo: int, hi: int) -> None:
        for a in range(lo, hi, PART):
            b = min(a + PART, hi)
            z, y, x = np.unravel_index(np.arange(a, b), given.shape)
            out[a:b] = network.predict(gather(known, (z, y, x), offsets, before, radius), given.limit)
            done(b - a)

    team.share(work, given.ranks.size)
    return out


def write(given: SlabInput, predicted: np.ndarray, schedule: Schedule) -> bytes:
    """The bytes of a slab, from the predicted ranks int32 [Z·Y·X] of its voxels."""
    ranks, limit = given
    order, sizes = fronts_of(schedule, given.shape)
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


# -------------------------------------------------------------------------------------------------------------- back


class Reader(ByCalls):
    """What `write` wrote, front by front: residuals and escapes."""

    def __init__(self, data: Cursor, limit: int) -> None:
        """Takes all that is left of `data`; DamagedError where no encoder writes it."""
        words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
        self._limit, self._counts = limit, adaptive.Counts(limit)
        self._decoder = adaptive.Decoder(words, self._counts)
        self._raw, self._at = np.unpackbits(np.frombuffer(data.rest(), np.uint8), bitorder="little"), 0

    def take(self, predicted: np.ndarray) -> np.ndarray:
        """The ranks int32 [v] of the next front, from the predicted ones."""
        token = self._decoder.take(predicted.size)
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
        """DamagedError unless exactly what was written has been taken."""
        self._decoder.finish()
        if -(-self._at // 8) * 8 != self._raw.size or self._raw[self._at :].any():
            raise DamagedError("it holds more raw bits than its voxels have")


def decode_slab(
    opened: SlabStream, network: Network, team: Team, done: Done, schedule: Schedule | None = None
) -> np.ndarray:
    """The ranks [Z, Y, X] of a slab, a view; DamagedError where its symbols cannot be."""
    shape, symbols, limit = opened
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(np.zeros(shape, kind_of(limit)), offsets, limit)
    inner = known[before:, radius : radius + shape[1], radius : radius + shape[2]]
    for front in (schedule or schedule_of(network.weights)).walk(shape):
        if not front[0].size:
            continue
        predicted = np.empty(front[0].size, np.int32)

        def work(lo: int, hi: int, front: tuple[np.ndarray, ...] = front, predicted: np.ndarray = predicted) -> None:
            z, y, x = (part[lo:hi] for part in front)
            predicted[lo:hi] = network.predict(gather(known, (z, y, x), offsets, before, radius), limit)

        team.share(work, predicted.size)
        inner[front] = symbols.take(predicted)
        done(predicted.size)
    symbols.finish()
    return inner


# ----------------------------------------------------------------------------------------------- both, on one thread


def encode(ranks: np.ndarray, limit: int, network: Network, schedule: Schedule | None = None) -> bytes:
    """Code a slab's ranks [Z, Y, X] of 0 … limit."""
    given = SlabInput(ranks, limit)
    predicted = predict_slab(given, network, Team(), lambda count: None)
    return write(given, predicted, schedule or schedule_of(network.weights))


def decode(data: Cursor, shape: Shape, limit: int, network: Network, schedule: Schedule | None = None) -> np.ndarray:
    """The ranks [Z, Y, X] of a slab, a view. DamagedError where it is not what `encode` writes."""
    return decode_slab(SlabStream(shape, Reader(data, limit), limit), network, Team(), lambda count: None, schedule)
