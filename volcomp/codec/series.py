"""A series of volumes of one shape, its time points, coded so that most of them refer to another one.

A time point is a *key*, coded by itself like any volume, or refers to exactly one key: the linear stage of its slabs
has neighbours in the same slab of the key as well. So reading a slab takes two slabs at most. A damaged slab hurts
itself and, if it is a key's, the same slab of those that refer to this key.

To write a series, `plan` it and call `encode.write_volume` for every time point with what the plan says. The numbers of
the volumes are free: a key may come before or after those that refer to it. The file needs `sections.SERIES_VERSION`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ..container.sections import Writer
from ..container.volume import Volume
from ..encoder import keys
from ..errors import UnsupportedError
from ..options import EncodeOptions
from ..pipelines.registry import PIPELINES
from .decode import Progress, Slab
from .encode import VoxelSource, write_volume


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
    return keys.choose([source.slices for source in sources], shapes.pop())


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
