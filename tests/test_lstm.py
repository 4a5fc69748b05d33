"""The integer LSTM: every backend against the definition, and the proof of its bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import models
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.lstm import cpu, reference
from volcomp.lstm.state import State
from volcomp.lstm.weights import ACCUMULATOR_LIMIT, Weights

PRODUCTS = cpu.products()


def some_weights(hidden: int, seed: int, largest: int = 64) -> Weights:
    random = np.random.default_rng(seed)
    return Weights(
        "test",
        random.integers(-largest, largest + 1, (64 + hidden, 4 * hidden)).astype(np.int8),
        random.integers(0, 8, 4 * hidden).astype(np.int32),
        random.integers(-900, 900, (2, hidden)).astype(np.int16),
        random.integers(-9000, 9000, 2).astype(np.int32),
        np.array([1 << 19, 1 << 19], np.uint32),
        np.array([2], np.int64),
    )


@pytest.mark.parametrize("make_product", PRODUCTS)
@given(hidden=st.sampled_from([8, 32, 48]), seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 70))
def test_backends_equal_the_reference(make_product: cpu.Product, hidden: int, seed: int, rows: int) -> None:
    weights = some_weights(hidden, seed)
    mine, theirs = cpu.Network(weights, make_product), reference.Network(weights)
    a, b = State(weights, rows), State(weights, rows)
    random = np.random.default_rng(seed)
    for _ in range(4):
        a.inputs[:, :64] = b.inputs[:, :64] = random.choice([-127, -40, 0, 3, 127], (rows, 64))
        lo, hi = sorted(random.integers(0, rows + 1, 2))
        for x, y in zip(mine.step(a, lo, hi), theirs.step(b, lo, hi), strict=True):
            assert x.dtype == y.dtype == np.int32 and np.array_equal(x, y)
        assert np.array_equal(a.inputs, b.inputs) and np.array_equal(a.cell, b.cell)


@pytest.mark.parametrize("number", models.RELEASED)
@pytest.mark.parametrize("make_product", PRODUCTS)
def test_released_models_on_many_rows(number: int, make_product: cpu.Product) -> None:
    weights = models.weights(number)
    mine, theirs = cpu.Network(weights, make_product), reference.Network(weights)
    rows = mine.chunk + 30  # more than one chunk
    a, b = State(weights, rows), State(weights, rows)
    random = np.random.default_rng(number)
    for _ in range(3):
        inputs = random.integers(-127, 128, (rows, weights.inputs))
        a.inputs[:, : weights.inputs] = b.inputs[:, : weights.inputs] = inputs
        for x, y in zip(mine.step(a, 0, rows), theirs.step(b, 0, rows), strict=True):
            assert np.array_equal(x, y)
    assert np.array_equal(a.inputs, b.inputs) and np.array_equal(a.cell, b.cell)


@pytest.mark.parametrize("number", models.RELEASED)
def test_no_sum_of_a_released_model_reaches_the_limit(number: int) -> None:
    """Computed here once more, from the weights themselves, with the inputs that would drive each column furthest."""
    weights = models.weights(number)
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
    def off_by_one(weights: np.ndarray) -> cpu.Product:
        exact = cpu.float_product(weights)

        def product(x: np.ndarray, out: np.ndarray) -> None:
            exact(x, out)
            out += 1024

        return product

    with pytest.warns(RuntimeWarning, match="does not give the reference's numbers"), pytest.raises(UnsupportedError):
        cpu.Network(some_weights(32, 0), off_by_one)


def test_a_torch_without_its_private_kernel_leaves_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delattr(torch, "_int_mm")
    with pytest.warns(RuntimeWarning, match="torch_product is left aside"):
        network = cpu.Network(models.weights(1))
    weights = models.weights(1)
    state, same = State(weights, 40), State(weights, 40)
    for x, y in zip(network.step(state, 0, 40), reference.Network(weights).step(same, 0, 40), strict=True):
        assert np.array_equal(x, y)


def test_a_model_comes_back_from_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from volcomp.lstm import weights as module

    weights = some_weights(32, 7)
    weights.save(tmp_path / "m.npz")
    assert module.load(tmp_path / "m.npz", "test").digest() == weights.digest()
    (tmp_path / "m.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DamagedError, match="reinstall"):
        module.load(tmp_path / "m.npz", "test")
