"""One slab on its way through the pipeline: its padded voxels, its rows in the order in which they start, its fronts.

Encoder and decoder walk over the same fronts with the same two calls (after cmix's Predict and Perceive): `predict`
says where the mean of every voxel of a front lies and how sure that is, `perceive` takes the voxels in. Nothing else is
shared between them, and nothing else can differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
from numba import njit

from neighbourhoods import Schedule

from . import features, linear, residual, spike
from .lstm.state import State
from .lstm.weights import Weights

RADIUS = linear.RADIUS
Step = Callable[[State, int, int], tuple[np.ndarray, np.ndarray]]


@njit(nogil=True, cache=True)
def _mean_and_class(
    prediction: np.ndarray, scale: np.ndarray, offset: np.ndarray, octaves: np.ndarray, limit: int, mean: np.ndarray,
    classes: np.ndarray,
) -> None:  # fmt: skip
    """Means int32 [v] in sixteenths of a grey level and classes uint8 [v], from both stages."""
    for v in range(prediction.shape[0]):
        m = prediction[v] + ((np.int64(offset[v]) * features.SCALES[scale[v]] + (1 << 13)) >> 14)
        mean[v] = min(max(m, 0), limit << 4)
        c = (scale[v] + octaves[v] + residual.CLASS_ORIGIN) >> 2
        classes[v] = min(max(c, 0), residual.CLASSES - 1)


@njit(nogil=True, cache=True)
def _perceive(
    voxel: np.ndarray, index: np.ndarray, prediction: np.ndarray, x: np.ndarray, width: int, last_row: np.ndarray,
    row_stride: int, known: np.ndarray, error: np.ndarray,
) -> None:  # fmt: skip
    """Write voxels and their residuals, and the margins that begin or end with them (`neighbourhoods.borders`)."""
    for v in range(index.shape[0]):
        at = index[v]
        e = (voxel[v] << 4) - prediction[v]
        known[at] = voxel[v]
        error[at] = e
        if x[v] == 0 and not last_row[v]:
            for m in range(at + row_stride - RADIUS, at + row_stride):
                known[m] = voxel[v]
                error[m] = e
        if x[v] == width - 1:
            for m in range(at + 1, at + 1 + RADIUS):
                known[m] = voxel[v]
                error[m] = e


def geometry(shape: tuple[int, int, int]) -> tuple[int, int, tuple[int, int]]:
    """Elements of the padded slab, where its first voxel lies, and its strides (slice, row)."""
    row = shape[2] + 2 * RADIUS
    plane = (shape[1] + 2 * RADIUS) * row
    return shape[0] * plane, RADIUS * row + RADIUS, (plane, row)


class Slab:
    """One slab [Z, Y, X] of mapped grey levels 0 … limit while it is coded; `known` holds those that are."""

    def __init__(
        self, shape: tuple[int, int, int], limit: int, fitted: linear.Weights, height: int, model: Weights
    ) -> None:
        self.shape, self.limit, self._fitted = shape, limit, fitted
        size, origin, self.strides = geometry(shape)
        self.known = np.zeros(size, np.int32)
        self._error = np.zeros(size, np.int32)
        self._support = linear.support(fitted.support)
        self._flat = self._support.flat(self.strides)
        self._tables = features.tables(self.strides)
        self._spike = features.flat(spike.NEIGHBOURS, self.strides)
        seen = {*map(tuple, self._support.offsets.tolist()), *features.LEVELS, *features.RESIDUALS, *features.ACTIVE}
        schedule = Schedule.of(tuple(sorted(seen)), recurrence=True)
        self._rows = schedule.rows(shape)
        self.times = schedule.fronts(shape)
        rows = self._rows
        self._base = (rows.z * self.strides[0] + rows.y * self.strides[1] + origin).astype(np.int64)
        self._depth = np.minimum(rows.z, 2).astype(np.uint8)
        self._group = linear.groups_of(shape[0], height)[rows.z]
        self._last_row = rows.y == shape[1] - 1
        self._state = State(model, len(rows.z))

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """The fronts: (time, first, past the last row), those without voxels left out."""
        times = np.arange(self.times)
        lo = np.searchsorted(self._rows.start, times - self.shape[2], side="right").tolist()
        hi = np.searchsorted(self._rows.start, times, side="right").tolist()
        return ((t, a, b) for t, (a, b) in enumerate(zip(lo, hi, strict=True)) if a < b)

    def places(self, t: int, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the voxels of rows lo … hi-1 at time t lie in the padded slab, and their x; int64 each."""
        x = t - self._rows.start[lo:hi]
        return self._base[lo:hi] + x, x

    def predict(
        self, step: Step, t: int, lo: int, hi: int, mean: np.ndarray, classes: np.ndarray, prediction: np.ndarray
    ) -> None:
        """Means int32, classes uint8 and linear predictions int32 of the voxels of rows lo … hi-1 at time t, all [hi -
        lo]. May run on several threads at once for different rows."""
        index, _ = self.places(t, lo, hi)
        depth = self._depth[lo:hi]
        f = self._fitted
        linear.predict(
            self.known, index, depth, self._group[lo:hi], self._flat, self._support.in_slice, f.thresholds, f.weights,
            self.limit, prediction,
        )  # fmt: skip
        scale = np.empty(hi - lo, np.int32)
        inputs = self._state.inputs[lo:hi]
        features.observe(self.known, self._error, index, depth, *self._tables, prediction, scale, inputs)
        offset, octaves = step(self._state, lo, hi)
        _mean_and_class(prediction, scale, offset, octaves, self.limit, mean, classes)

    def contexts(self, t: int, lo: int, hi: int, value: int, mean: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The spike's contexts uint8 [hi - lo] for the voxels of that front, given their means and classes."""
        context = np.empty(hi - lo, np.uint8)
        index, _ = self.places(t, lo, hi)
        spike.contexts(self.known, index, self._depth[lo:hi], self._spike, value, mean, classes, context)
        return context

    def perceive(self, t: int, lo: int, hi: int, voxel: np.ndarray, prediction: np.ndarray) -> None:
        """Take in the voxels int32 [hi - lo] of that front."""
        index, x = self.places(t, lo, hi)
        _perceive(
            voxel, index, prediction, x, self.shape[2], self._last_row[lo:hi], self.strides[1], self.known, self._error
        )

    def voxels(self) -> np.ndarray:
        """The grey levels [Z, Y, X], a view."""
        z, y, x = self.shape
        padded = self.known.reshape(z, y + 2 * RADIUS, x + 2 * RADIUS)
        return padded[:, RADIUS : RADIUS + y, RADIUS : RADIUS + x]


class Team:
    """Shares the rows of a front between threads, where a volume has fewer slabs than the machine has threads."""

    def __init__(self, executor: Executor | None, members: int) -> None:
        self._executor, self._members = executor, members

    def predict(self, slab: Slab, step: Step, t: int, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`Slab.predict` into new arrays: means, classes, linear predictions."""
        n = hi - lo
        mean, classes, prediction = np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n, np.int32)
        if self._executor is None or n < 512:
            slab.predict(step, t, lo, hi, mean, classes, prediction)
            return mean, classes, prediction
        cuts = [n * k // self._members for k in range(self._members + 1)]

        def part(a: int, b: int) -> None:
            slab.predict(step, t, lo + a, lo + b, mean[a:b], classes[a:b], prediction[a:b])

        others = [self._executor.submit(part, a, b) for a, b in pairwise(cuts[1:])]
        part(cuts[0], cuts[1])
        for other in others:
            other.result()
        return mean, classes, prediction
