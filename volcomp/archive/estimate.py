"""Tell pictures from graphics: screenshots, text and drawings are smaller under LZMA than as predicted voxels."""

from __future__ import annotations

import lzma

import numpy as np
import zstandard

from ..errors import UnsupportedError
from ..formats.protocol import Image
from ..streams.protocol import NotReproducible
from .tree import source_errors

# LZMA is tried only where zstd leaves less than this share: it has never been the smaller one above, and is slow.
_SUSPICIOUS = 0.25
_LOOKED_AT = 1 << 22  # pixels; LZMA takes seconds for as many, and the estimate 400 MB
_MARGIN = 1.05  # by which LZMA must be smaller
_STATE_BITS = 12  # what each value of each context costs to be learnt
_FAR = 16  # difference of neighbours from which on a context is its own


def is_graphics(images: list[Image]) -> bool:
    """Return whether the middle image of a series looks like graphics. Reads one frame or a few of it."""
    plane = _some_frame(images[len(images) // 2])
    if plane is None:
        return False
    raw = np.ascontiguousarray(plane).tobytes()
    if len(zstandard.compress(raw, 3)) > _SUSPICIOUS * len(raw):
        return False
    return _MARGIN * len(lzma.compress(raw, preset=6)) < _predicted(plane)


def _some_frame(image: Image) -> np.ndarray | None:
    """Return a frame [Y, X] of the first plane, of a very large one the middle; None where it cannot be read, which the
    stack finds out for itself. It is the frame in the middle, or one before it where others must be read first."""
    width = min(image.columns, _LOOKED_AT)
    height = min(image.rows, _LOOKED_AT // width)
    top, left = (image.rows - height) // 2, (image.columns - width) // 2
    try:
        with source_errors(image.path), image.path.open("rb") as file:
            if image.reading:
                wanted = min(image.frames // 2, _LOOKED_AT // (image.rows * image.columns))
                for block in image.reading.read(file):
                    if wanted < len(block[0]):
                        return np.asarray(block[0][wanted])[top : top + height, left : left + width]
                    wanted -= len(block[0])
                return None
            size = image.bits // 8
            file.seek(image.start + ((image.frames // 2 * image.rows + top) * image.columns + left) * size)
            data = file.read(height * width * size)
    except (NotReproducible, UnsupportedError):
        return None
    if len(data) != height * width * size:
        return None
    words = np.frombuffer(data, f"u{size}").reshape(height, width)
    return words.byteswap() if image.big_endian else words


def _predicted(plane: np.ndarray) -> float:
    """Estimate the bytes of a plane [Y, X] under prediction.

    The entropy of what the median edge detector of LOCO-I (Weinberger et al. 2000) leaves, in contexts of how far
    neighbours differ.
    """
    padded = np.pad(plane.astype(np.int64), ((1, 0), (1, 0)))
    above, left, corner = padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1]
    low, high = np.minimum(above, left), np.maximum(above, left)
    error = padded[1:, 1:] - np.where(corner >= high, low, np.where(corner <= low, high, above + left - corner))
    activity = np.abs(above - corner) + np.abs(left - corner)
    contexts = np.minimum(activity, 3) + (activity > _FAR)
    bits = 0.0
    for context in np.unique(contexts):
        counts = np.unique(error[contexts == context], return_counts=True)[1]
        bits += _STATE_BITS * len(counts) - float((counts * np.log2(counts / counts.sum())).sum())
    return bits / 8
