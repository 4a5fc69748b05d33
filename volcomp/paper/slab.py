"""One slab of a volume under a `paper` model, to bytes and back.

The encoder knows all voxels and asks the network for all predictions at once; the decoder asks for one front after the
other, and fronts follow from a schedule (`neighbourhoods.Schedule`). There is one format, in the order of the smallest
schedule of the model's neighbourhood, which keeps the voxels to the left; a left-free neighbourhood has whole rows for
fronts, as the published batch decoder does. `experiments.decoders` measures what other schedules would do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neighbourhoods import Schedule, gather, margins

from ..cursor import Cursor, varint
from ..errors import DamagedError
from . import adaptive
from .reference import Network
from .sequence import kind_of, padded

PART = 4096  # voxels that a thread asks for at a time
Shape = tuple[int, int, int]
Share = Callable[[Callable[[int, int], None], int], None]  # share(work, n) has work(lo, hi) done for all of 0 … n
Done = Callable[[int], None]  # called with the number of voxels done since the last call; may raise, to stop


def in_one_piece(work: Callable[[int, int], None], count: int) -> None:
    """The `Share` of one thread."""
    work(0, count)


def schedule_of(network: Network) -> Schedule:
    """The order of voxels in files. Borders hold a constant, so that they ask for nothing."""
    return Schedule.of(network.weights.offsets, borders=False)


def predictions(ranks: np.ndarray, limit: int, network: Network, share: Share, done: Done) -> np.ndarray:
    """Predicted ranks int32 [Z·Y·X] of all voxels of a slab, in raster order."""
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(ranks, offsets, limit)
    out = np.empty(ranks.size, np.int32)

    def work(lo: int, hi: int) -> None:
        for a in range(lo, hi, PART):
            b = min(a + PART, hi)
            z, y, x = np.unravel_index(np.arange(a, b), ranks.shape)
            out[a:b] = network.predict(gather(known, (z, y, x), offsets, before, radius), limit)
            done(b - a)

    share(work, ranks.size)
    return out


def fronts_of(schedule: Schedule, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """All voxels of a slab in the order of coding, as places in raster order int64 [v]; and how many each front has."""
    fronts = [np.ravel_multi_index(front, shape) for front in schedule.walk(shape)]
    sizes = np.array([front.size for front in fronts], np.int64)
    return np.concatenate(fronts), sizes


def encode(
    ranks: np.ndarray, limit: int, network: Network, share: Share = in_one_piece, done: Done = lambda count: None,
    schedule: Schedule | None = None,
) -> bytes:  # fmt: skip
    """Code a slab's ranks [Z, Y, X] of 0 … limit."""
    shape = (int(ranks.shape[0]), int(ranks.shape[1]), int(ranks.shape[2]))
    order, sizes = fronts_of(schedule or schedule_of(network), shape)
    voxel = ranks.reshape(-1)[order].astype(np.int32)
    counts = adaptive.Counts(limit)
    residual = voxel - predictions(ranks, limit, network, share, done)[order]
    escaped = np.abs(residual) > counts.reach
    token = np.where(escaped, counts.escape, residual + counts.reach).astype(np.int32)
    words = adaptive.encode(token, sizes, counts)
    width = limit.bit_length()
    raw = (voxel[escaped][:, None] >> np.arange(width)) & 1
    bits = np.packbits(raw.astype(np.uint8).ravel(), bitorder="little")
    return varint(words.size) + words.astype("<u4").tobytes() + bits.tobytes()


def decode(
    data: Cursor, shape: Shape, limit: int, network: Network, share: Share = in_one_piece,
    done: Done = lambda count: None, schedule: Schedule | None = None,
) -> np.ndarray:  # fmt: skip
    """The ranks [Z, Y, X] of a slab, a view; takes all that is left of `data`. DamagedError where it is not what
    `encode` writes."""
    offsets = network.weights.offsets
    before, radius = margins(offsets)
    known = padded(np.zeros(shape, kind_of(limit)), offsets, limit)
    inner = known[before:, radius : radius + shape[1], radius : radius + shape[2]]
    words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
    counts = adaptive.Counts(limit)
    decoder = adaptive.Decoder(words, counts)
    raw, at, width = np.unpackbits(np.frombuffer(data.rest(), np.uint8), bitorder="little"), 0, limit.bit_length()
    for front in (schedule or schedule_of(network)).walk(shape):
        if not front[0].size:
            continue
        predicted = np.empty(front[0].size, np.int32)

        def work(lo: int, hi: int, front: tuple[np.ndarray, ...] = front, predicted: np.ndarray = predicted) -> None:
            z, y, x = (part[lo:hi] for part in front)
            predicted[lo:hi] = network.predict(gather(known, (z, y, x), offsets, before, radius), limit)

        share(work, predicted.size)
        token = decoder.take(predicted.size)
        voxel = predicted + token - counts.reach
        escaped = np.flatnonzero(token == counts.escape)
        end = at + width * escaped.size
        if end > raw.size:
            raise DamagedError("it holds fewer raw bits than its voxels have")
        voxel[escaped] = raw[at:end].reshape(escaped.size, width).astype(np.int32) @ (1 << np.arange(width))
        at = end
        if voxel.min() < 0 or voxel.max() > limit:
            raise DamagedError("it decodes to voxels that the volume cannot have")
        inner[front] = voxel
        done(voxel.size)
    decoder.finish()
    if -(-at // 8) * 8 != raw.size or raw[at:].any():
        raise DamagedError("it holds more raw bits than its voxels have")
    return inner
