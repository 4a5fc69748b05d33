"""The scale and the network's inputs against their description, written out slowly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neighbourhoods import pad
from tests.stages.test_linear import some_levels
from volcomp.constants import INPUTS, RADIUS
from volcomp.stages import features
from volcomp.stages.grid import PaddedSlab, beside, padded


def slow_index(scale: int) -> int:
    exponent = scale.bit_length() - 1
    return 16 * (exponent - 6) + (scale >> (exponent - 4)) % 16


def slow_input(difference: int, index: int) -> int:
    units = min(max((difference * int(features.RECIPROCALS[index])) >> 14, -8192), 8192)
    return min((units - (units * abs(units) >> 14) + 16) >> 5, 127)


def slow_observation(
    levels: np.ndarray, errors: np.ndarray, p: int, z: int, y: int, x: int,
    reference: np.ndarray | None = None,
) -> tuple[int, list[int]]:  # fmt: skip
    """Scale index and inputs of one voxel as docs/format.md says it. The network sees the reference if there is one."""
    known, residual = pad(levels, 0, RADIUS), pad(errors, 0, RADIUS)

    def read(array: np.ndarray, offset: tuple[int, int, int]) -> int:
        dz, dy, dx = offset
        return int(array[max(z + dz, 0), RADIUS + y + dy, RADIUS + x + dx])

    def beside(dy: int, dx: int) -> int:
        assert reference is not None
        _, height, width = levels.shape
        return int(reference[z, min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)])

    weights = features.ACTIVITY_WEIGHTS[min(z, 1)].tolist()
    active = [w * abs(read(residual, o)) for w, o in zip(weights, features.ACTIVE, strict=True) if z or o[0] == 0]
    near, before = sum(active[:12]), sum(active[12:])
    k = slow_index(((near + before) >> 8) + 77)
    differences = [16 * read(known, o) - p if z or o[0] == 0 else 0 for o in features.LEVELS]
    spread = sum(abs(d) for d in differences[:10])
    if reference is not None:
        beyond = {} if z else {(-2, -1): (4, 0), (-2, 0): (0, 4), (-2, 1): (1, 3)}
        for n, (dz, dy, dx) in enumerate(features.LEVELS):
            down, right = beyond.get((dz, dy), (0, 0))
            if dz < (-1 if z else 0):
                differences[n] = 16 * beside(dy + down, dx + right) - p
    differences += [read(residual, o) if z or o[0] == 0 else 0 for o in features.RESIDUALS]

    def clip(value: int) -> int:
        return min(max(value, -127), 127)

    ratio = clip(slow_index((near >> 8) + 77) - slow_index((before * 15 >> 10) + 77)) if z else 0
    rest = [
        clip(k - 96), 8 * (p % 16 - 8), 64 if z else 0, ratio, clip(slow_index(spread * 8 // 5 + 77) - k),
        slow_input(p, k), 64, 0,
    ]  # fmt: skip
    if reference is not None:
        square = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        active = sum(abs(beside(*o) - beside(0, 0)) for o in square)
        far = sum(abs(read(known, (0, dy, dx)) - beside(dy, dx)) for _, dy, dx in features.LEVELS[:10])
        rest[3] = rest[3] if z else clip(slow_index(32 * active + 77) - k)
        rest[7] = clip(slow_index(128 * far // 5 + 77) - k)
    return k, [slow_input(d, k) for d in differences] + rest


def test_observations_are_those_of_the_description() -> None:
    random = np.random.default_rng(4)
    levels = some_levels()
    errors = (random.standard_t(2, levels.shape) * 100).astype(np.int32)
    known, index, strides = padded(levels)
    residual, _, _ = padded(errors)
    prediction = np.clip(16 * levels + random.integers(-300, 300, levels.shape), 0, None).astype(np.int32)
    depth = np.minimum(np.indices(levels.shape)[0], 2).astype(np.uint8).ravel()
    scale, inputs = np.empty(levels.size, np.int32), np.full((levels.size, INPUTS + 3), 55, np.int8)
    reference = np.clip(levels + random.integers(-30, 30, levels.shape), 0, None).astype(levels.dtype)
    for other in (None, reference):
        size, slab = 0, PaddedSlab(known, residual)
        if other is not None:
            size, slab = known.size, PaddedSlab(np.concatenate([known, beside(other)]), residual)
        neighbours = features.neighbours(strides, size)
        features.observe(slab, index.ravel(), depth, neighbours, prediction.ravel(), scale, inputs)
        assert (inputs[:, INPUTS:] == 55).all(), "the state's columns are not touched"
        for v, place in enumerate(np.ndindex(levels.shape)):
            k, expected = slow_observation(levels, errors, int(prediction[place]), *place, other)
            assert scale[v] == k
            assert inputs[v, :INPUTS].tolist() == expected


def test_the_integers_are_what_they_stand_for() -> None:
    near = np.array([1 / np.hypot(dy, dx) if dz == 0 else 0 for dz, dy, dx in features.ACTIVE])
    before = np.array([0.4 / (1 + np.hypot(dy, dx)) if dz else 0 for dz, dy, dx in features.ACTIVE])
    for row, weights in zip(features.ACTIVITY_WEIGHTS, (near, near + before), strict=True):
        assert np.abs(row - weights / weights.sum() * 1.2 * 4096).max() < 0.51
    assert len(features.LEVELS) + len(features.RESIDUALS) + 8 == INPUTS


@given(st.integers(77, 1 << 25))
def test_a_scale_index_stands_for_its_scale(scale: int) -> None:
    index = int(features.scale_index(scale))
    assert index == slow_index(scale)
    assert abs(features.SCALES[index] / scale - 1) <= 1 / 32
    assert abs(index / 16 - np.log2(scale / 64)) < 0.15


def test_extremes_do_not_overflow() -> None:
    levels = np.zeros((3, 6, 6), np.int64)
    levels[::2, ::2] = 65535
    known, index, strides = padded(levels)
    residual, _, _ = padded(np.where(levels > 0, 65535 * 16, -65535 * 16))
    slab = PaddedSlab(known, residual)
    scale, inputs = np.empty(levels.size, np.int32), np.empty((levels.size, INPUTS), np.int8)
    for p in (0, 65535 * 16):
        prediction = np.full(levels.size, p, np.int32)
        depth = np.repeat(np.arange(3, dtype=np.uint8), 36)
        features.observe(slab, index.ravel(), depth, features.neighbours(strides), prediction, scale, inputs)
        assert scale.max() < features.SCALE_INDICES
        for v in (0, 7, 50, 100):
            z, y, x = np.unravel_index(v, levels.shape)
            expected = slow_observation(levels, np.where(levels > 0, 65535 * 16, -65535 * 16), p, z, y, x)
            assert (scale[v], inputs[v].tolist()) == expected
