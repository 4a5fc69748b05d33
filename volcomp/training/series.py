"""The slabs for training: those of every series of the corpus' train split, and of variations of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..learn.data import TrainingSlab, slabs_of
from . import augment


def series(
    names: list[str], load: Callable[[str], list[np.ndarray]], widest: int, variations: int
) -> list[list[TrainingSlab]]:
    """Prepare the slabs of the named series, then those of their variations (`augment`), two series at a time."""

    def work(name: str) -> tuple[list[TrainingSlab], list[TrainingSlab]]:
        volumes = load(name)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        varied = augment.variations(max(volumes, key=np.size), variations, random)
        own, other = ([slab for volume in some for slab in slabs_of(volume, widest)] for some in (volumes, varied))
        return own, other

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
        both = list(tqdm(pool.map(work, names), total=len(names), desc="linear stage", disable=None))
    return [own for own, _ in both] + [other for _, other in both]
