"""A series of volumes of one shape, its time points, coded so that most of them refer to another one.

A time point is a *key*, coded by itself like any volume, or refers to exactly one key: the linear stage of its slabs
has neighbours in the same slab of the key as well. So reading a slab takes two slabs at most. A damaged slab hurts
itself and, if it is a key's, the same slab of those that refer to this key.

To write a series, `plan` it and call `encode.write_volume` for every time point with what the plan says. The numbers of
the volumes are free: a key may come before or after those that refer to it. The file needs `sections.SERIES_VERSION`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Literal

from ..constants import EFFORT
from ..container.sections import Writer
from ..container.volume import Order, Volume
from ..encoder import keys
from ..errors import UnsupportedError
from ..options import EncodeOptions
from ..pipelines.registry import PIPELINES
from .decode import Progress, Slab
from .encode import VoxelSource, write_volume

TOGETHER = 256  # time points among which keys are chosen; of more, each so many have their own
# Of the estimate: what its bits of a voxel are less than those of Gaussian noise, and the fewest of a voxel. What a
# volume costs beside its voxels.
GAUSSIAN, LEAST_BITS, VOLUME_BYTES = 2.05, 0.5, 160
# Shares of the bits. What an order must save, as estimated, to take the place of that in the file: the estimate is up
# to twice too high. By how much TURNED must beat APART, of which a time point is read for itself. And what a fine-tuned
# model saves.
PARTING, TURNING, WORTH_TURNING, TUNED = 0.01, 0.04, 0.03, 0.03


def plan(sources: Sequence[VoxelSource], options: EncodeOptions) -> list[int | None]:
    """Choose the keys of a series. Returns the place in `sources` of the key that each time point refers to, or None
    for the keys themselves. Raises UnsupportedError where time points have different shapes.

    Some slices of every time point are read. Their types may differ.
    """
    shapes = {source.shape for source in sources}
    if len(shapes) > 1:
        raise UnsupportedError(f"time points of a series have one shape, not {' and '.join(map(str, sorted(shapes)))}")
    if not shapes or not PIPELINES[options.record.pipeline].refers:
        return [None] * len(sources)
    shape, found = shapes.pop(), list[int | None]()
    for first in range(0, len(sources), TOGETHER):
        part = keys.choose([source.slices for source in sources[first : first + TOGETHER]], shape)
        found += [None if key is None else first + key for key in part]
    return found


def order(
    planes: Sequence[Sequence[VoxelSource]], now: Literal[Order.AFTER, Order.BESIDE], options: EncodeOptions
) -> Order:
    """Choose where the time points of files lie.

    Parameters:
        planes: the time points of every plane, of one shape.
        now: how slices follow each other in the files. Those of several time points in one file may be turned; those
            that are files of their own are BESIDE, which is then the order that costs nothing more to read.
        options: those of the encoder.

    Returns:
        APART where referring to keys pays, `now`, or of AFTER also TURNED where that pays much more.
    """
    if not PIPELINES[options.record.pipeline].refers:
        return now
    shape = planes[0][0].shape
    found = [keys.costs([source.slices for source in plane], shape) for plane in planes]
    after, apart, beside = (sum(column) for column in zip(*found, strict=True))
    bits = sum(max(one.after + GAUSSIAN, LEAST_BITS) for one in found)
    apart += len(planes) * 8 * VOLUME_BYTES / math.prod(shape)
    if options.effort > EFFORT:
        apart += TUNED * bits  # a volume for each time point is too small to learn from
    if now == Order.BESIDE:
        return Order.APART if apart < beside else now
    if after - beside > TURNING * bits and apart - beside > WORTH_TURNING * bits:
        return Order.TURNED
    return Order.APART if after - apart > PARTING * bits else now


def write_series(
    writer: Writer, first: int, sources: Sequence[VoxelSource], options: EncodeOptions, *,
    progress: Progress | None = None, time_point: bool = False,
) -> Generator[tuple[Volume, Generator[Slab]]]:  # fmt: skip
    """Append a series as volumes `first`, `first` + 1, …: yields what `encode.write_volume` returns for each in turn. A
    caller must exhaust the slabs of each before it asks for the next. `time_point` marks them as one 4-D array."""
    for t, key in enumerate(plan(sources, options)):
        yield write_volume(
            writer, first + t, sources[t], options, progress=progress,
            key=None if key is None else (first + key, sources[key]), time_point=time_point,
        )  # fmt: skip
