"""The slabs for training a model that sees a preview: radiographs of the train split, each over its lossy layer.

They are those of `radiographs`: chest X-rays of 256 × 256 pixels, and crops of larger images.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .. import lossy
from ..constants import EFFORT
from ..encoder import linear_fit
from ..learn.data import TrainingSlab, prepare
from ..stages import histogram_packing
from .radiographs import CROP, crops, home, names, pixels

# Of the bytes of pixels to those of the layer: one after the other for images, and for crops of an image.
RATIOS, RATIOS_OF_CROPS = (16, 12, 16, 8, 16, 24, 16, 32), (16, 32, 8)
SHARES = {"small": 11, "large": 6, "native": 4}  # how often a batch draws from a kind


def slab_of(image: np.ndarray, ratio: int, widest: int) -> TrainingSlab:
    """Prepare an image [y, x] over its layer as the codec does. `widest`: the most runs of its linear stage."""
    volume = np.ascontiguousarray(image[None])
    payload = lossy.encode(volume[0], int(image.size * image.itemsize / ratio))
    restored = lossy.decode(payload)
    packing = histogram_packing.find(volume)
    levels = packing.forward(volume)
    reference = packing.nearest(restored[None], histogram_packing.level_type(packing.limit))
    fitted = linear_fit.fit_by_effort(levels, widest, EFFORT, reference)
    return prepare(levels.astype(np.int32), fitted, reference)


def series(widest: int, limit: int | None) -> list[list[TrainingSlab]]:
    """Prepare the slabs, by kind; a kind stands in the list as often as its share. `limit`: most files to use."""
    kinds: dict[str, list[TrainingSlab]] = {kind: [] for kind in SHARES}
    with threadpool_limits(1, user_api="blas"):
        for number, name in enumerate(tqdm(names(limit), desc="radiographs", disable=None)):
            image = pixels(home() / name)
            if max(image.shape) < CROP:
                kinds["small"].append(slab_of(image, RATIOS[number % len(RATIOS)], widest))
                continue
            kind = "native" if name.endswith(".dcm") else "large"
            for place, crop in enumerate(crops(image)):
                ratio = RATIOS_OF_CROPS[place % len(RATIOS_OF_CROPS)]
                kinds[kind].append(slab_of(crop[0], ratio, widest))
    return [slabs for kind, slabs in kinds.items() for _ in range(SHARES[kind]) if slabs]
