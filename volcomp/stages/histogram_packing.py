"""Sparse histograms: volumes that use few of the values in their range are coded by the rank of a value.

A rescaled CT uses every third value, and a padded one has −2000 outside of its circle and nothing down to −1024.
Closing such gaps makes the prediction's steps small again. A mapping is a list of runs of values that may occur; ranks
count through them in ascending order. The idea is the histogram packing of Ferreira & Pinho 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..runtime.compiled import entry

LONG_GAP = 256  # gaps at least this long are closed wherever they are: they are padding or metal, not noise
DENSE = 0.95  # a core of the histogram that uses less than this of its values is closed up altogether
CORE = 0.02  # the core is what lies between these quantiles


def level_type(limit: int) -> type[np.signedinteger]:
    """What grey levels 0 … limit are stored as: half of it stays longer in caches."""
    return np.int16 if limit < 1 << 15 else np.int32


@dataclass(frozen=True)
class Mapping:
    """Runs of values that may occur: int64 [runs, 2] (first, past the last), ascending, apart from each other."""

    runs: np.ndarray

    @property
    def limit(self) -> int:
        """The largest rank."""
        return int((self.runs[:, 1] - self.runs[:, 0]).sum()) - 1

    def values(self) -> np.ndarray:
        """The value of every rank: int64 [limit + 1]."""
        return np.concatenate([np.arange(first, end) for first, end in self.runs])

    def forward(self, voxels: np.ndarray, kind: type[np.signedinteger] = np.int32) -> np.ndarray:
        """Ranks of voxels, of the same shape and a type that holds the largest; every voxel must have one."""
        table = np.zeros(int(self.runs[-1, 1] - self.runs[0, 0]), kind)
        table[self.values() - self.runs[0, 0]] = np.arange(self.limit + 1)
        ranks = np.empty(voxels.shape, kind)
        _look_up(np.ravel(voxels), int(self.runs[0, 0]), table, ranks.reshape(-1))
        return ranks

    def backward(self, ranks: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Voxels of ranks 0 … limit, of the given dtype and the same shape."""
        voxels = np.empty(ranks.shape, dtype)
        _look_up(np.ravel(ranks), 0, self.values().astype(dtype), voxels.reshape(-1))
        return voxels


@entry
def _count(values: np.ndarray, offset: int, counts: np.ndarray) -> None:
    for v in values:
        counts[np.int64(v) - offset] += 1


@entry
def _look_up(values: np.ndarray, offset: int, table: np.ndarray, out: np.ndarray) -> None:
    for v in range(values.shape[0]):
        out[v] = table[np.int64(values[v]) - offset]


def histogram(values: np.ndarray) -> tuple[int, np.ndarray]:
    """The least of integer values, and how often it and each one up to the greatest occur: int64 [range]."""
    low, high = int(values.min()), int(values.max())
    counts = np.zeros(high - low + 1, np.int64)
    _count(np.ravel(values), low, counts)  # numpy's bincount would widen them all first
    return low, counts


def _pays(used: np.ndarray, voxels: int) -> bool:
    """Whether listing the values that occur takes fewer bits than their ranks save; not so for few random voxels."""
    density = (used[-1] - used[0] + 1) / used.size
    return bool(voxels * np.log2(density) > 2 * used.size * (2 + np.log2(density)))


def find(voxels: np.ndarray) -> Mapping:
    """The mapping to use for a volume of u1, i1, u2 or i2."""
    return of_histogram(*histogram(voxels))


def of_histogram(low: int, counts: np.ndarray) -> Mapping:
    """The same for a volume with this `histogram`: all values from its least to its greatest, or without the long gaps,
    or, where even the core of the histogram has holes, the values that occur and no others."""
    used = np.flatnonzero(counts)
    body = max(np.split(used, np.flatnonzero(np.diff(used) > LONG_GAP) + 1), key=len)  # without padding and metal
    share = counts[body] / counts[body].sum()
    upto = np.cumsum(share)
    core = body[(upto > CORE) & (upto - share < 1 - CORE)]
    sparse = core.size > 1 and core.size < DENSE * (core[-1] - core[0] + 1) and _pays(used, int(counts.sum()))
    breaks = np.flatnonzero(np.diff(used) > (1 if sparse else LONG_GAP))
    first = used[np.concatenate([[0], breaks + 1])]
    end = used[np.concatenate([breaks, [used.size - 1]])] + 1
    return Mapping(np.stack([first, end], axis=1).astype(np.int64) + low)
