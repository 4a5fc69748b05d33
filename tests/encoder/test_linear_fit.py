"""The encoder's fit of the linear stage: that it finds what is there, and the same bits in every order of sums."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.stages.test_linear import some_levels
from volcomp.encoder import linear_fit
from volcomp.encoder.normal_equations import UNIT, Equations, EquationsOf, on_cpu
from volcomp.stages import linear, supports
from volcomp.stages.grid import padded


def test_the_fit_is_that_of_least_squares() -> None:
    """A volume that is a weighted sum of two neighbours gets, all but the ridge, just those weights."""
    random = np.random.default_rng(2)
    levels = np.zeros((4, 40, 40))
    levels[0] = random.integers(0, 4000, (40, 40))
    for z in range(1, 4):
        levels[z] = 0.5 * levels[z - 1] + 0.5 * np.roll(levels[z - 1], -1, axis=1)
    known, index, strides = padded(levels.round().astype(int))
    fitted = linear_fit._fitted(known, on_cpu(known), index, strides, supports.named("small"), 1, 1 << 18)
    dz, dy, dx = np.array(fitted.support.offsets).T
    expected = np.where((dz == -1) & (dy == 0) & ((dx == 0) | (dx == 1)), 2048, 0)
    assert np.abs(fitted.weights[1].astype(int) - expected).max() < 400, "but for the ridge"


@pytest.mark.parametrize("source", [(-5, 0, 1), (-3, 2, 0), (0, -6, 6), (-1, -4, -5)])
def test_the_run_that_tells_most_is_chosen(source: tuple[int, int, int]) -> None:
    """Noise that repeats itself from a voxel far off: a support with that voxel is found, and predicts it."""
    random = np.random.default_rng(3)
    levels = random.integers(0, 1000, (32, 40, 48))
    dz, dy, dx = source
    for z in range(-dz, 32):
        moved = np.roll(levels[z + dz], (-dy, -dx), axis=(0, 1)) if dz else levels[z]
        for y in range(-dy if dz == 0 else 0, 40):
            row = moved[y] if dz else np.roll(levels[z, y + dy], -dx)
            levels[z, y] = row + random.integers(-2, 3, 48)
    known, index, strides = padded(levels)
    fitted = linear_fit.fit(known, index, strides, 12)
    assert source in fitted.support.offsets
    weight = fitted.weights[-1, :, fitted.support.offsets.index(source)]
    assert np.abs(weight - 4096).max() < 200
    assert source not in linear_fit.fit(known, index, strides, 0).support.offsets


@pytest.mark.parametrize("depth", [1, 12])
def test_a_reference_is_chosen_where_it_tells_something(depth: int) -> None:
    random = np.random.default_rng(3)
    levels = random.integers(0, 1000, (depth, 60, 64)).astype(np.int16)
    alike = (levels + random.integers(0, 9, levels.shape)).astype(np.int16)
    other = random.integers(0, 1000, levels.shape).astype(np.int16)
    fitted = linear_fit.fit_by_effort(levels, 12, 5, alike)
    own = fitted.weights[-1, :, fitted.support.in_slice]
    assert fitted.support.discs and np.abs(own - 4096).max() < 200, "the same place in the reference"
    alone = linear_fit.fit_by_effort(levels, 12, 5)
    without = linear_fit.fit_by_effort(levels, 12, 5, other)
    assert without.support == alone.support and np.array_equal(without.weights, alone.weights)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_slabs_of_few_slices_get_what_decoders_take(depth: int) -> None:
    """The nearest neighbours are part of every support, though none of the slice before can be used where none is."""
    known, index, strides = padded(some_levels((depth, 150, 160)))
    fitted = linear_fit.fit(known, index, strides, 12)
    support = fitted.support
    assert set(support.offsets) >= supports.CORE and (not support.begins or support.reach <= max(depth - 1, 1))


class Made:
    """The equations of one class whose differences float64 [v, n] are made up, and what they should predict [v]; all
    voxels count alike."""

    def __init__(self, design: np.ndarray, target: np.ndarray) -> None:
        self._all = np.column_stack([design, target])
        self._missed = target

    def products(self, thinning: int) -> np.ndarray:
        rows = self._all[::thinning]
        return (rows.T @ rows)[None]

    def mean_errors(self, weights: np.ndarray) -> np.ndarray:
        self._missed = np.abs(self._all[:, -1] * UNIT - self._all[:, :-1] @ weights[0])
        return np.array([self._missed.mean()])

    def errors(self) -> list[np.ndarray]:
        return [self._missed]

    def reweigh(self) -> None:
        pass

    def weigh(self, importance: list[np.ndarray]) -> None:
        pass

    def spread(self) -> np.ndarray:
        return np.array([np.square(self._all[:, :-1]).mean()])


def test_units_are_as_coarse_as_weights_are_uncertain() -> None:
    """A set that few voxels tell gets coarser weights than one that many do, and its multiples of the unit."""
    random = np.random.default_rng(4)
    design = random.integers(-99, 99, (4000, 30)).astype(float)
    target = np.rint(design @ random.normal(0, 0.1, 30) + random.normal(0, 20, 4000))
    _, (shift,), (error,) = linear_fit._robust(Made(design, target))
    assert shift == 0
    shifts = []
    for voxels in (1 << 10, 1 << 14, 1 << 20):
        (weights,), (shift,), _ = linear_fit._robust(Made(design, target), voxels)
        assert not (weights & ((1 << int(shift)) - 1)).any()
        missed = np.abs(target - design @ weights / 4096).mean()
        assert missed < error * (1 + 60 / voxels), "no more than so few voxels leave unknown"
        shifts.append(shift)
    assert shifts[0] > shifts[1] > shifts[2]


def test_groups_have_about_as_many_slices() -> None:
    for depth in range(2, 70):
        for support in (supports.named("small"), supports.of_runs([*supports.CORE, (-6, 0, 0)])):
            height = linear_fit._group_height((depth, 1 << 18), support)
            sizes = np.bincount(linear.groups_of(depth, height, support))[2 if support.reach > 2 else 1 :]
            assert sizes.size == 0 or sizes.max() <= 12
            assert sizes.size < 2 or sizes.min() >= sizes.max() - sizes.size


def test_the_fit_does_not_depend_on_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of integers below 2^53 are exact; a fit on the reversed list of the same voxels has the same bits, where
    every voxel serves in every round."""
    monkeypatch.setattr(linear_fit, "THINNING", (1, 1, 1))
    known, index, strides = padded(some_levels((12, 64, 64)))
    forth = linear_fit.fit(known, index, strides, 12)
    back = linear_fit.fit(known, np.ascontiguousarray(index[:, ::-1]), strides, 12)
    assert forth.support == back.support and np.array_equal(forth.weights, back.weights)


def test_no_class_is_fitted_on_more_voxels_than_sums_are_exact_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_fit, "CLASS_SAMPLES", 500)
    sizes = []

    def noted(known: np.ndarray) -> EquationsOf:
        def take(members: Sequence[np.ndarray], flat: np.ndarray) -> Equations:
            sizes.extend(places.size for places in members)
            return on_cpu(known)(members, flat)

        return take

    known, index, strides = padded(some_levels((4, 60, 50)))
    linear_fit.fit(known, index, strides, 0, maker=noted)
    assert 250 < max(sizes) <= 500


def test_runs_are_chosen_by_errors_relative_to_what_is_usual() -> None:
    """A loud part is predicted from one voxel, the quiet rest from another: squares alone would choose for the loud."""
    random = np.random.default_rng(5)
    levels = random.integers(0, 60, (16, 48, 48))
    levels[:, :24] = random.integers(0, 2000, (16, 24, 48))
    for z in range(5, 16):
        levels[z, :24] = levels[z - 5, :24]
        levels[z, 24:] = levels[z - 4, 24:]
    known, index, strides = padded(levels)
    sample = index[5:].ravel()
    first, second = linear_fit._choose(known, on_cpu(known), sample, strides, 5, 8)[len(linear_fit.FIRST) :][:2]
    assert {first[0], second[0]} == {-5, -4}
