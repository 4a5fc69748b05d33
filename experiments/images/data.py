"""The images of a run, by split. No patient is in two splits."""

from __future__ import annotations

import os
import zlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from volcomp.dtypes import UInt8s
from volcomp.training.corpus import ROOT

from ..config import ConfigError
from .config import ImagesConfig

SPLITS = ("train", "valid", "test")


class Image(NamedTuple):
    """An image: its name, and its pixels uint8 [y, x]."""

    name: str
    pixels: UInt8s


def folder() -> Path:
    """Where the images are: $VOLCOMP_IMAGES, or .cache/corpus2d/cxr256."""
    return Path(os.environ.get("VOLCOMP_IMAGES", ROOT / ".cache" / "corpus2d" / "cxr256"))


class Wanted(NamedTuple):
    """What decides the images of a split."""

    source: str
    split: str
    side: int
    limit: int  # 0: none


@cache
def images(wanted: Wanted) -> tuple[Image, ...]:
    """All images of a split that a run takes, in the order of their names: every n-th where it does not take all."""
    if wanted.source == "made":
        return tuple(_made(f"made_{wanted.split}_{k}", wanted.side) for k in range(wanted.limit))
    from PIL import Image as Pictures

    paths = sorted((folder() / wanted.split).glob("*.png"))
    if not paths:
        raise ConfigError(
            f"{folder() / wanted.split} has no images: set VOLCOMP_IMAGES to the folder that has {SPLITS}"
        )
    found = []
    for path in paths[:: max(1, len(paths) // wanted.limit) if wanted.limit else 1][: wanted.limit or None]:
        with Pictures.open(path) as picture:
            pixels = np.array(picture.convert("L"))
        if pixels.shape != (wanted.side, wanted.side):
            raise ConfigError(f"{path} is of {pixels.shape}, not {wanted.side}×{wanted.side} pixels")
        found.append(Image(path.stem, pixels))
    return tuple(found)


def split(config: ImagesConfig, name: str) -> tuple[Image, ...]:
    """The images of a split."""
    return images(Wanted(config.source, name, config.side, {s: getattr(config, s) for s in SPLITS}[name]))


def stacked(config: ImagesConfig, name: str) -> UInt8s:
    """The pixels of a split: uint8 [n, y, x]."""
    return np.stack([image.pixels for image in split(config, name)])


def _made(name: str, side: int) -> Image:
    """A smooth scene with an edge and noise."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    scene = 120 + 60 * np.sin(4 * x + 3 * random.random()) * np.cos(5 * y * random.random() + x)
    scene += 40 * ((x - 0.5) ** 2 + (y - random.random()) ** 2 < 0.1) + random.normal(0, 3, (side, side))
    return Image(name, scene.clip(0, 255).round().astype(np.uint8))
