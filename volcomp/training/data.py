"""Rows of voxels to train on, taken evenly from every series of the corpus' train split."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from neighbourhoods import pad

from .. import features, least_squares, linear, mapping
from ..padded import DEPTHS
from ..slab import padded
from . import augment

SLAB = 32


@dataclass
class Slab:
    """One slab as the codec sees it, with the residuals of its own fitted linear stage."""

    known: np.ndarray  # int32 [n], padded, flat
    residual: np.ndarray  # int32 [n], the same
    shape: tuple[int, int, int]
    strides: tuple[int, int]

    def index(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Where voxels lie in the flat arrays."""
        r = linear.RADIUS
        return z * self.strides[0] + (y + r) * self.strides[1] + x + r


def prepare(voxels: np.ndarray, widest: int, fitted: linear.Weights | None = None) -> Slab:
    """Pad a slab of mapped voxels int32 [Z, Y, X], fit its linear stage unless it is given, keep what it leaves."""
    shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    known, index, strides = padded(voxels.astype(np.int32))
    slab = Slab(known, known, shape, strides)
    z = np.indices(shape)[0]
    fitted = fitted or least_squares.fit(slab.known, index, strides, widest)
    prediction = np.empty(index.size, np.int32)
    depth = np.minimum(z, DEPTHS - 1).astype(np.uint8).ravel()
    group = linear.groups_of(shape[0], fitted.height, fitted.support)[z.ravel()]
    limit = int(voxels.max())
    ready = linear.ready(fitted, strides, limit)
    linear.predict(slab.known, index.ravel(), depth, group, ready, limit, prediction)
    error = (voxels << linear.FRACTION_BITS) - prediction.reshape(shape)
    slab.residual = pad(error.astype(np.int32), 0, linear.RADIUS).reshape(-1)
    return slab


def slabs_of(volume: np.ndarray, widest: int) -> list[Slab]:
    """All slabs of a volume [Z, Y, X], mapped as a whole; `widest` is the most runs that the supports of their linear
    stage may have."""
    ranks = mapping.find(volume).forward(volume)
    pieces = np.array_split(ranks, max(1, -(-len(ranks) // SLAB)))
    return [prepare(piece, widest) for piece in pieces]


class Sampler:
    """Batches of row pieces: a series at random, a slab of it, a slice, a row, a place; one row in eight is taken from
    its start, where the state is zero in coding too."""

    def __init__(self, series: list[list[Slab]], seed: int) -> None:
        self.series = series
        self.random = np.random.default_rng(seed)

    def batch(self, rows: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs int8 [T, B, INPUTS], errors of the linear stage in grey levels float32 [T, B], scale indices int32 [T,
        B]."""
        inputs = np.zeros((steps, rows, features.INPUTS), np.int8)
        error = np.empty((steps, rows), np.float32)
        scale = np.empty((steps, rows), np.int32)
        owner = np.sort(self.random.integers(0, len(self.series), rows))
        for s in np.unique(owner):
            columns = np.flatnonzero(owner == s)
            slabs = self.series[s]
            share = np.array([slab.shape[0] for slab in slabs], float)
            which = np.sort(self.random.choice(len(slabs), columns.size, p=share / share.sum()))
            for k in np.unique(which):
                mine = columns[which == k]
                inputs[:, mine], error[:, mine], scale[:, mine] = self._pieces(slabs[k], mine.size, steps)
        return inputs, error, scale

    def _pieces(self, slab: Slab, count: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        depth, height, width = slab.shape
        z, y = self.random.integers(0, depth, count), self.random.integers(0, height, count)
        x = self.random.integers(0, max(1, width - steps + 1), count) * (self.random.random(count) > 0.125)
        return rows_of(slab, z, y, x, steps)


def rows_of(
    slab: Slab, z: np.ndarray, y: np.ndarray, x: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs [T, B, INPUTS], errors [T, B], scale indices [T, B] of pieces of rows that start at (z, y, x), int64 [B].
    Pieces that reach over the row's end go on in its margin, which repeats the last voxel."""
    places = slab.index(z, y, x)[None, :] + np.minimum(np.arange(steps), slab.shape[2] - 1)[:, None]
    index = places.ravel()
    depth = np.broadcast_to(np.minimum(z, DEPTHS - 1).astype(np.uint8), places.shape).ravel()
    prediction = (slab.known[index] << linear.FRACTION_BITS) - slab.residual[index]
    scale = np.empty(index.size, np.int32)
    inputs = np.zeros((index.size, features.INPUTS), np.int8)
    features.observe(
        slab.known, slab.residual, index, depth, features.neighbours(slab.strides), prediction, scale, inputs
    )
    error = slab.residual[index].astype(np.float32) / (1 << linear.FRACTION_BITS)
    return inputs.reshape(*places.shape, -1), error.reshape(places.shape), scale.reshape(places.shape)


def series(names: list[str], load: Callable[[str], list[np.ndarray]], widest: int, variations: int) -> list[list[Slab]]:
    """The slabs of every named series, and after them those of so many variations of each (`augment`), two series at a
    time."""

    def work(name: str) -> tuple[list[Slab], list[Slab]]:
        volumes = load(name)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        varied = augment.variations(max(volumes, key=np.size), variations, random)
        mine, other = ([slab for volume in some for slab in slabs_of(volume, widest)] for some in (volumes, varied))
        return mine, other

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
        both = list(tqdm(pool.map(work, names), total=len(names), desc="linear stage", disable=None))
    return [mine for mine, _ in both] + [other for _, other in both]
