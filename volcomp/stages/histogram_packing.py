"""Histogram packing: close the gaps in the histogram of a volume that uses few of the values in its range.

A rescaled CT may use every third value only. A padded CT may have −2000 outside its circle and no value from there to
−1024. Without these gaps residuals are small again. A packing is a list of runs of values that may occur; grey levels
number these values in ascending order. The idea is the histogram packing of Ferreira & Pinho 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import Int64s, Integers, Levels
from ..runtime.compiled import entry

LONG_GAP = 256  # longer gaps are always closed: they stem from padding or metal, not from noise
DENSE = 0.95  # every gap is closed where the core of the histogram uses less than this share of its values
CORE = 0.02  # the core lies between the quantiles CORE and 1 − CORE


def level_type(limit: int) -> type[np.signedinteger]:
    """Return the type of grey levels 0 … limit: int16 where possible, since it takes half the space in caches."""
    return np.int16 if limit < 1 << 15 else np.int32


@dataclass(frozen=True)
class HistogramPacking:
    """The runs of values that may occur in a volume.

    runs int64 [n, 2]   first value and the one past the last; ascending, with a gap between any two
    """

    runs: Int64s

    @property
    def limit(self) -> int:
        """The largest grey level."""
        return int((self.runs[:, 1] - self.runs[:, 0]).sum()) - 1

    def values(self) -> Int64s:
        """Return the value of every grey level: int64 [limit + 1]."""
        return np.concatenate([np.arange(first, end) for first, end in self.runs])

    def forward(self, voxels: Integers, kind: type[np.signedinteger] = np.int32) -> Levels:
        """Map voxels to grey levels, of the same shape. `kind` must hold `limit`, and every voxel must lie in a run."""
        table = np.zeros(int(self.runs[-1, 1] - self.runs[0, 0]), kind)
        table[self.values() - self.runs[0, 0]] = np.arange(self.limit + 1)
        levels = np.empty(voxels.shape, kind)
        _look_up(np.ravel(voxels), int(self.runs[0, 0]), table, levels.reshape(-1))
        return levels

    def nearest(self, voxels: Integers, kind: type[np.signedinteger] = np.int32) -> Levels:
        """Map voxels of another volume, u1, i1, u2 or i2, to the levels of the nearest values; of two that are equally
        near to the lower one."""
        own, least, most = self.values(), np.iinfo(voxels.dtype).min, np.iinfo(voxels.dtype).max
        given = np.arange(least, most + 1)
        above = np.searchsorted(own, given).clip(0, own.size - 1)
        below = (above - 1).clip(0)
        table = np.where(given - own[below] <= own[above] - given, below, above).astype(kind)
        levels = np.empty(voxels.shape, kind)
        _look_up(np.ravel(voxels), least, table, levels.reshape(-1))
        return levels

    def backward(self, levels: Levels, dtype: np.dtype) -> np.ndarray:
        """Map grey levels 0 … limit to voxels, of the given dtype and the same shape."""
        voxels = np.empty(levels.shape, dtype)
        _look_up(np.ravel(levels), 0, self.values().astype(dtype), voxels.reshape(-1))
        return voxels


@entry
def _count(values: Integers, offset: int, counts: Int64s) -> None:
    for v in values:
        counts[np.int64(v) - offset] += 1


@entry
def _look_up(values: Integers, offset: int, table: np.ndarray, out: np.ndarray) -> None:
    for v in range(values.shape[0]):
        out[v] = table[np.int64(values[v]) - offset]


def histogram(values: Integers) -> tuple[int, Int64s]:
    """Return the least of integer values, and the counts int64 [range] of all values from it to the greatest."""
    low, high = int(values.min()), int(values.max())
    counts = np.zeros(high - low + 1, np.int64)
    _count(np.ravel(values), low, counts)  # numpy's bincount would first widen all values
    return low, counts


def _pays(used: Int64s, voxels: int) -> bool:
    """Return whether packing saves more bits than a list of the values costs; it does not for a few random voxels."""
    density = (used[-1] - used[0] + 1) / used.size
    return bool(voxels * np.log2(density) > 2 * used.size * (2 + np.log2(density)))


def find(voxels: Integers) -> HistogramPacking:
    """Find the packing for a volume of u1, i1, u2 or i2."""
    return of_histogram(*histogram(voxels))


def of_histogram(low: int, counts: Int64s) -> HistogramPacking:
    """Find the packing for a volume with this `histogram`.

    It allows all values from the least to the greatest except those in long gaps. Where the core of the histogram has
    holes as well, it allows only values that occur.
    """
    used = np.flatnonzero(counts)
    body = max(np.split(used, np.flatnonzero(np.diff(used) > LONG_GAP) + 1), key=len)  # excludes padding and metal
    share = counts[body] / counts[body].sum()
    cumulative = np.cumsum(share)
    core = body[(cumulative > CORE) & (cumulative - share < 1 - CORE)]
    sparse = core.size > 1 and core.size < DENSE * (core[-1] - core[0] + 1) and _pays(used, int(counts.sum()))
    breaks = np.flatnonzero(np.diff(used) > (1 if sparse else LONG_GAP))
    first = used[np.concatenate([[0], breaks + 1])]
    end = used[np.concatenate([breaks, [used.size - 1]])] + 1
    return HistogramPacking(np.stack([first, end], axis=1).astype(np.int64) + low)
