"""The sums that the linear stage is fitted from: as they are defined, and the same from loops and from torch."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.stages.test_linear import some_levels
from volcomp.encoder import linear_fit, normal_equations
from volcomp.encoder.normal_equations import DIFFERENCE_LIMIT, HEAVIEST, UNIT, Maker
from volcomp.pipelines.row.pipeline import ROW
from volcomp.runtime.sums import BLOCK, PRODUCT_LIMIT
from volcomp.stages import linear, supports
from volcomp.stages.grid import padded
from volcomp.stages.histogram_packing import level_type

SUPPORT = supports.of_runs([*linear_fit.FIRST, (-3, 1, -4)])
SIZES = (2 * BLOCK + 7, 1, BLOCK, 4, 700, BLOCK - 1)  # voxels of classes


def makers() -> list[Maker]:
    """Who adds up: the loops, and torch on the CPU where it is installed."""
    try:
        import torch

        from volcomp.gpu.normal_equations import on_device
    except ImportError:
        return [normal_equations.on_cpu]
    return [normal_equations.on_cpu, partial(on_device, torch.device("cpu"))]


MAKERS = pytest.mark.parametrize("maker", makers(), ids=["loops", "torch"][: len(makers())])


def levels(limit: int) -> np.ndarray:
    random = np.random.default_rng(limit)
    smooth = limit * (0.5 + 0.3 * np.sin(0.2 * np.indices((7, 40, 50)).sum(axis=0)))
    return (smooth + random.normal(0, 0.1 * limit, smooth.shape)).round().clip(0, limit).astype(level_type(limit))


def classes_of(index: np.ndarray) -> list[np.ndarray]:
    return np.split(np.random.default_rng(7).permutation(index[3:].ravel())[: sum(SIZES)], np.cumsum(SIZES)[:-1])


def differences(known: np.ndarray, places: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """By definition: float64 [v, n + 1], of the neighbours and of the voxel itself."""
    near = known[places[:, None] + np.append(flat, 0)].astype(np.int64)
    base = (near[:, :4].sum(axis=1) + 2) >> 2
    return (near - base[:, None]).clip(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT).astype(float)


@MAKERS
@pytest.mark.parametrize("limit", [255, 4095, 65535])
def test_sums_are_what_they_are_by_definition(limit: int, maker: Maker) -> None:
    """Classes that fill blocks, that do not, and that have fewer voxels than are left out; differences at their limit;
    in the second round every voxel with an importance of its own."""
    known, index, strides = padded(levels(limit))
    members, flat = classes_of(index), SUPPORT.flat(strides)[3]
    designs = [differences(known, places, flat) for places in members]
    assert (max(np.abs(d).max() for d in designs) == DIFFERENCE_LIMIT) == (limit == 65535)
    made, random = maker(known)(members, flat), np.random.default_rng(8)
    assert np.array_equal(made.spread(), [np.square(d[:, :-1]).mean() for d in designs])
    importance = [np.ones(len(d)) for d in designs]
    for _ in range(2):
        for thinning in (1, 4):
            weighted = [(d * i[:, None])[::thinning] for d, i in zip(designs, importance, strict=True)]
            assert np.array_equal(made.products(thinning), [rows.T @ rows for rows in weighted])
        weights = random.integers(-3000, 3000, (len(members), flat.size)).astype(float)
        errors = [np.abs(UNIT * d[:, -1] - d[:, :-1] @ w) for d, w in zip(designs, weights, strict=True)]
        assert np.array_equal(made.mean_errors(weights), [e.mean() for e in errors])
        assert all(map(np.array_equal, made.errors(), errors))
        made.reweigh()
        usual = [np.sort(e)[e.size // 2] + UNIT // 2 for e in errors]
        importance = [np.rint(HEAVIEST * np.sqrt(u / (e + u))) for e, u in zip(errors, usual, strict=True)]
        assert limit > 255 or len(np.unique(importance[0])) > 2


@MAKERS
def test_products_of_given_importance_have_a_limit(maker: Maker) -> None:
    """So that the sums of a choice of runs are exact."""
    known, index, strides = padded(levels(30_000))
    members, flat = classes_of(index), SUPPORT.flat(strides)[3]
    importance = [np.random.default_rng(9).integers(0, 65, places.size).astype(float) for places in members]
    made = maker(known)(members, flat)
    made.weigh(importance)
    rows = [differences(known, p, flat) * i[:, None] for p, i in zip(members, importance, strict=True)]
    assert max(np.abs(r).max() for r in rows) > PRODUCT_LIMIT
    rows = [r.clip(-PRODUCT_LIMIT, PRODUCT_LIMIT) for r in rows]
    assert np.array_equal(made.products(1), [r.T @ r for r in rows])


def test_the_largest_sums_are_exact() -> None:
    """Of as many voxels as a class is fitted on and a support chosen on, at the limits of what they add up."""
    most = DIFFERENCE_LIMIT * HEAVIEST
    assert most <= PRODUCT_LIMIT
    assert linear_fit.CLASS_SAMPLES * most**2 < 1 << 53
    assert linear_fit.CHOSEN_ON * PRODUCT_LIMIT**2 < 1 << 53
    runs = max(runs for runs, _, _ in linear_fit.SEARCH.values())
    beside = max(len(supports.in_reference(*discs)) for discs in linear_fit.DISCS)
    missed = DIFFERENCE_LIMIT * (UNIT + (runs * 8 + beside) * linear.WEIGHT_LIMIT)
    assert linear_fit.CLASS_SAMPLES * missed < 1 << 53
    assert all(BLOCK % thinning == 0 for thinning in linear_fit.THINNING)


@pytest.mark.parametrize("flat", [SUPPORT.flat((999, 21))[1], np.array([-1, -2, -2, -9, -16, -17, -40, -33])])
def test_runs_hold_every_neighbour_once(flat: np.ndarray) -> None:
    """Also neighbours that lie at the same place, and rows so short that one run reaches into the next."""
    found_runs = normal_equations._runs(flat.tobytes())
    begins, rows = found_runs[:, 0], found_runs[:, 1:]
    found = {
        int(row) // (2 * BLOCK): int(begin) // 2 + lane
        for begin, lanes in zip(begins, rows, strict=True)
        for lane, row in enumerate(lanes)
        if row != 2 * BLOCK * flat.size
    }
    assert [found[i] for i in range(flat.size)] == flat.tolist()
    assert (rows < 2 * BLOCK * flat.size).sum() == flat.size


@pytest.mark.parametrize("depth", [0, 3])
def test_activities_are_those_of_the_decoder(depth: int) -> None:
    """`linear.predict` takes the class from them: a voxel whose activity is a threshold is in the class above it."""
    volume = levels(4095)
    known, index, strides = padded(volume)
    places = index[depth]
    flat = SUPPORT.flat(strides)[depth, : SUPPORT.in_slice if depth == 0 else None]
    found = normal_equations.activities(known, places, flat, SUPPORT.in_slice)
    weights = np.zeros((1, 3, len(SUPPORT.offsets)), np.int16)
    weights[0, 1, 0], weights[0, 2, 0] = 4096, -4096  # of the left neighbour's difference
    for v in range(0, places.size, 97):
        bounds = np.array([[found[v], found[v] + 1]])
        fitted = linear.LinearWeights(SUPPORT, 1, bounds, weights, np.zeros((1, 3), np.uint8))
        prediction, zeros = np.empty(1, np.int32), np.zeros(1, np.uint8)
        ready = linear.ready(fitted, strides, 4095)
        linear.predict(known, places[v : v + 1], zeros + depth, zeros, ready, prediction)
        assert prediction[0] == 16 * int(known[places[v] - 1])


@pytest.mark.skipif(len(makers()) == 1, reason="torch is not installed")
@pytest.mark.parametrize("effort", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 150, 120), (3, 90, 80), (12, 60, 64), (5, 4, 3)])
def test_a_device_fits_the_same_weights(shape: tuple[int, int, int], effort: int) -> None:
    volume = some_levels(shape)
    ours, theirs = (linear.to_bytes(linear_fit.fit_by_effort(volume, 24, effort, maker=maker)) for maker in makers())
    assert ours == theirs


@pytest.fixture
def gpu_equations() -> object:
    pytest.importorskip("torch")
    from volcomp.gpu import normal_equations as on_gpu

    return on_gpu


def test_a_device_without_memory_leaves_the_fit_to_the_cpu(
    gpu_equations: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    volume = some_levels((4, 30, 40))
    expected = linear.to_bytes(linear_fit.fit_by_effort(volume, 8, 1))
    monkeypatch.setattr(gpu_equations.DeviceEquations, "products", full)  # type: ignore[attr-defined]
    assert linear.to_bytes(gpu_equations.fit(volume, 8, 1, torch.device("cpu"))) == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", ["products", "mean_errors", "spread"])
def test_a_device_whose_sums_differ_is_refused(
    gpu_equations: object, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volcomp import models
    from volcomp.gpu.row import device, plain
    from volcomp.gpu.row.network import DeviceLstm

    genuine: Callable[..., np.ndarray] = getattr(gpu_equations.DeviceEquations, wrong)  # type: ignore[attr-defined]
    made = DeviceLstm(ROW.load(models.chosen("fast")), "cpu", plain.PlainSteps)
    device.check(made)
    monkeypatch.setattr(gpu_equations.DeviceEquations, wrong, lambda *a: 1.5 * genuine(*a) + 90)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="reference's numbers"):
        device.check(made)
