"""The encoder's choice of keys among the time points of a series: those that are coded by themselves, one of which each
of the others refers to. And what the orders of time points and slices cost that it may choose among.

A least-squares fit to a sample of voxels estimates what a time point costs alone, and with each key that it might refer
to. Fits of the linear stage itself would take hundreds of times as long, and the estimate need only tell keys apart:
every slab is fitted with and without its reference again (`linear_fit.py`).

All results are the same on every machine: sums are of integers that float64 holds exactly, and the equations are solved
in a fixed order of operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..dtypes import Float64s, Int16s, Integers
from .linear_fit import solve_positive_definite

SAMPLE = 1 << 12  # most voxels of a time point that are looked at,
SLICES = 4  # in so many slices, each beside the slice before it
CLASSES = 4  # of voxels by activity, each fitted by itself
LEAST = 1 << 8  # voxels of a class
DIFFERENCE_LIMIT = 1 << 14  # as in the normal equations: sums of 2^12 products stay below 2^53
RIDGE = 1e-6
NOISE_FLOOR = 0.25  # of a squared error, in grey levels, below which no symbol gets cheaper
# Of a series with more than ALL_PAIRS time points, each may refer to those within NEAR of it, and to FAR ones that lie
# evenly across the series.
ALL_PAIRS, NEAR, FAR = 32, 8, 12
MINIMUM_SAVING = 1 / 128  # bits per voxel by which a time point must be cheaper with a key
MOST = 24  # time points, those in the middle, by which orders are judged
BESIDE = 2  # slices before, of other time points, that are looked at where time points of a slice are side by side:
# fits to more of them promise what the network does not get where most of a series is noise

# Neighbours (dy, dx): in the slice and in the slice before of the voxel's own time point, and in the slice of the key.
_OWN = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
_BEFORE = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0))
_KEY = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_MARGIN = 2
_BASE = 4  # of _OWN: differences are from the mean of these, in the time point and in the key

# Reads the slices first … end - 1 of a time point [z, Y, X].
Reading = Callable[[int, int], np.ndarray]


class _Sample(NamedTuple):
    """Voxels of a time point, in the order of their classes.

    own int16 [v, n + 1]   differences of neighbours from the base, and last of the voxel itself
    key int16 [v, m]       those of the same place as it will be seen by a time point that refers to this one; in the
                           order of the sample, not of classes
    order int64 [v]        the number in the sample of every voxel
    ends                   where classes end
    alone                  estimated bits per voxel without a key
    """

    own: Int16s
    key: Int16s
    order: np.ndarray
    ends: tuple[int, ...]
    alone: float


class Costs(NamedTuple):
    """Bits per voxel of a series as estimated, all less the same number."""

    after: float  # time point after time point, in one volume
    apart: float  # each a volume, with the keys that `choose` finds
    beside: float  # all time points of a slice, then those of the next, in one volume


def costs(time_points: Sequence[Reading], shape: tuple[int, int, int]) -> Costs:
    """Estimate what orders of time points of a shape Z, Y, X cost: headers, and the tables of slabs, aside."""
    begin = max(0, (len(time_points) - MOST) // 2)
    slices = _slices(shape)
    samples = [_sample(read, shape, slices) for read in time_points[begin : begin + MOST]]
    pairs = _costs_of_pairs(samples)
    alone = np.array([sample.alone for sample in samples])
    keys = _locate(pairs, alone)
    apart = [alone[t] if key is None else pairs[t, key] for t, key in enumerate(keys)]
    beside = [_bits_beside(samples[max(t - BESIDE, 0) : t + 1]) for t in range(len(samples))]
    return Costs(float(alone.mean()), float(np.mean(apart)), float(np.mean(beside)))


def _bits_beside(samples: Sequence[_Sample]) -> float:
    """Estimate the bits per voxel of the last of some time points, in a slab of slices of one place."""
    *before, last = samples
    inside = [*range(len(_OWN)), -1]
    seen = [one.key[last.order] for one in before]
    total = 0.0
    for begin, end in pairwise((0, *last.ends)):
        parts = [*(one[begin:end] for one in seen), last.own[begin:end, inside]]
        design = np.concatenate(parts, axis=1).astype(np.float64)
        total += (end - begin) * _cost(design.T @ design, end - begin)
    return total / last.ends[-1]


def _costs_of_pairs(samples: Sequence[_Sample]) -> Float64s:
    """Estimate the bits per voxel [time point, key] of those pairs that are compared; others cost infinitely much."""
    count = len(samples)
    found = np.full((count, count), np.inf)
    for t, key in _pairs(count):
        found[t, key] = _bits(samples[t], samples[key])
    return found


def choose(time_points: Sequence[Reading], shape: tuple[int, int, int]) -> list[int | None]:
    """Choose keys among time points of a shape Z, Y, X. Returns the number of the key that each refers to, or None
    for keys.

    Keys are added one by one, the one that saves most first (greedily, as facilities are located: Cornuéjols, Fisher &
    Nemhauser 1977), until a further one saves nothing: a key gains nothing itself.
    """
    count = len(time_points)
    if count < 2:
        return [None] * count
    slices = _slices(shape)
    samples = [_sample(read, shape, slices) for read in time_points]
    return _locate(_costs_of_pairs(samples), np.array([sample.alone for sample in samples]))


def _locate(costs: Float64s, alone: Float64s) -> list[int | None]:
    """Choose keys by the costs [t, key] of referring, and [t] of being coded alone."""
    keys: list[int | None] = [None] * len(alone)
    now = alone.copy()
    chosen: list[int] = []
    while True:
        saved = np.maximum(now[:, None] - costs - MINIMUM_SAVING, 0)  # by making a time point refer to a new key
        saved[chosen] = 0
        gain = saved.sum(axis=0) - np.diag(saved) - (alone - now)
        best = int(gain.argmax())
        if best in chosen or gain[best] <= 0:
            return keys
        chosen.append(best)
        keys[best], now[best] = None, alone[best]
        for t in np.flatnonzero(saved[:, best]).tolist():
            if t != best:
                keys[t], now[t] = best, costs[t, best]


def _pairs(count: int) -> list[tuple[int, int]]:
    """List (time point, key) for all that are compared."""
    if count <= ALL_PAIRS:
        return [(t, key) for t in range(count) for key in range(count) if t != key]
    far = {count * k // FAR for k in range(FAR)}
    near = [range(max(t - NEAR, 0), min(t + NEAR + 1, count)) for t in range(count)]
    return [(t, key) for t in range(count) for key in sorted({*near[t], *far}) if t != key]


def _slices(shape: tuple[int, int, int]) -> list[int]:
    """Return the slices that are looked at: in the middle of equal parts of the volume."""
    depth = shape[0]
    count = min(SLICES, max(depth - 1, 1))
    return sorted({min(max((2 * k + 1) * depth // (2 * count), 1), depth - 1) for k in range(count)})


def _sample(read: Reading, shape: tuple[int, int, int], slices: Sequence[int]) -> _Sample:
    """Take the sample of a time point."""
    _, height, width = shape
    each = SAMPLE // len(slices)
    inside = np.arange(height * width).reshape(height, width)
    places = inside.ravel()[:: max(1, -(-inside.size // each))]
    own, key = [], []
    for z in slices:
        both = read(max(z - 1, 0), z + 1).astype(np.int32)
        before, here = (np.pad(one, _MARGIN, mode="edge") for one in (both[0], both[-1]))
        near = [_at(here, places, width, offset) for offset in _OWN]
        base = (near[0] + near[1] + near[2] + near[3] + 2) >> 2
        if len(both) > 1:
            near += [_at(before, places, width, offset) for offset in _BEFORE]
        own.append(_limited([*near, _at(here, places, width, (0, 0))], base))
        key.append(_limited([_at(here, places, width, offset) for offset in _KEY], base))
    return _classified(np.concatenate(own), np.concatenate(key))


def _at(padded: Integers, places: Integers, width: int, offset: tuple[int, int]) -> Integers:
    """Read the neighbours int32 [v] at an offset (dy, dx) of voxels with these numbers in their slice."""
    y, x = np.divmod(places, width)
    return padded[y + _MARGIN + offset[0], x + _MARGIN + offset[1]]


def _limited(near: Sequence[Integers], base: Integers) -> Int16s:
    """Return differences int16 [v, n] from the base [v]."""
    return np.stack([one - base for one in near], axis=1).clip(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT).astype(np.int16)


def _classified(own: Int16s, key: Int16s) -> _Sample:
    """Put voxels in the order of their classes."""
    activity = np.abs(own[:, :-1].astype(np.int64)).sum(axis=1)
    order = np.argsort(activity, kind="stable")
    classes = max(1, min(CLASSES, len(own) // LEAST))
    ends = tuple(len(own) * (c + 1) // classes for c in range(classes))
    sample = _Sample(own[order], key, order, ends, 0.0)
    return sample._replace(alone=_bits(sample, None))


def _bits(sample: _Sample, key: _Sample | None) -> float:
    """Estimate the bits per voxel of a time point that refers to a key, or to none."""
    total = 0.0
    given = None if key is None else key.key[sample.order]
    for begin, end in pairwise((0, *sample.ends)):
        own = sample.own[begin:end].astype(np.float64)
        design = own if given is None else np.concatenate([given[begin:end], own], axis=1)
        total += (end - begin) * _cost(design.T @ design, end - begin)
    return total / sample.ends[-1]


def _cost(products: Float64s, voxels: int) -> float:
    """Estimate the bits per voxel of a class, by the error that is left of the last row of sums of products [n + 1,
    n + 1]: that on other voxels (final prediction error: Akaike 1969)."""
    gram, right, size = products[:-1, :-1].copy(), products[:-1, -1], len(products) - 1
    gram[np.diag_indices(size)] += RIDGE * (np.trace(gram) / size) + 1.0
    weights = right.copy()
    solve_positive_definite(size, gram, weights)
    left = float(products[-1, -1]) - sum(a * b for a, b in zip(weights.tolist(), right.tolist(), strict=True))
    expected = max(left, 0.0) / voxels * (voxels + size) / max(voxels - size, 1)
    return 0.5 * math.log2(expected + NOISE_FLOOR)
