"""The series of a run, its folds, and the crops that are learned from and tested on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volcomp.training import corpus
from volcomp.training.corpus import Series

from .config import Config, Crop


def series_of(config: Config) -> list[Series]:
    """All series of a run: twelve of CT with their folds, and the MR series, which have none."""
    if config.source == "made":
        ct = [Series(f"made_ct_{k}", "CT", "train", "series", 1 + k % 4, f"subject {k}") for k in range(4)]
        return [*ct, Series("made_mr_0", "MR", "valid", "series", 0, "subject 4")]
    every = corpus.splits()
    mr = [s for s in every if s.modality == "MR" and (config.mr == ("all",) or s.name in config.mr)]
    return [s for s in every if s.fold] + mr


def split(series: Sequence[Series], fold: int) -> tuple[list[Series], list[Series]]:
    """Who teaches and who is tested in a fold: the CT series of the other folds; those of this one and all of MR.

    Nobody teaches who was tested: a CT series of another fold whose subject occurs in this one is left out. In the
    corpus that is one plastic head, scanned twice, which stands in folds 2 and 3; they learn from eight series.
    """
    tested = [s for s in series if s.fold == fold] + [s for s in series if not s.fold]
    subjects = {s.subject for s in tested}
    return [s for s in series if s.fold and s.fold != fold and s.subject not in subjects], tested


def voxels(config: Config, name: str, cache: Path) -> np.ndarray:
    """The largest volume [Z, Y, X] of a series, from `cache` where it has been read before; not to be written to."""
    path = cache / f"{name}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        volume = _made(name) if config.source == "made" else max(corpus.volumes(name), key=np.size)
        temporary = path.with_suffix(f".{zlib.crc32(str(id(volume)).encode()):08x}.part")
        with temporary.open("wb") as file:
            np.save(file, volume)
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def middle(volume: np.ndarray, crop: Crop) -> np.ndarray:
    """The middle of a volume, of a size or what there is of it; a copy."""
    begin = [max(0, (have - want) // 2) if want else 0 for have, want in zip(volume.shape, crop, strict=True)]
    ends = [a + (want or have) for a, have, want in zip(begin, volume.shape, crop, strict=True)]
    return np.ascontiguousarray(volume[tuple(slice(a, b) for a, b in zip(begin, ends, strict=True))])


def test_volume(config: Config, series: Series, cache: Path) -> np.ndarray:
    """What a series is tested on."""
    crop = config.test_crop_ct if series.modality == "CT" else config.test_crop_mr
    return middle(voxels(config, series.name, cache), crop)


def training_volumes(config: Config, series: Series, cache: Path) -> list[np.ndarray]:
    """Crops of a series at places that its name alone decides; those without any contrast are drawn again."""
    volume = voxels(config, series.name, cache)
    random = np.random.default_rng(zlib.crc32(series.name.encode()))
    crops: list[np.ndarray] = []
    for _ in range(100 * config.train_crops):
        want = [min(a or have, have) for a, have in zip(config.train_crop, volume.shape, strict=True)]
        begin = [int(random.integers(0, have - w + 1)) for have, w in zip(volume.shape, want, strict=True)]
        crop = np.ascontiguousarray(volume[tuple(slice(a, a + w) for a, w in zip(begin, want, strict=True))])
        if crop.min() < crop.max():
            crops.append(crop)
        if len(crops) == config.train_crops:
            break
    return crops


def _made(name: str) -> np.ndarray:
    """A smooth scene with correlated noise: int16 [8, 40, 40]."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    z, y, x = np.ogrid[0:1:8j, 0:6:40j, 0:6:40j]
    noise = random.normal(0, 12, (9, 41, 41))
    noise = noise[:-1, :-1, :-1] + noise[1:, 1:, :-1] + noise[1:, :-1, 1:]
    return (200 * np.sin(x + z) * np.cos(y + random.random()) + noise).round().astype(np.int16)
