"""The slabs for training models of single slices: radiographs, variations of them, and slices of CT and MR.

The radiographs are in $VOLCOMP_RADIOGRAPHS, by default beside the corpus in `../shared/corpus2d`: PNG and DICOM files,
with a splits.csv. Only those of the split `train` are read.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..learn.data import TrainingSlab, slabs_of
from . import augment, corpus

BLOCK = (1, 9, 64)  # slices, rows, voxels of a row
CROP = 384  # pixels of a side of what is taken of a large image
APART = 2 * CROP  # pixels from one crop to the next
RUNS = 24  # of the supports of linear stages, at most
FLAT = 3.0  # standard deviation of a crop without anything in it
SEED = 5
# How often a batch draws from a kind: small chest X-rays count most, being what is compared elsewhere.
SHARES = {"small": 8, "small varied": 3, "large": 3, "large varied": 3, "native": 2, "native varied": 2, "ct, mr": 1}


def home() -> Path:
    """Return the folder of radiographs; FileNotFoundError with a sentence where there is none."""
    folder = Path(os.environ.get("VOLCOMP_RADIOGRAPHS") or corpus.ROOT.parent / "shared" / "corpus2d")
    if not (folder / "splits.csv").is_file():
        raise FileNotFoundError(f"there are no radiographs at {folder}: set VOLCOMP_RADIOGRAPHS to the folder")
    return folder


def names(limit: int | None) -> list[str]:
    """Return the files of the split `train`, in the order of splits.csv. `limit`: at most so many."""
    with (home() / "splits.csv").open(newline="") as lines:
        return [row["file"] for row in csv.DictReader(lines) if row["split"] == "train"][:limit]


def pixels(path: Path) -> np.ndarray:
    """Read the pixels [Y, X] of a file."""
    if path.suffix == ".png":
        import imagecodecs

        found = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        return found if found.ndim == 2 else np.ascontiguousarray(found[..., 0])
    return corpus.image(path)


def crops(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pieces [1, y, x] of an image that has something in them."""
    for y in range(0, image.shape[0] - CROP + 1, APART):
        for x in range(0, image.shape[1] - CROP + 1, APART):
            crop = np.ascontiguousarray(image[None, y : y + CROP, x : x + CROP])
            if crop.std() >= FLAT:
                yield crop


def series(widest: int, limit: int | None) -> list[list[TrainingSlab]]:
    """Prepare the slabs, by kind; a kind stands in the list as often as its share. `limit`: most files to use."""
    kinds: dict[str, list[TrainingSlab]] = {kind: [] for kind in SHARES}
    random = np.random.default_rng(SEED)

    def add(kind: str, piece: np.ndarray) -> None:
        kinds[kind] += slabs_of(piece, widest)

    def add_varied(kind: str, piece: np.ndarray, number: int) -> None:
        ways = (augment.turned, augment.requantised, augment.smoothed, augment.halved)
        way = ways[number % len(ways)]
        varied = np.ascontiguousarray(way(piece.astype(np.int32), random))
        add(kind, (varied - varied.min()).clip(0, 65535).astype(np.uint16))

    with threadpool_limits(1, user_api="blas"):
        for number, name in enumerate(tqdm(names(limit), desc="radiographs", disable=None)):
            image = pixels(home() / name)
            if max(image.shape) < CROP:
                add("small", image[None])
                if number % 3 == 0:
                    add_varied("small varied", image[None], number // 3)
                continue
            kind = "native" if name.endswith(".dcm") else "large"
            for place, crop in enumerate(crops(image)):
                add(kind, crop)
                add_varied(f"{kind} varied", crop, place + 3)
        for one in [s for s in corpus.splits() if s.split == "train"][:limit]:
            volume = max(corpus.volumes(one.name), key=np.size)
            middle = len(volume) // 2
            add("ct, mr", np.ascontiguousarray(volume[middle : middle + 1]))
    return [slabs for kind, slabs in kinds.items() for _ in range(SHARES[kind]) if slabs]
