"""The wavelet transform: undone exactly, in numpy as compiled, and near to the filters that it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from volcomp.lossy import bands, reference, transform

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (5, 4), (33, 47), (64, 63)]


@pytest.mark.parametrize("shape", SHAPES)
def test_synthesis_undoes_analysis(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(1).integers(-(1 << 22), 1 << 22, shape).astype(np.int32)
    low, parts = transform.analyse(plane, 3)
    assert np.array_equal(transform.synthesise(low, parts), plane)


@pytest.mark.parametrize("shape", SHAPES)
def test_numpy_joins_the_same_bits(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).integers(-(1 << 31), 1 << 31, shape).astype(np.int32)  # sums wrap
    parts = [plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2]]
    joined = plane.copy()
    transform.join(joined)
    assert np.array_equal(reference._joined(*parts), joined)


def test_slopes_leave_no_high_band() -> None:
    """The analysis high-pass has four vanishing moments: inside, a polynomial leaves the rounding of the factors."""
    y, x = np.mgrid[:32, :40]
    plane = ((x**2 + 5 * y * x - 40 * y) << transform.FRACTION).astype(np.int32)
    _, (level,) = transform.analyse(plane, 1)
    for band in level:
        assert np.abs(band[3:-3, 3:-3]).max() <= 16


@pytest.mark.parametrize("kind", [bands.LOW, bands.HORIZONTAL, bands.DIAGONAL])
@pytest.mark.parametrize("level", [1, 3])
def test_gains_are_the_norms_of_the_basis(kind: int, level: int) -> None:
    places = bands.layout(192, 192)
    (row,) = [r for r in places.table if (r[bands.KIND], r[bands.LEVEL]) == (kind, level)] or [None]
    if row is None:  # the low band of fewer levels than the layout has: analyse so many
        low, parts = transform.analyse(np.zeros((192, 192), np.int32), level)
        low[low.shape[0] // 2, low.shape[1] // 2] = 1 << 20
    else:
        low, parts = transform.analyse(np.zeros((192, 192), np.int32), level)
        band = parts[level - 1][kind - 1]
        band[band.shape[0] // 2, band.shape[1] // 2] = 1 << 20
    norm = np.sqrt((transform.synthesise(low, parts).astype(float) ** 2).sum()) / (1 << 20)
    gain = bands.GAINS[level - 1][{bands.LOW: 0, bands.HORIZONTAL: 1, bands.DIAGONAL: 2}[kind]]
    assert norm == pytest.approx(65536 / gain, rel=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (7, 6), (255, 3), (4097, 3000)])
def test_bands_lie_apart(shape: tuple[int, int]) -> None:
    places = bands.layout(*shape)
    assert places.levels <= bands.MOST_LEVELS
    assert sum(int(row[bands.HEIGHT] * row[bands.WIDTH]) for row in places.table) == shape[0] * shape[1]
    flat = np.zeros(places.size, np.int32)
    for row in places.table:
        band = bands.view(flat, row)
        assert band.shape == (row[bands.HEIGHT], row[bands.WIDTH])
        band += 1
    assert flat.max() == 1 and flat.sum() == shape[0] * shape[1]
