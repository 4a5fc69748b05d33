"""Vector quantisation: each block of 4×4 pixels is one of a codebook, which k-means makes of blocks of other images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volcomp.dtypes import Int32s, UInt8s

from .codec import PlanesCodec, Shapes

SIDE = 4


def blocks(image: UInt8s, side: int) -> UInt8s:
    """Return the blocks [rows · columns, side · side] of an image whose sides `side` divides."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return image.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows * columns, side * side)


def codebook(images: Sequence[UInt8s], size: int, count: int) -> UInt8s:
    """Learn a codebook of a size from `count` blocks: uint8 [size, 16], the darkest first."""
    from sklearn.cluster import MiniBatchKMeans

    every = np.concatenate([blocks(image, SIDE) for image in images])
    random = np.random.default_rng(0)
    some = every[random.choice(len(every), min(count, len(every)), replace=False)].astype(np.float64)
    means = MiniBatchKMeans(size, random_state=0, n_init=1, batch_size=2048, max_iter=30).fit(some)
    centres = means.cluster_centers_
    ordered: UInt8s = centres[np.argsort(centres.mean(1), kind="stable")].round().clip(0, 255).astype(np.uint8)
    return ordered


class Vq(PlanesCodec):
    """Vector quantisation with a codebook uint8 [size, 16]."""

    multiple = SIDE

    def __init__(self, name: str, book: UInt8s) -> None:
        super().__init__(name)
        self._book = book

    def analyse(self, image: UInt8s) -> list[Int32s]:
        book, given = self._book.astype(np.float64), blocks(image, SIDE).astype(np.float64)
        distance = (book**2).sum(1) - 2 * given @ book.T
        return [distance.argmin(1).astype(np.int32).reshape(image.shape[0] // SIDE, -1)]

    def shapes(self, rows: int, columns: int) -> Shapes:
        return [(rows // SIDE, columns // SIDE)]

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        index = planes[0].clip(0, len(self._book) - 1)
        rows, columns = index.shape
        pixels = self._book[index].reshape(rows, columns, SIDE, SIDE)
        return pixels.transpose(0, 2, 1, 3).reshape(rows * SIDE, columns * SIDE)
