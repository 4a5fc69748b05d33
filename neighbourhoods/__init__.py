"""Causal neighbourhoods of voxels: their offsets, the schedule that follows from them, and fast extraction.

For predictors of a voxel of a volume [Z, Y, X] from the voxels before it. Needs numpy and numba, but not volcomp.

>>> import numpy as np
>>> from neighbourhoods import Schedule, cube, extract, gather, margins, pad, pyramid
>>> len(cube(2)), len(pyramid((13, 9, 5, 1)))
(62, 191)

A neighbourhood is a tuple of offsets (dz, dy, dx). The values of one voxel, of many, or of all of a volume:

>>> volume = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
>>> last = (np.array([2]), np.array([3]), np.array([4]))
>>> extract(volume, ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), last)
array([[39, 54, 58]], dtype=int16)
>>> extract(volume, cube(2)).shape
(60, 62)

A schedule gives the voxels that are independent of each other. Front by front it visits every voxel once, after all of
its neighbours, so that a decoder can process many voxels at a time:

>>> schedule = Schedule.of(cube(2), recurrence=True)
>>> schedule
Schedule(a=1, b=3, c=9)
>>> before, radius = margins(cube(2))
>>> padded = pad(volume, before, radius)
>>> sum(len(gather(padded, front, cube(2), before, radius)) for front in schedule.walk(volume.shape))
60
"""

from .borders import pad
from .extract import extract, flat_offsets, gather
from .offsets import Neighbourhood, Offset, cube, disc, farthest_first, is_causal, margins, nearest_first, pyramid
from .reference import neighbours
from .schedule import Rows, Schedule, Shape, Voxels

__all__ = [
    "Neighbourhood",
    "Offset",
    "Rows",
    "Schedule",
    "Shape",
    "Voxels",
    "cube",
    "disc",
    "extract",
    "farthest_first",
    "flat_offsets",
    "gather",
    "is_causal",
    "margins",
    "nearest_first",
    "neighbours",
    "pad",
    "pyramid",
]
