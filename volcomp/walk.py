"""The walk over a slab's fronts, on the CPU: there, with the voxels known, and back, asking the entropy coder for them.

`survey` and `restore` mirror each other, and `gpu/walk.py` has the same two for many slabs at once. What goes in and
comes out of them is the same there and here.
"""

from __future__ import annotations

import math
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


def _in_order(layout: Layout, known: np.ndarray) -> np.ndarray:
    """The grey levels of a padded slab, front by front."""
    voxel, base = np.empty(math.prod(layout.shape), known.dtype), layout.rows.base
    end = 0
    for t, lo, hi in layout.fronts:
        begin, end = end, end + hi - lo
        np.take(known, base[lo:hi] + t, out=voxel[begin:end], mode="clip")  # which, unlike "raise", needs no copy
    return voxel


def survey(given: Given, network: Network, team: Team, done: Done) -> coding.Survey:
    """Walk over a slab that is known."""
    layout, limit, fitted, common, quiet = given.layout, given.limit, given.fitted, given.common, given.quiet
    # The slab's own voxels come one front after the other, as in decoding: near its first slice some are read before
    # their time comes, as 0 (docs/format.md). So they are put in the order of coding before the slab is there.
    voxel = _in_order(layout, pad(given.levels, 0, RADIUS).reshape(-1))
    del given  # and with it the levels
    slab = Slab(layout, limit, fitted, network.weights, common)
    # Means take the places of voxels that the slab has taken in, where they are as large.
    kind = np.dtype(mean_type(limit))
    mean = voxel.view(kind) if kind.itemsize == voxel.itemsize else np.empty(voxel.size, kind)
    classes = np.empty(voxel.size, np.uint8)
    context = None if common is None else np.empty(voxel.size, np.uint8)
    sizes = []
    end = 0
    for t, lo, hi in layout.fronts:
        begin, end = end, end + hi - lo
        team.predict(slab, network, t, lo, hi)
        front = voxel[begin:end].astype(np.int32)  # as a decoder gives it
        mean[begin:end], classes[begin:end] = slab.mean[lo:hi], slab.classes[lo:hi]
        if context is not None:
            context[begin:end] = slab.context[lo:hi]
        slab.perceive(network, t, lo, front, quiet)
        sizes.append(hi - lo)
        done(hi - lo)
    known = slab.known
    del slab, voxel  # before there are voxels once more
    return coding.Survey(np.array(sizes), _in_order(layout, known), mean, classes, context)


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
