"""The three decoders of the publications' figure, timed on the same volume, and three views of what a model misses.

- one voxel after the other, in raster order, with the voxels to the left;
- the published batch decoder: without them, all voxels of a row at once, and the rows of all slices that are ready;
- the hyperplane schedule, with them (Lamport 1974; `neighbourhoods.Schedule`), which the publications dismiss because
  its fronts would not fill a GPU.

All three are the codec's decoder under another schedule, with the same network and the same backend; each decodes a
slab that was coded in its order, and must give back its voxels. The volume is `benchmarks.phantom`, for speed depends
on shapes alone. The weights are those of the released model, whatever the neighbourhood: nor does it depend on weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import phantom
from neighbourhoods import Schedule, gather, margins
from volcomp import models
from volcomp.pipelines.paper import cpu, slab
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.pipelines.paper.reference import ReferencePaperLstm
from volcomp.pipelines.paper.sequence import in_order, padded
from volcomp.pipelines.paper.weights import PaperWeights
from volcomp.runtime.products import one_thread_each
from volcomp.training.paper import neighbourhood_of
from volcomp.wire.cursor import Cursor

from .config import Config
from .data import middle

SEQUENTIAL, BATCH, HYPERPLANE = "one after the other", "rows, left-free", "hyperplane"
VIEW = (24, 72, 72)  # slices, and what of the phantom's middle is shown


def with_neighbourhood(weights: PaperWeights, shape: str) -> PaperWeights:
    """The same network before another neighbourhood."""
    offsets = np.array(in_order(neighbourhood_of(shape)), np.int8)
    return replace(weights, name=shape, neighbourhood=offsets)


def schedules(network: ReferencePaperLstm, shape: tuple[int, int, int], left: bool) -> dict[str, Schedule]:
    """The decoders by name that a network has, with the voxels to the left or without."""
    smallest = slab.schedule_of(network.weights)
    if not left:
        assert smallest.a == 0  # whole rows
        return {BATCH: smallest}
    return {SEQUENTIAL: Schedule(1, shape[2], shape[1] * shape[2]), HYPERPLANE: smallest}


def measure(config: Config, shape: str) -> list[dict[str, Any]]:
    """Rows of decoders.csv for one neighbourhood, given with the voxels to the left; on one thread."""
    with one_thread_each():
        return list(_measured(config, shape))


def _measured(config: Config, shape: str) -> Iterator[dict[str, Any]]:
    released = PAPER.load(models.chosen("paper"))
    scan = phantom.scan(config.decoder_large[0], max(64, *config.decoder_large[1:]))
    for left in (True, False):
        name = shape if left else f"{shape}/left-free"
        network = cpu.CpuPaperLstm(with_neighbourhood(released, name))
        for size, crop in (("small", config.decoder_small), ("large", config.decoder_large)):
            ranks = middle(scan, crop).astype(np.int32)
            ranks -= ranks.min()
            volume = (int(ranks.shape[0]), int(ranks.shape[1]), int(ranks.shape[2]))
            for decoder, schedule in schedules(network, volume, left).items():
                if decoder == SEQUENTIAL and size == "large":
                    continue
                seconds = decoded_in(ranks, network, schedule)
                fronts = int((schedule.sizes(volume) > 0).sum())
                yield {
                    "shape": shape, "length": len(network.weights.offsets), "decoder": decoder, "volume": size,
                    "size": "×".join(map(str, volume)), "fronts": fronts,
                    "voxels_per_front": f"{ranks.size / fronts:.1f}", "seconds": f"{seconds:.3f}",
                    "voxels_per_s": f"{ranks.size / seconds:.0f}",
                }  # fmt: skip


def decoded_in(ranks: np.ndarray, network: ReferencePaperLstm, schedule: Schedule) -> float:
    """Seconds of CPU time to decode ranks [Z, Y, X] that were coded in the order of a schedule: with one thread that is
    what it takes, whatever else the machine does."""
    limit = int(ranks.max())
    data = slab.encode(ranks, limit, network, schedule=schedule)
    begin = time.process_time()
    back = slab.decode(Cursor(data, "a slab"), ranks.shape, limit, network, schedule=schedule)
    seconds = time.process_time() - begin
    assert np.array_equal(back, ranks), schedule
    return seconds


def views() -> list[dict[str, Any]]:
    """The three middle planes of a made scan, voxel by voxel: rows of views.csv."""
    scan = middle(phantom.scan(VIEW[0], 128), VIEW)
    ranks = scan.astype(np.int32) - int(scan.min())
    network = cpu.CpuPaperLstm(PAPER.load(models.chosen("paper")))
    offsets, limit = network.weights.offsets, int(ranks.max())
    known, every = padded(ranks, offsets, limit), np.arange(ranks.size).reshape(ranks.shape)
    z, y, x = (size // 2 for size in ranks.shape)
    rows = []
    for plane, places in {"axial": every[z], "coronal": every[:, y], "sagittal": every[:, :, x]}.items():
        a, b, c = np.unravel_index(places.ravel(), ranks.shape)
        with one_thread_each():
            predicted = network.predict(gather(known, (a, b, c), offsets, *margins(offsets)), limit)
        residual = (ranks[a, b, c] - predicted).reshape(places.shape)
        for (row, column), missed in np.ndenumerate(residual):
            voxel = int(scan.reshape(-1)[places[row, column]])
            rows.append({"plane": plane, "row": row, "column": column, "voxel": voxel, "residual": int(missed)})
    return rows
