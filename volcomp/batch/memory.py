"""The memory that a series needs, estimated from its files' sizes and one header before it starts; and what is free.

The constants bound the measured need of series of the corpus, 0.7 to 52 MB of CT and MR (`docs/batch.md`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..archive.opening import opened
from ..codec.encode import SLAB_HEIGHT, TALL_SLAB_HEIGHT, TUNING_VOXELS
from ..codec.engines import GROUP_VOXELS
from ..constants import EFFORT
from ..container.volume import SLAB_VOXELS, read_volume, volume_numbers
from ..errors import VolcompError
from ..formats.registry import read_image
from ..formats.series import MAX_VOLUME_BYTES
from ..runtime.cpus import memory_limits
from .jobs import Job
from .work import How

PROCESS = 500 << 20  # Python, numba and torch
_SLAB = 24  # bytes per voxel of a slab, while it is encoded and until it is written
# While its linear stage is fitted: bytes per voxel; bytes per voxel of the search, and how many voxels it looks at.
_LEVELS, _SEARCH, _SEARCHED = 16, 1100, 1 << 16
_TUNING, _TUNING_VOXEL = 900 << 20, 16  # bytes of fine-tuning, constant and per voxel that it learns from
_CUDA = 3 << 30  # an allowance for CUDA itself; not measured
_FREE_SHARE = 0.8  # of the free memory, by default


def of_process(how: How) -> int:
    """Return the bytes of a process without a series; series that share a process need them only once."""
    return PROCESS + _CUDA * (how.options.device == "cuda")


def need_of(how: How, job: Job, threads: int) -> int:
    """Return the peak memory of a job in bytes, with its process."""
    try:
        on_gpu = how.options.device == "cuda"
        need = (
            _restoring(job, threads, on_gpu)
            if how.decompress
            else _compressing(job, threads, how.options.effort, on_gpu)
        )
        return need + _CUDA * on_gpu
    except (OSError, VolcompError):
        return PROCESS  # the job will fail at once, with a reason


def _compressing(job: Job, threads: int, effort: int, on_gpu: bool) -> int:
    sizes = {path: path.stat().st_size for place in job.inputs() for path in _files(place)}
    largest = max(sizes, key=lambda path: sizes[path], default=None)
    image = read_image(largest, "") if largest else None
    if largest is None or image is None:  # one file suggests that none is coded as a volume
        return PROCESS
    # All files are taken to be alike, with headers of no size.
    volume = max(image.pixel_bytes, min(sum(sizes.values()), len(sizes) * image.pixel_bytes, MAX_VOLUME_BYTES))  # bytes
    voxels = volume * 8 // image.bits
    height = 3 * (SLAB_HEIGHT if effort < 9 else TALL_SLAB_HEIGHT) // 2  # of the tallest slab
    slab = min(height * image.rows * image.columns, voxels, SLAB_VOXELS)
    at_work = min(threads, -(-voxels // slab))
    coded = min(voxels, GROUP_VOXELS) if on_gpu else at_work * slab
    need = PROCESS + max(_SLAB * coded, at_work * (_LEVELS * slab + _SEARCH * min(slab, _SEARCHED)))
    if effort <= EFFORT:
        return need
    # Both results, with and without fine-tuning, are in memory until the smaller is known.
    return need + 2 * volume + _TUNING + _TUNING_VOXEL * min(voxels, 2 * TUNING_VOXELS)


def _files(place: Path) -> Iterator[Path]:
    """Yield a file, or all files in a folder."""
    if not place.is_dir():
        yield place
    for here, _, names in os.walk(place, followlinks=True):
        yield from (Path(here) / name for name in names)


def _restoring(job: Job, threads: int, on_gpu: bool) -> int:
    with opened(job.source) as reader:
        layouts = [read_volume(reader, number).layout for number in volume_numbers(reader)]
    need = 0
    for layout in layouts:
        depth, height, width = layout.shape
        slab = max(last - first for first, last in layout.slabs) * height * width
        at_work = min(depth * height * width, GROUP_VOXELS) if on_gpu else slab * min(threads, len(layout.slabs))
        need = max(need, layout.dtype.itemsize * slab + _SLAB * at_work)
    return PROCESS + need


def available() -> int:
    """Return a share of the free memory of the machine or its control group (of a container, or of a SLURM job)."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free.append(1024 * int(lines["MemAvailable"].split()[0]))
    return int(_FREE_SHARE * min([*free, *memory_limits()]))
