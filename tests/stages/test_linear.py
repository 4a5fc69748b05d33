"""The linear stage against its description, written out slowly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neighbourhoods import pad
from volcomp.constants import DEPTHS, RADIUS
from volcomp.encoder import linear_fit
from volcomp.encoder.normal_equations import on_cpu
from volcomp.errors import DamagedError
from volcomp.stages import linear, supports
from volcomp.stages.grid import beside, padded
from volcomp.wire.cursor import Cursor


def some_levels(shape: tuple[int, int, int] = (5, 9, 11), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]) * 7, np.add.outer(np.arange(shape[1]) * 11, np.arange(shape[2]) * 5))
    return smooth + random.integers(0, 40, shape)


def slow_prediction(
    levels: np.ndarray, fitted: linear.LinearWeights, z: int, y: int, x: int, reference: np.ndarray | None = None
) -> int:
    """One voxel's prediction as docs/format.md says it."""
    border = pad(levels, 0, RADIUS)
    support = fitted.support
    group = int(linear.groups_of(len(levels), fitted.height, support)[z])
    offsets = support.offsets[: support.used(group) - len(support.reference)]
    near = [int(border[max(z + dz, 0), RADIUS + y + dy, RADIUS + x + dx]) for dz, dy, dx in offsets]
    base = (sum(near[:4]) + 2) >> 2
    activity = sum(abs(n - base) for n in near[:10])
    if z:
        activity += sum(abs(n - base) for n in near[support.in_slice : support.in_slice + 9])
    else:
        activity = activity * 19 // 10
    c = sum(activity >= bound for bound in fitted.thresholds[group].tolist())
    if reference is not None:
        places = [np.clip((z + dz, y + dy, x + dx), 0, np.array(levels.shape) - 1) for dz, dy, dx in support.reference]
        near[support.in_slice : support.in_slice] = [int(reference[tuple(place)]) for place in places]
    total = sum(int(w) * (n - base) for w, n in zip(fitted.weights[group, c], near, strict=False))
    return int(min(max((base << 4) + ((total + 128) >> 8), 0), 16 * int(levels.max())))


def predicted(
    levels: np.ndarray, fitted: linear.LinearWeights, limit: int, reference: np.ndarray | None = None
) -> list[int]:
    known, index, strides = padded(levels)
    size = known.size
    if reference is not None:
        known = np.concatenate([known, beside(reference)])
    z = np.indices(levels.shape)[0].ravel()
    prediction = np.empty(levels.size, np.int32)
    linear.predict(
        known, index.ravel(), np.minimum(z, DEPTHS - 1).astype(np.uint8),
        linear.groups_of(len(levels), fitted.height, fitted.support)[z], linear.ready(fitted, strides, limit, size),
        prediction,
    )  # fmt: skip
    return prediction.tolist()


def any_weights(support: supports.Support, depth: int, height: int, classes: int, seed: int) -> linear.LinearWeights:
    """Of the form that a fit gives, with large and small values."""
    random = np.random.default_rng(seed)
    groups = int(linear.groups_of(depth, height, support).max()) + 1
    shifts = random.integers(0, linear.SHIFT_LIMIT + 1, (groups, classes)).astype(np.uint8)
    weights = random.integers(-30000, 30000, (groups, classes, support.size))
    weights = weights // random.choice([1, 50, 10**5], weights.shape) >> shifts[..., None] << shifts[..., None]
    for g in range(groups):
        weights[g, :, support.used(g) :] = 0
    thresholds = np.sort(random.integers(0, 900, (groups, classes - 1)), axis=1)
    return linear.LinearWeights(support, height, thresholds, weights.astype(np.int16), shifts)


CORE_RUNS = [(0, 0, -8), (0, -1, -4), (0, -2, -4), (-1, -1, -4), (-1, 0, -4), (-1, 1, -4)]
SUPPORTS = {
    **{name: supports.named(name) for name in supports.DISCS},
    "nearest": supports.of_runs(CORE_RUNS),
    "deep": supports.of_runs([*CORE_RUNS, (-7, 1, -4), (-3, 0, -4), (-2, 2, 0), (0, -7, -8), (0, -7, 0), (-5, -7, 7)]),
}


@pytest.mark.parametrize("scale", [1, 300])  # products of int16, and of float64
@pytest.mark.parametrize("name", SUPPORTS)
def test_predictions_are_those_of_the_description(name: str, scale: int) -> None:
    levels = some_levels((11, 9, 11)) * scale
    known, index, strides = padded(levels)
    fitted = linear_fit._fitted(known, on_cpu(known), index, strides, SUPPORTS[name], 4, 1 << 18)._replace(height=2)
    again = linear.groups_of(len(levels), 2, fitted.support)
    fitted = fitted._replace(  # as many groups as that height asks for
        thresholds=fitted.thresholds[np.minimum(np.arange(again.max() + 1), len(fitted.thresholds) - 1)],
        weights=fitted.weights[np.minimum(np.arange(again.max() + 1), len(fitted.weights) - 1)],
    )
    expected = [slow_prediction(levels, fitted, *place) for place in np.ndindex(levels.shape)]
    assert predicted(levels, fitted, int(levels.max())) == expected


REFERRING = {
    f"{name} {discs}": SUPPORTS[name].referring(discs)
    for name in ("small", "narrow", "nearest", "deep")
    for discs in ((0, -1), (2, 0), (5, 2), (49, 1))
}


@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize("name", REFERRING)
def test_predictions_from_a_reference_are_those_of_the_description(name: str, scale: int) -> None:
    levels, reference = some_levels((4, 9, 11)) * scale, some_levels((4, 9, 11), seed=1) * scale
    limit = int(max(levels.max(), reference.max()))
    levels[0, 0, 0] = limit  # which the description takes for the limit
    fitted = any_weights(REFERRING[name], 4, 2, 3, len(name))
    fitted = fitted._replace(weights=(fitted.weights // 8).astype(np.int16))
    assert fitted.weights[:, :, fitted.support.in_slice : fitted.support.leading].any(), "or it shows nothing"
    expected = [slow_prediction(levels, fitted, *place, reference) for place in np.ndindex(levels.shape)]
    assert predicted(levels, fitted, limit, reference) == expected


@pytest.mark.parametrize(("limit", "kind"), [(32767, np.int16), (32768, np.float64), (16383, np.int16)])
@pytest.mark.parametrize("weight", [4096, -32767])
def test_products_are_of_a_type_that_holds_their_sums(limit: int, kind: type, weight: int) -> None:
    """At the extremes of a volume of `limit`, between which differences are largest."""
    levels = np.random.default_rng(1).integers(0, 2, (3, 8, 9)) * limit
    weights = np.zeros((2, 1, 20), np.int16)
    weights[:, :, [0, 3, 7]] = weight
    fitted = linear.LinearWeights(
        supports.named("small"), 8, np.empty((2, 0), np.int64), weights, np.zeros((2, 1), np.uint8)
    )
    ready = linear.ready(fitted, padded(levels)[2], limit)
    assert ready.weights.dtype == (kind if 3 * abs(weight) * limit < 1 << 31 else np.float64)
    assert predicted(levels, fitted, limit) == [slow_prediction(levels, fitted, *p) for p in np.ndindex(levels.shape)]


ALL = SUPPORTS | REFERRING


@given(
    st.sampled_from(list(ALL)),
    st.integers(1, 20),
    st.integers(1, 7),
    st.integers(1, 9),
    st.integers(0, 10**6),
)
def test_weights_come_back_from_their_bytes(name: str, depth: int, height: int, classes: int, seed: int) -> None:
    fitted = any_weights(ALL[name], depth, height, classes, seed)
    reader = Cursor(linear.to_bytes(fitted), "a test")
    back = linear.from_bytes(reader, depth)
    reader.end()
    assert back.height == height and back.support == fitted.support
    assert np.array_equal(back.weights, fitted.weights) and back.weights.dtype == np.int16
    assert np.array_equal(back.thresholds, fitted.thresholds) and np.array_equal(back.shifts, fitted.shifts)


def test_groups() -> None:
    def groups(name: str, depth: int, height: int) -> list[int]:
        return linear.groups_of(depth, height, SUPPORTS[name]).tolist()

    assert groups("narrow", 8, 3) == [0, 1, 1, 1, 2, 2, 2, 3]
    assert groups("deep", 12, 3) == [0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3]
    assert groups("deep", 3, 3) == [0, 1, 1] and groups("deep", 1, 3) == [0]


@pytest.mark.parametrize(
    "head",
    [bytes([9, 8, 4]), bytes([0, 0, 4]), bytes([0, 8, 0]), bytes([0, 8, 200]), bytes([32, 8, 4]), bytes([21, 0, 8, 4])],
)
def test_what_no_encoder_writes_is_refused(head: bytes) -> None:
    with pytest.raises(DamagedError):
        linear.from_bytes(Cursor(head + bytes(40), "a test"), 8)


def test_shifts_and_weights_beyond_their_limits_are_refused() -> None:
    fitted = any_weights(SUPPORTS["nearest"], 4, 3, 2, 1)
    for wrong in (
        fitted._replace(shifts=fitted.shifts * 0 + 11),
        fitted._replace(weights=fitted.weights.astype(np.int64) * 0 + 40000, shifts=fitted.shifts * 0),
    ):
        with pytest.raises(DamagedError):
            linear.from_bytes(Cursor(linear.to_bytes(wrong), "a test"), 4)
