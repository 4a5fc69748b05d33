"""Sparse histograms: ranks and back, and when they are worth it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volcomp.stages import histogram_packing

DTYPES = ("u1", "i1", "<u2", "<i2")


@given(st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))))
def test_ranks_come_back(voxels: np.ndarray) -> None:
    found = histogram_packing.find(voxels)
    ranks = found.forward(voxels)
    assert ranks.min() >= 0 and ranks.max() <= found.limit
    back = found.backward(ranks, voxels.dtype)
    assert back.dtype == voxels.dtype and np.array_equal(back, voxels)


def test_ranks_keep_the_order() -> None:
    voxels = np.array([[[-2000, 5, 900, -3]]], "<i2")
    ranks = histogram_packing.find(voxels).forward(voxels).ravel()
    assert np.array_equal(np.argsort(ranks), np.argsort(voxels.ravel()))


def test_padding_is_closed_up_and_noise_is_not() -> None:
    noise = np.random.default_rng(1).normal(0, 60, (8, 64, 64)).round().astype("<i2")
    noise[:, :8] = -2000
    found = histogram_packing.find(noise)
    assert len(found.runs) == 2, "one gap, between the padding and the rest"
    assert found.limit < 1000


def test_every_third_value_becomes_every_value() -> None:
    rescaled = 3 * np.random.default_rng(1).integers(0, 200, (8, 64, 64)).astype("<u2")
    assert histogram_packing.find(rescaled).limit == 199


def test_two_values_far_apart_become_neighbours() -> None:
    voxels = np.where(np.random.default_rng(1).random((4, 9, 9)) < 0.5, -128, 127).astype("i1")
    assert histogram_packing.find(voxels).limit == 1


def test_a_few_random_voxels_are_left_as_they_are() -> None:
    voxels = np.random.default_rng(1).integers(0, 60000, (2, 8, 8)).astype("<u2")
    gaps = len(histogram_packing.find(voxels).runs)
    assert gaps < 100, "a list of 128 values would take more than it saves"


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(dtype: str) -> None:
    info = np.iinfo(dtype)
    voxels = np.array([[[info.min, info.max]]], dtype)
    assert np.array_equal(
        histogram_packing.find(voxels).backward(histogram_packing.find(voxels).forward(voxels), voxels.dtype), voxels
    )


@settings(max_examples=50)
@given(st.data())
def test_the_nearest_value_is_found(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["u1", "i1", "<u2", "<i2"]))
    info = np.iinfo(dtype)
    values = sorted(data.draw(st.sets(st.integers(info.min, info.max), min_size=1, max_size=9)))
    packing = histogram_packing.HistogramPacking(np.array([[v, v + 1] for v in values]))
    voxels = data.draw(hnp.arrays(dtype, (2, 3, 4)))
    expected = [min(range(len(values)), key=lambda i: (abs(values[i] - v), i)) for v in voxels.ravel().tolist()]
    assert packing.nearest(voxels).ravel().tolist() == expected
