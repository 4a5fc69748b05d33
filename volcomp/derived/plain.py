"""Files of whole volumes with other voxels: the bytes of the voxels are replaced, all others stay."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from ..dtypes import Integers
from ..formats.protocol import Image

_LEVEL = 6  # of zlib, as most writers have it; volcomp makes the stream again


def is_replaceable(image: Image) -> bool:
    """Return whether the voxels of an image lie in its file as they are."""
    return image.reading is None


def write(image: Image, voxels: Integers, target: Path, *, compressed: bool) -> None:
    """Write the file of an image, which `is_replaceable`, with other voxels of the same type and shape; with gzip if
    the file is to be compressed."""
    data = bytearray(image.path.read_bytes())
    words = voxels.astype(voxels.dtype.newbyteorder(">" if image.big_endian else "<"), copy=False)
    data[image.start : image.start + image.pixel_bytes] = np.ascontiguousarray(words).tobytes()
    target.write_bytes(gzip.compress(data, _LEVEL, mtime=0) if compressed else data)
