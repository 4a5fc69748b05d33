"""The walk over a slab's fronts, on the CPU: there, with the voxels known, and back, asking the entropy coder for them.

`survey` and `restore` mirror each other, and `gpu/walk.py` has the same two for many slabs at once. What goes in and
comes out of them is the same there and here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neighbourhoods import Shape, pad

from . import coding, linear
from .lstm import cpu, reference
from .slab import RADIUS, Layout, Slab, Team

Network = cpu.Network | reference.Network
Done = Callable[[int], None]  # called with the number of voxels done since the last call; may raise to end the walk


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
    symbols: coding.Reader
    limit: int
    fitted: linear.Weights

    @property
    def shape(self) -> Shape:
        """Z, Y, X."""
        return self.layout.shape


def survey(given: Given, network: Network, team: Team, done: Done) -> coding.Survey:
    """Walk over a slab that is known."""
    slab = Slab(given.layout, given.limit, given.fitted, network.weights, given.common)
    # The slab's own voxels come one front after the other, as in decoding: near its first slice some are read before
    # their time comes, as 0 (docs/format.md).
    known, size = pad(given.levels, 0, RADIUS).reshape(-1), given.levels.size
    fronts, common, quiet = given.layout.fronts, given.common, given.quiet
    voxel, mean, classes = (np.empty(size, kind) for kind in (given.levels.dtype, mean_type(given.limit), np.uint8))
    del given  # and with it the levels, which are in the slab now
    context = None if common is None else np.empty(size, np.uint8)
    sizes = []
    end = 0
    for t, lo, hi in fronts:
        begin, end = end, end + hi - lo
        team.predict(slab, network, t, lo, hi)
        mean[begin:end], classes[begin:end] = slab.mean[lo:hi], slab.classes[lo:hi]
        if context is not None:
            context[begin:end] = slab.context[lo:hi]
        front = np.take(known, slab.places(t, lo, hi)).astype(np.int32)  # as a decoder gives it
        voxel[begin:end] = front
        slab.perceive(network, t, lo, front, quiet)
        sizes.append(hi - lo)
        done(hi - lo)
    return coding.Survey(np.array(sizes), voxel, mean, classes, context)


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
