"""Slabs for training: the network's inputs for them, and evenly sampled blocks of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neighbourhoods import pad

from ..constants import DEPTHS, FRACTION_BITS, INPUTS, RADIUS
from ..dtypes import Int32s, Int64s, Integers, Levels
from ..encoder import linear_fit
from ..stages import features, histogram_packing, linear
from ..stages.grid import PaddedSlab, beside, padded

SLAB = 32  # slices


@dataclass
class TrainingSlab:
    """A slab as the codec prepares it, with the residuals of its own linear stage."""

    known: Int32s  # int32 [n], padded, flat
    residual: Int32s  # int32 [n], likewise, in 1/16 of a grey level
    shape: tuple[int, int, int]
    strides: tuple[int, int]
    size: int = 0  # elements of the padded slab, if the network sees a reference, which follows it in `known`; else 0

    def index(self, z: Int64s, y: Int64s, x: Int64s) -> Int64s:
        """Return the places of voxels in the flat arrays."""
        r = RADIUS
        return z * self.strides[0] + (y + r) * self.strides[1] + x + r


def prepare(voxels: Int32s, fitted: linear.LinearWeights, reference: Levels | None = None) -> TrainingSlab:
    """Pad a slab of grey levels int32 [Z, Y, X] and compute the residuals of its linear stage. The network sees the
    reference, if there is one."""
    shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    known, index, strides = padded(voxels.astype(np.int32))
    size = 0
    if reference is not None:
        size, known = known.size, np.concatenate([known, beside(reference.astype(np.int32))])
    slab = TrainingSlab(known, known, shape, strides, size)
    z = np.indices(shape)[0]
    prediction = np.empty(index.size, np.int32)
    depth = np.minimum(z, DEPTHS - 1).astype(np.uint8).ravel()
    group = linear.groups_of(shape[0], fitted.height, fitted.support)[z.ravel()]
    ready = linear.ready(fitted, strides, int(voxels.max()), size)
    linear.predict(slab.known, index.ravel(), depth, group, ready, prediction)
    error = (voxels << FRACTION_BITS) - prediction.reshape(shape)
    slab.residual = pad(error.astype(np.int32), 0, RADIUS).reshape(-1)
    return slab


def slabs_of(volume: Integers, widest: int) -> list[TrainingSlab]:
    """Prepare all slabs of a volume [Z, Y, X], after histogram packing of the whole volume.

    widest: the most runs that a support of the linear stage may have.
    """
    ranks = histogram_packing.find(volume).forward(volume)
    pieces = np.array_split(ranks, max(1, -(-len(ranks) // SLAB)))
    return [prepare(piece, linear_fit.fit(*padded(piece.astype(np.int32)), widest)) for piece in pieces]


Block = tuple[int, int, int]  # slices, rows, voxels of a row


class Batch(NamedTuple):
    """The network's inputs for blocks of neighbouring rows: arrays, or tensors on a device (`blocks.py`).

    inputs int8 [T, Z, Y, B, INPUTS]
    error float32 [T, Z, Y, B]       of the linear stage, in grey levels
    scale int32 [T, Z, Y, B]         scale indices
    """

    inputs: Any
    error: Any
    scale: Any


class Sampler:
    """Batches of random blocks of neighbouring slices, rows and voxels.

    A series is drawn, then a slab of it, then a place. One block in eight begins where its rows do, where the state
    is zero in coding too. Slabs with fewer slices or rows than a block are left out.
    """

    def __init__(self, series: list[list[TrainingSlab]], block: Block, seed: int) -> None:
        deep = [[slab for slab in slabs if slab.shape[0] >= block[0] and slab.shape[1] >= block[1]] for slabs in series]
        self.series = [slabs for slabs in deep if slabs]
        self.slabs = [slab for slabs in self.series for slab in slabs]
        self.block = block
        self.random = np.random.default_rng(seed)

    def batch(self, blocks: int) -> Batch:
        """Return a batch of that many blocks."""
        places = self.places(blocks)
        of_slab = [(k, places[:, 0] == k) for k in np.unique(places[:, 0]).tolist()]
        z, y, x = (places[:, column] for column in (1, 2, 3))
        parts = [blocks_of(self.slabs[k], z[own], y[own], x[own], self.block) for k, own in of_slab]
        return Batch(*(np.concatenate(arrays, axis=3) for arrays in zip(*parts, strict=True)))

    def places(self, blocks: int) -> Int64s:
        """Draw where blocks begin, int64 [B, 4]: number of the slab in `slabs`, ascending; slice, row, voxel."""
        parts = []
        owner = np.sort(self.random.integers(0, len(self.series), blocks))
        first = np.cumsum([0, *map(len, self.series)])
        for s in np.unique(owner):
            slabs = self.series[s]
            share = np.array([slab.shape[0] for slab in slabs], float)
            which = np.sort(self.random.choice(len(slabs), np.count_nonzero(owner == s), p=share / share.sum()))
            for k in np.unique(which):
                count = int(np.count_nonzero(which == k))
                free = np.subtract(slabs[k].shape, self.block)
                z, y, x = (self.random.integers(0, max(1, r + 1), count) for r in free)
                x = x * (self.random.random(count) > 0.125)
                parts.append(np.stack([np.full(count, first[s] + k), z, y, x], axis=1))
        return np.concatenate(parts)


def blocks_of(slab: TrainingSlab, z: Int64s, y: Int64s, x: Int64s, block: Block) -> Batch:
    """Make the blocks of `block` slices, rows and voxels that begin at (z, y, x), int64 [B].

    Beyond the end of a row, its last voxel is repeated.
    """
    depth, height, voxels = block
    zs = np.broadcast_to(z + np.arange(depth)[:, None, None], (depth, height, len(z)))
    ys = np.broadcast_to(y + np.arange(height)[:, None], (depth, height, len(z)))
    xs = np.minimum(np.arange(voxels), slab.shape[2] - 1)[:, None, None, None]
    places = slab.index(zs, ys, x) + xs  # [T, Z, Y, B]
    index = places.ravel()
    depths = np.broadcast_to(np.minimum(zs, DEPTHS - 1).astype(np.uint8), places.shape).ravel()
    prediction = (slab.known[index] << FRACTION_BITS) - slab.residual[index]
    scale = np.empty(index.size, np.int32)
    inputs = np.zeros((index.size, INPUTS), np.int8)
    padded_slab = PaddedSlab(slab.known, slab.residual)
    features.observe(
        padded_slab, index, depths, features.neighbours(slab.strides, slab.size), prediction, scale, inputs
    )
    error = slab.residual[index].astype(np.float32) / (1 << FRACTION_BITS)
    return Batch(inputs.reshape(*places.shape, -1), error.reshape(places.shape), scale.reshape(places.shape))
