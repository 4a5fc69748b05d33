"""Sums of products: exact, whichever way a column takes."""

import numpy as np
import pytest

from volcomp.runtime import sums
from volcomp.runtime.sums import BLOCK, PRODUCT_LIMIT, SMALL, TILE


def added(design: np.ndarray, importance: np.ndarray, thinning: int) -> np.ndarray:
    """On and below the diagonal, by the loops."""
    n = design.shape[1]
    whole = -(-n // TILE) * TILE
    small, large = np.zeros((whole, whole), np.int64), np.zeros((whole, whole))
    sums.add_all(design, importance, thinning, sums.SumScratch.of(whole), small, large)
    return np.tril(small + large)[:n, :n]


def defined(design: np.ndarray, importance: np.ndarray, thinning: int) -> np.ndarray:
    rows = design.transpose(1, 0, 2).reshape(design.shape[1], -1)[:, : importance.size].astype(np.int64)
    rows = (rows * importance.astype(np.int64))[:, ::thinning].clip(-PRODUCT_LIMIT, PRODUCT_LIMIT)
    return np.tril(rows @ rows.T)


@pytest.mark.parametrize("voxels", [1, 5, BLOCK - 1, BLOCK, 3 * BLOCK + 77])
@pytest.mark.parametrize("large", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("thinning", [1, 2, 4])
def test_sums_are_exact(voxels: int, large: float, thinning: int) -> None:
    """With none, some and only columns that have a value beyond SMALL."""
    random, n = np.random.default_rng(voxels), 11
    design = np.zeros((-(-voxels // BLOCK), n, BLOCK), np.int16)
    importance = random.integers(0, 65, voxels).astype(float)
    flat = random.integers(-SMALL // 64, SMALL // 64 + 1, (n, voxels))
    wide = random.random(voxels) < large
    flat[random.integers(0, n, voxels)[wide], np.flatnonzero(wide)] = random.choice(
        [-1 << 14, 1 << 14], int(wide.sum())
    )
    for b in range(len(design)):
        part = flat[:, b * BLOCK : (b + 1) * BLOCK]
        design[b, :, : part.shape[1]] = part
    assert np.array_equal(added(design, importance, thinning), defined(design, importance, thinning))


def test_the_largest_small_values_fit_their_lanes() -> None:
    """A lane of the fewest, eight, sums a block's products of pairs."""
    assert 2 * BLOCK // 16 * SMALL**2 < 1 << 31
    for sign in (1, -1):
        design = np.full((2, 4, BLOCK), SMALL, np.int16)
        design[:, 1] *= sign
        importance = np.ones(2 * BLOCK)
        assert np.array_equal(added(design, importance, 1), defined(design, importance, 1))
