"""The walk over a slab's fronts, on the CPU: there, with the voxels known, and back, asking the entropy coder for them.

`survey` and `restore` mirror each other, and `gpu/walk.py` has the same two for many slabs at once. What goes in and
comes out of them is the same there and here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neighbourhoods import Shape

from ...stages import payload, linear
from ...runtime.compiled import entry
from ...stages.lstm import cpu, reference
from ...runtime.scalars import smaller
from .slab import Layout, Slab, Team

Network = cpu.Network | reference.Network
Done = Callable[[int], None]  # called with the number of voxels done since the last call; may raise to end the walk

AT_ONCE = 32  # rows that are put in order together: what is read of them stays in the first-level cache


class Stopped(Exception):
    """Raised in a walk when its caller has gone away."""


def mean_type(limit: int) -> type[np.integer]:
    """What sixteenths of grey levels 0 … limit are stored as while a whole slab of them waits: the smaller one that
    holds them."""
    return np.uint16 if limit << 4 < 1 << 16 else np.int32


class Given(NamedTuple):
    """A slab on its way there.

    layout
    levels       its grey levels int16 or int32 [Z, Y, X], 0 … limit
    limit
    fitted       its linear stage
    common       the grey level that may be a spike, or None
    quiet        the grey level that the network does not learn from, or None
    """

    layout: Layout
    levels: np.ndarray
    limit: int
    fitted: linear.Weights
    common: int | None
    quiet: int | None

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        return self.layout.shape


class Opened(NamedTuple):
    """A slab on its way back: as `Given`, with the symbols instead of the levels."""

    layout: Layout
    symbols: payload.Reader
    limit: int
    fitted: linear.Weights

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        return self.layout.shape


@entry
def _in_order(levels: np.ndarray, row: np.ndarray, start: np.ndarray, begin: np.ndarray, out: np.ndarray) -> None:
    """As `in_order`. levels [rows, width]; of the rows in the order of coding, row int64 which it is, and start int64
    when its first voxel comes; begin int64 [times] where the voxel of row 0 would lie in `out` at every time."""
    width = levels.shape[1]
    for first in range(0, row.shape[0], AT_ONCE):
        past, lo, hi = smaller(first + AT_ONCE, row.shape[0]), first, first
        for t in range(start[first], start[past - 1] + width):
            while hi < past and start[hi] <= t:
                hi += 1
            while lo < hi and start[lo] + width <= t:
                lo += 1
            for r in range(lo, hi):
                out[begin[t] + r] = levels[row[r], t - start[r]]


def in_order(levels: np.ndarray, layout: Layout) -> np.ndarray:
    """Levels [Z, Y, X] in the order of coding, of the same type."""
    sizes = np.array([hi - lo for _, lo, hi in layout.fronts])
    times, first, _ = np.array(layout.fronts).T
    begin = np.zeros(int(times[-1]) + 1, np.int64)
    begin[times] = np.cumsum(sizes) - sizes - first
    out = np.empty(levels.size, levels.dtype)
    _in_order(
        np.ascontiguousarray(levels).reshape(-1, levels.shape[2]), np.argsort(layout.order, axis=None),
        layout.rows.start, begin, out,
    )  # fmt: skip
    return out


def survey(given: Given, network: Network, team: Team, done: Done) -> payload.Survey:
    """Walk over a slab that is known."""
    layout, limit, fitted, common, quiet = given.layout, given.limit, given.fitted, given.common, given.quiet
    # The slab's own voxels come one front after the other, as in decoding: near its first slice some are read before
    # their time comes, as 0 (docs/format.md). So they are put in the order of coding before the slab is there.
    voxel = in_order(given.levels, layout)
    del given  # and with it the levels
    slab = Slab(layout, limit, fitted, network.weights, common)
    mean, classes = np.empty(voxel.size, mean_type(limit)), np.empty(voxel.size, np.uint8)
    context = None if common is None else np.empty(voxel.size, np.uint8)
    sizes = []
    end = 0
    for t, lo, hi in layout.fronts:
        begin, end = end, end + hi - lo
        team.predict(slab, network, t, lo, hi)
        mean[begin:end], classes[begin:end] = slab.mean[lo:hi], slab.classes[lo:hi]
        if context is not None:
            context[begin:end] = slab.context[lo:hi]
        slab.perceive(network, t, lo, voxel[begin:end].astype(np.int32), quiet)  # as a decoder gives them
        sizes.append(hi - lo)
        done(hi - lo)
    return payload.Survey(np.array(sizes), voxel, mean, classes, context)


def restore(opened: Opened, network: Network, team: Team, done: Done) -> np.ndarray:
    """The grey levels [Z, Y, X] of a slab from its symbols; DamagedError where these cannot be."""
    symbols = opened.symbols
    slab = Slab(opened.layout, opened.limit, opened.fitted, network.weights, symbols.spike)
    for t, lo, hi in opened.layout.fronts:
        team.predict(slab, network, t, lo, hi)
        context = None if symbols.spike is None else slab.context[lo:hi]
        voxel = symbols.take(slab.mean[lo:hi], slab.classes[lo:hi], context)
        slab.perceive(network, t, lo, voxel, symbols.quiet)
        done(hi - lo)
    symbols.finish()
    return slab.voxels()
