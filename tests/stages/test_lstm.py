"""The integer LSTM: every backend against the definition, and the proof of its bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import models
from volcomp.constants import CLASSES, INPUTS
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.pipelines.row.pipeline import ROW
from volcomp.runtime import products, vectors
from volcomp.stages import features, peak, symbols
from volcomp.stages.lstm import cpu, learning, reference
from volcomp.stages.lstm.state import AHEAD, State
from volcomp.stages.lstm.weights import ACCUMULATOR_LIMIT, LstmWeights

# None is what a user gets: vector instructions where there are any.
PRODUCTS = [None, *products.makers()]


def some_weights(hidden: int, seed: int, largest: int = 64, learns: bool = False, shared: int = 0) -> LstmWeights:
    random = np.random.default_rng(seed)
    inputs = 64 + 2 * shared
    n = inputs + hidden if learns else hidden
    weights = LstmWeights(
        "test",
        random.integers(-largest, largest + 1, (inputs + hidden, 4 * hidden)).astype(np.int8),
        random.integers(0, 8, 4 * hidden).astype(np.int32),
        random.integers(-600, 600, (2, n)).astype(np.int16),
        random.integers(-9000, 9000, 2).astype(np.int32),
        np.array([1 << 19, 1 << 19], np.uint32),
        np.array([2], np.int64),
    )
    if not learns:
        return weights
    slopes = random.integers(-127, 128, (2, CLASSES, learning.BINS)).astype(np.int8)
    metric = random.integers(-32768, 32768, (n, n)).astype(np.int16)
    return replace(weights, slopes=slopes, metric=metric)


def pair(
    weights: LstmWeights, make_product: products.Maker | None, rows: int
) -> tuple[tuple[cpu.CpuLstm, State], tuple[reference.ReferenceLstm, State]]:
    """The backend and the definition, each with a state of its own."""
    mine, theirs = cpu.CpuLstm(weights, make_product), reference.ReferenceLstm(weights)
    return (mine, State(weights, rows)), (theirs, State(weights, rows))


@pytest.mark.parametrize("make_product", PRODUCTS)
@given(hidden=st.sampled_from([8, 32, 48]), seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 70))
def test_backends_equal_the_reference(make_product: products.Maker | None, hidden: int, seed: int, rows: int) -> None:
    weights = some_weights(hidden, seed)
    (mine, a), (theirs, b) = pair(weights, make_product, rows)
    random = np.random.default_rng(seed)
    for _ in range(4):
        a.inputs[:, :64] = b.inputs[:, :64] = random.choice([-127, -40, 0, 3, 127], (rows, 64))
        lo, hi = sorted(random.integers(0, rows + 1, 2))
        for x, y in zip(mine.step(a, lo, hi), theirs.step(b, lo, hi), strict=True):
            assert x.dtype == y.dtype == np.int32 and np.array_equal(x, y)
        assert np.array_equal(a.inputs, b.inputs) and np.array_equal(a.cell, b.cell)


@pytest.mark.parametrize("make_product", PRODUCTS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 400), hard=st.booleans())
def test_heads_learn_the_same_everywhere(make_product: products.Maker | None, seed: int, rows: int, hard: bool) -> None:
    """Over several fronts of some of the rows; with the hardest metric, weights run into their limits."""
    weights = some_weights(8, seed, learns=True)
    if not hard:
        weights = replace(weights, metric=weights.metric >> 8)
    (mine, a), (theirs, b) = pair(weights, make_product, rows)
    random = np.random.default_rng(seed)
    for _ in range(6):
        a.inputs[:, :64] = b.inputs[:, :64] = random.choice([-128, -40, 0, 3, 127], (rows, 64))
        lo, hi = sorted(random.integers(0, rows + 1, 2))
        error = random.integers(-(1 << 20), 1 << 20, rows, dtype=np.int32) >> random.integers(0, 20, rows)
        classes = random.integers(0, CLASSES, rows, dtype=np.uint8)
        for x, y in zip(mine.step(a, lo, hi), theirs.step(b, lo, hi), strict=True):
            assert np.array_equal(x, y)
        mine.learn(a, lo, hi, error, classes)
        theirs.learn(b, lo, hi, error, classes)
        for name in ("head", "exact", "slope", "count"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert np.abs(a.head).max() <= weights.head_limit
        sums = np.abs(a.head).astype(np.int64).sum(axis=1) * 128 + np.abs(weights.bias)
        assert sums.max() < ACCUMULATOR_LIMIT


def test_the_order_of_voxels_does_not_matter_to_learning() -> None:
    weights = some_weights(8, 1, learns=True)
    network, random = cpu.CpuLstm(weights), np.random.default_rng(3)
    error, classes = random.integers(-900, 900, 500, dtype=np.int32), random.integers(0, 76, 500, dtype=np.uint8)
    seen = random.integers(-128, 128, (500, 72), dtype=np.int8)
    heads = []
    for order in (np.arange(500), random.permutation(500)):
        state = State(weights, 500)
        state.inputs[:] = seen[order]
        network.learn(state, 0, 500, error[order], classes[order])
        assert not np.array_equal(state.head, weights.head)
        heads.append(state.head)
    assert np.array_equal(*heads)


def test_learning_goes_downhill() -> None:
    """A mean that is always too low by as much as an input says is put right by the head."""
    n = 72
    slopes = np.zeros((2, CLASSES, learning.BINS), np.int8)
    slopes[0] = np.minimum(np.arange(learning.BINS) * 4, 127)
    metric = (np.eye(n) * 40).astype(np.int16)
    weights = replace(some_weights(8, 2, 0, learns=True), slopes=slopes, metric=metric)
    weights = replace(weights, head=np.zeros_like(weights.head), bias=np.zeros_like(weights.bias))
    network, state, random = cpu.CpuLstm(weights), State(weights, 512), np.random.default_rng(4)
    classes, errors = np.full(512, 40, np.uint8), []
    for _ in range(300):
        state.inputs[:, :64] = random.integers(-100, 101, (512, 64))
        offset, _ = network.step(state, 0, 512)
        error = state.inputs[:, 0].astype(np.int32) * 8 - offset  # offsets should be eight times input 0
        errors.append(np.abs(error).mean())
        network.learn(state, 0, 512, error, classes)
    assert errors[-1] < errors[0] / 4


def test_constants_are_those_of_the_other_stages() -> None:
    assert len(learning.RECIPROCALS) == len(symbols.REACH) == CLASSES
    assert list(learning.QUARTERS) == peak.QUARTERS.tolist()


@pytest.mark.parametrize(
    "number", [number for number, model in sorted(models.RELEASED.items()) if model.pipeline == "row"]
)
@pytest.mark.parametrize("make_product", PRODUCTS)
def test_released_models_on_many_rows(number: int, make_product: products.Maker | None) -> None:
    weights = ROW.load(models.RELEASED[number])
    mine, theirs = cpu.CpuLstm(weights, make_product), reference.ReferenceLstm(weights)
    rows = mine.chunk + 30  # more than one chunk
    a, b = State(weights, rows), State(weights, rows)
    random = np.random.default_rng(number)
    for _ in range(3):
        inputs = random.integers(-127, 128, (rows, weights.inputs))
        a.inputs[:, : weights.inputs] = b.inputs[:, : weights.inputs] = inputs
        for x, y in zip(mine.step(a, 0, rows), theirs.step(b, 0, rows), strict=True):
            assert np.array_equal(x, y)
    assert np.array_equal(a.inputs, b.inputs) and np.array_equal(a.cell, b.cell)


@pytest.mark.parametrize(
    "number", [number for number, model in sorted(models.RELEASED.items()) if model.pipeline == "row"]
)
def test_no_sum_of_a_released_model_reaches_the_limit(number: int) -> None:
    """Computed here once more, from the weights themselves, with the inputs that would drive each column furthest."""
    weights = ROW.load(models.RELEASED[number])
    worst = np.where(weights.weights > 0, 127, -128).astype(np.int64)
    assert (worst * weights.weights).sum(axis=0).max() < ACCUMULATOR_LIMIT
    assert (127 * np.abs(weights.head.astype(int)).sum(axis=1) + np.abs(weights.bias)).max() < ACCUMULATOR_LIMIT


def test_the_rounded_gates_are_close_to_the_smooth_ones() -> None:
    z = np.arange(-6000, 6000)
    assert np.abs(reference.sigmoid(z) / 32768 - 1 / (1 + np.exp(-z / 1024))).max() < 0.03
    assert np.abs(reference.tanh(z) / 32768 - np.tanh(z / 1024)).max() < 0.08
    assert reference.sigmoid(np.array([-9999, 9999])).tolist() == [0, 32768]
    assert reference.tanh(np.array([-9999, 9999])).tolist() == [-32768, 32768]


def test_weights_that_could_overflow_are_refused() -> None:
    weights = some_weights(32, 0)
    with pytest.raises(DamagedError, match="could reach"):
        replace(weights, head=np.full((2, 32), 32767, np.int16))
    with pytest.raises(DamagedError, match="within ±64"):
        replace(weights, weights=np.full_like(weights.weights, 65))
    with pytest.raises(DamagedError, match="within ±64"):
        replace(weights, shift=np.full_like(weights.shift, 8))
    with pytest.raises(DamagedError, match="shapes"):
        replace(weights, bias=np.zeros(3, np.int32))


def test_a_backend_that_gives_other_numbers_is_refused() -> None:
    def off_by_one(weights: np.ndarray) -> products.Product:
        exact = products.float_product(weights)

        def product(x: np.ndarray, out: np.ndarray) -> None:
            exact(x, out)
            out += 1024

        return product

    with pytest.warns(RuntimeWarning, match="does not give the reference's numbers"), pytest.raises(UnsupportedError):
        cpu.CpuLstm(some_weights(32, 0), off_by_one)


def test_a_torch_without_its_private_kernel_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delattr(torch, "_int_mm")
    products._seconds.cache_clear()
    with pytest.warns(RuntimeWarning, match="torch_product is left aside"):
        found = products.by_speed((72, 64))
    assert found and products.torch_product not in found


def test_a_processor_without_known_instructions_multiplies_by_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "instructions", lambda: vectors.NONE)
    products._seconds.cache_clear()
    weights = ROW.load(models.RELEASED[1])
    network = cpu.CpuLstm(weights)
    assert network.packed is None
    state, same = State(weights, 40), State(weights, 40)
    for x, y in zip(network.step(state, 0, 40), reference.ReferenceLstm(weights).step(same, 0, 40), strict=True):
        assert np.array_equal(x, y)
    with pytest.raises(RuntimeError, match="no vector instructions"):
        products.vector_product(weights.weights)


def test_a_model_comes_back_from_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from volcomp.stages.lstm import weights as module

    weights = some_weights(32, 7)
    weights.save(tmp_path / "m.npz")
    assert module.load(tmp_path / "m.npz", "test").digest() == weights.digest()
    (tmp_path / "m.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DamagedError, match="reinstall"):
        module.load(tmp_path / "m.npz", "test")


def test_what_is_passed_on_is_there_in_time() -> None:
    """The features look as far to the right in both rows that pass on, so every schedule has them ready."""
    assert some_weights(8, 0).observed == INPUTS == len(features.LEVELS) + len(features.RESIDUALS) + 8
    assert {(0, -1, AHEAD), (-1, 0, AHEAD)} <= {*features.LEVELS}
    assert [ROW.load(models.RELEASED[number]).shared for number in range(1, 7)] == [0, 0, 0, 0, 16, 32]


def test_a_network_without_the_inputs_that_it_makes_nothing_of_is_the_same() -> None:
    whole = ROW.load(models.chosen("turbo"))
    less = whole.without(features.SPARED)
    assert less.observed == less.inputs - 2 * less.shared == INPUTS - 24
    assert (less.shared, less.hidden, less.head_limit) == (whole.shared, whole.hidden, whole.head_limit)
    assert ROW.load(models.chosen("fast")).without(features.SPARED).observed == INPUTS, "it sees them all"
    (mine, state), (theirs, same) = (
        (cpu.CpuLstm(less), State(less, 50)),
        (reference.ReferenceLstm(whole), State(whole, 50)),
    )
    random = np.random.default_rng(6)
    for _ in range(4):
        x = random.integers(-127, 128, (50, whole.inputs)).astype(np.int8)
        same.inputs[:, : whole.inputs] = x
        state.inputs[:, : less.inputs] = np.delete(x, features.SPARED, axis=1)
        for a, b in zip(mine.step(state, 0, 50), theirs.step(same, 0, 50), strict=True):
            assert np.array_equal(a, b)
        error = random.integers(-(1 << 12), 1 << 12, 50, dtype=np.int32)
        classes = random.integers(0, CLASSES, 50, dtype=np.uint8)
        for network, of in ((mine, state), (theirs, same)):
            of.count += learning.ENOUGH
            network.learn(of, 0, 50, error, classes)
        assert np.array_equal(state.head, np.delete(same.head, features.SPARED, axis=1))
        assert not same.head[:, features.SPARED].any()
