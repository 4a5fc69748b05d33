"""The linear stage against its description, written out slowly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neighbourhoods import pad
from volcomp import linear
from volcomp.cursor import Cursor
from volcomp.errors import DamagedError
from volcomp.slab import geometry


def padded(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """The padded slab, flat; the place of every voxel [Z, Y·X]; the strides."""
    known = pad(levels.astype(np.int32), 0, linear.RADIUS).reshape(-1)
    _, origin, strides = geometry(levels.shape)
    z, y, x = np.indices(levels.shape)
    return known, (origin + z * strides[0] + y * strides[1] + x).reshape(len(levels), -1), strides


def some_levels(shape: tuple[int, int, int] = (5, 9, 11), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]) * 7, np.add.outer(np.arange(shape[1]) * 11, np.arange(shape[2]) * 5))
    return smooth + random.integers(0, 40, shape)


def slow_prediction(levels: np.ndarray, fitted: linear.Weights, height: int, z: int, y: int, x: int) -> int:
    """One voxel's prediction as docs/format.md says it."""
    border = pad(levels, 0, linear.RADIUS)
    support = linear.support(fitted.support)
    offsets = support.offsets if z else support.offsets[: support.in_slice]
    near = [int(border[max(z + dz, 0), linear.RADIUS + y + dy, linear.RADIUS + x + dx]) for dz, dy, dx in offsets]
    base = (sum(near[:4]) + 2) >> 2
    activity = sum(abs(n - base) for n in near[:10])
    if z:
        activity += sum(abs(n - base) for n in near[support.in_slice : support.in_slice + 9])
    else:
        activity = activity * 19 // 10
    group = 0 if z == 0 else 1 + (z - 1) // height
    c = sum(activity >= bound for bound in fitted.thresholds[group].tolist())
    total = sum(int(w) * (n - base) for w, n in zip(fitted.weights[group, c], near, strict=False))
    return int(min(max((base << 4) + ((total + 128) >> 8), 0), 16 * int(levels.max())))


@pytest.mark.parametrize("scale", [1, 300])  # products of int16, and of float64
@pytest.mark.parametrize("name", linear.SUPPORT_NAMES)
def test_predictions_are_those_of_the_description(name: str, scale: int) -> None:
    levels = some_levels() * scale
    known, index, strides = padded(levels)
    fitted = linear.fit(known, index, strides, 2, (name,))
    z = np.indices(levels.shape)[0].ravel()
    prediction = np.empty(levels.size, np.int32)
    linear.predict(
        known, index.ravel(), np.minimum(z, 2).astype(np.uint8), linear.groups_of(len(levels), 2)[z],
        linear.ready(fitted, strides, int(levels.max())), int(levels.max()), prediction,
    )  # fmt: skip
    expected = [slow_prediction(levels, fitted, 2, *place) for place in np.ndindex(levels.shape)]
    assert prediction.tolist() == expected


@pytest.mark.parametrize(("limit", "kind"), [(32767, np.int16), (32768, np.float64), (16383, np.int16)])
@pytest.mark.parametrize("weight", [4096, -32767])
def test_products_are_of_a_type_that_holds_their_sums(limit: int, kind: type, weight: int) -> None:
    """At the extremes of a volume of `limit`, between which differences are largest."""
    levels = np.random.default_rng(1).integers(0, 2, (3, 8, 9)) * limit
    known, index, strides = padded(levels)
    weights = np.zeros((2, 1, 20), np.int16)
    weights[:, :, [0, 3, 7]] = weight
    fitted = linear.Weights("small", np.empty((2, 0), np.int64), weights)
    ready = linear.ready(fitted, strides, limit)
    assert ready.weights.dtype == (kind if 3 * abs(weight) * limit < 1 << 31 else np.float64)
    z = np.indices(levels.shape)[0].ravel()
    prediction = np.empty(levels.size, np.int32)
    linear.predict(
        known, index.ravel(), np.minimum(z, 2).astype(np.uint8), linear.groups_of(3, 8)[z], ready, limit, prediction
    )
    assert prediction.tolist() == [slow_prediction(levels, fitted, 8, *place) for place in np.ndindex(levels.shape)]


def test_sizes_of_the_supports() -> None:
    assert [len(linear.support(name).offsets) for name in linear.SUPPORT_NAMES] == [20, 48, 80, 130, 194]
    assert [linear.support(name).in_slice for name in linear.SUPPORT_NAMES] == [10, 18, 34, 84, 84]


def test_the_fit_is_that_of_least_squares() -> None:
    """A volume that is a weighted sum of two neighbours gets, all but the ridge, just those weights."""
    random = np.random.default_rng(2)
    levels = np.zeros((4, 40, 40))
    levels[0] = random.integers(0, 4000, (40, 40))
    for z in range(1, 4):
        levels[z] = 0.5 * levels[z - 1] + 0.5 * np.roll(levels[z - 1], -1, axis=1)
    known, index, strides = padded(levels.round().astype(int))
    fitted = linear.fit(known, index, strides, 8, ("small",))
    support = linear.support("small")
    dz, dy, dx = support.offsets.T
    expected = np.where((dz == -1) & (dy == 0) & ((dx == 0) | (dx == 1)), 2048, 0)
    assert np.abs(fitted.weights[1].astype(int) - expected).max() < 400, "but for the ridge"


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 10**6))
def test_weights_come_back_from_their_bytes(depth: int, height: int, seed: int) -> None:
    known, index, strides = padded(some_levels((depth, 6, 7), seed))
    fitted = linear.fit(known, index, strides, height, linear.SUPPORT_NAMES)
    data = linear.to_bytes(fitted, height)
    reader = Cursor(data, "a test")
    back, back_height = linear.from_bytes(reader, depth)
    reader.end()
    assert back_height == height and back.support == fitted.support
    assert np.array_equal(back.weights, fitted.weights) and back.weights.dtype == np.int16
    assert np.array_equal(back.thresholds, fitted.thresholds)


def test_the_fit_does_not_depend_on_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of integers below 2^53 are exact; a fit on the reversed list of the same voxels has the same bits, where
    every voxel serves in every round."""
    monkeypatch.setattr(linear, "THINNING", (1, 1, 1))
    known, index, strides = padded(some_levels((3, 64, 64)))
    forth = linear.fit(known, index, strides, 8, ("narrow",))
    back = linear.fit(known, np.ascontiguousarray(index[:, ::-1]), strides, 8, ("narrow",))
    assert np.array_equal(forth.weights, back.weights)


@pytest.mark.parametrize("head", [bytes([9, 8, 4]), bytes([0, 0, 4]), bytes([0, 8, 0]), bytes([0, 8, 200])])
def test_what_no_encoder_writes_is_refused(head: bytes) -> None:
    with pytest.raises(DamagedError):
        linear.from_bytes(Cursor(head + bytes(40), "a test"), 8)
