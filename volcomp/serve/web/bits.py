"""Where the bits of a series go: bits per voxel of each slab of its volumes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...errors import VolcompError
from ...reading.series import Series
from ..store.protocol import Holding
from .downloads import volumes

WIDTH, HEIGHT = 1000, 160  # units of the drawing


@dataclass(frozen=True)
class Bar:
    """A slab: its slices, what it costs, and its place in the drawing."""

    first: int
    end: int
    bits: float
    size: int
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True)
class Map:
    """The slabs of a volume, in order."""

    name: str
    shape: str
    model: str
    bars: list[Bar]
    mean: float  # bits per voxel
    most: float  # the top of the drawing
    mean_y: float


def maps(holdings: Iterable[Holding], series: str) -> list[Map]:
    """Return a map for each volume of a series; none of what cannot be read."""
    found = []
    try:
        for _, volume in volumes(holdings, series):
            times = volume.shape[0] if isinstance(volume, Series) else 1
            shape = volume.shape[1:4] if isinstance(volume, Series) else volume.shape[:3]
            depth, rows, columns = shape if len(shape) == 3 else (1, *shape)
            costs = volume.slab_bytes
            if isinstance(volume, Series) or volume.ndim == 2 or len(volume.chunks[0]) != len(costs):
                ends, costs = [0, depth], [sum(costs)]
            else:
                ends = np.cumsum([0, *volume.chunks[0]]).tolist()
            name, model = volume.name, volume.model
            text = "×".join(map(str, volume.shape))
            found.append(_map(name, text, model, ends, costs, rows * columns * times))
    except VolcompError:  # the page still has the rest
        return found
    return found


def _map(name: str, shape: str, model: str, ends: list[int], costs: list[int], pixels: int) -> Map:
    bits = [8 * size / max((b - a) * pixels, 1) for (a, b), size in zip(pairwise(ends), costs, strict=True)]
    most = max(1, math.ceil(max(bits)))
    scale = WIDTH / ends[-1]
    bars = [
        Bar(a, b, value, size, scale * a, max(scale * (b - a) - 2, 1), HEIGHT - (h := HEIGHT * value / most), h)
        for (a, b), value, size in zip(pairwise(ends), bits, costs, strict=True)
    ]
    mean = 8 * sum(costs) / max(ends[-1] * pixels, 1)
    return Map(name, shape, model, bars, mean, most, HEIGHT * (1 - mean / most))
