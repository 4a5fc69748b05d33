"""A progress bar on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(label: str, voxels: int) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of voxels done; shows voxels per second and the time left."""
    if not sys.stderr.isatty() or voxels == 0:
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(total=voxels, desc=label, unit="voxel", unit_scale=True, leave=False, file=sys.stderr) as bar:
        yield bar.update
