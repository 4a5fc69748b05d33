"""Extraction: the neighbours of many voxels as one array, at the speed of memory.

In the padded buffer every neighbour is a fixed distance away, whatever the voxel; so an offset becomes one integer,
and a neighbourhood a loop over them without a single test for borders. `reference.py` defines the result.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from .borders import pad
from .offsets import Neighbourhood, margins
from .schedule import Voxels


def flat_offsets(offsets: Neighbourhood, padded_shape: tuple[int, ...]) -> np.ndarray:
    """Compute the distances from a voxel to its neighbours, in voxels of the flattened padded buffer: int64 [K]."""
    _, height, width = padded_shape
    return np.array([(dz * height + dy) * width + dx for dz, dy, dx in offsets], np.int64)


def gather(
    padded: np.ndarray, voxels: Voxels, offsets: Neighbourhood, before: int, radius: int, parallel: bool = False
) -> np.ndarray:
    """Copy the neighbours of some voxels from a buffer that `pad(volume, before, radius)` made.

    padded:   [before + Z, radius + Y + radius, radius + X + radius], contiguous
    voxels:   their places z, y, x in the volume, without margins: integers [N] each, in any order
    parallel: share the work among numba's threads; worth it from some ten thousand voxels on

    Returns [N, K] of the buffer's dtype, K being the number of offsets. Raises ValueError where the margins are
    narrower than the neighbourhood, or a voxel lies outside of the volume: the loops themselves check nothing.
    """
    if margins(offsets)[0] > before or margins(offsets)[1] > radius:
        needed = "{} slices and {} voxels".format(*margins(offsets))
        raise ValueError(f"margins of {before} slices and {radius} voxels are too narrow: {needed} are needed")
    inner = (padded.shape[0] - before, padded.shape[1] - 2 * radius, padded.shape[2] - 2 * radius)
    try:
        z, y, x = np.unravel_index(np.ravel_multi_index(voxels, inner), inner)  # proves that each is inside
    except ValueError:
        raise ValueError(f"a voxel lies outside of the volume of {inner[0]}×{inner[1]}×{inner[2]} voxels") from None
    places = ((z + before) * padded.shape[1] + y + radius) * padded.shape[2] + x + radius
    flat = np.ascontiguousarray(padded).reshape(-1)
    loop = _gather_parallel if parallel else _gather
    out = np.empty((len(places), len(offsets)), padded.dtype)
    loop(flat, places, flat_offsets(offsets, padded.shape), out)
    return out


def extract(
    volume: np.ndarray,
    offsets: Neighbourhood,
    voxels: Voxels | None = None,
    constant: int = 0,
    parallel: bool = False,
) -> np.ndarray:
    """Copy the neighbours of some voxels of a volume [Z, Y, X], or of all in raster order: [N, K] of its dtype.

    Pads the volume on every call; to read front by front, call `pad` once and `gather` for each front. `pad` describes
    `constant`, and `gather` the other parameters and the errors.
    """
    before, radius = margins(offsets)
    if voxels is None:
        z, y, x = np.indices(volume.shape).reshape(3, -1)
        voxels = (z, y, x)
    return gather(pad(volume, before, radius, constant), voxels, offsets, before, radius, parallel)


def _copy_neighbours(flat: np.ndarray, places: np.ndarray, steps: np.ndarray, out: np.ndarray) -> None:
    """out[n, k] = flat[places[n] + steps[k]]"""
    for n in numba.prange(len(places)):
        for k in range(len(steps)):
            out[n, k] = flat[places[n] + steps[k]]


def _compiled(parallel: bool) -> Any:
    try:
        return numba.njit(cache=True, nogil=True, parallel=parallel)(_copy_neighbours)
    except RuntimeError:  # numba finds no folder in which it can keep the code
        return numba.njit(nogil=True, parallel=parallel)(_copy_neighbours)


_gather, _gather_parallel = _compiled(parallel=False), _compiled(parallel=True)
