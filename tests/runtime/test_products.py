"""Exact products: which one is taken, and that each gives the same numbers."""

import time

import numpy as np
import pytest

from volcomp.errors import UnsupportedError
from volcomp.runtime import products


@pytest.fixture(autouse=True)
def _nothing_timed_before() -> None:
    products._seconds.cache_clear()


@pytest.mark.parametrize("shape", [(96, 128), (72, 32), (13, 5), (256, 512)])
def test_each_product_is_exact_at_its_limits(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    weights = random.integers(-64, 65, shape).astype(np.int8)
    weights[:, 1] = 64
    x = random.integers(-128, 128, (67, shape[0])).astype(np.int8)
    x[0], x[1], x[2] = -128, np.where(weights[:, 0] > 0, 127, -128), 127
    expected = x.astype(np.int64) @ weights.astype(np.int64)
    for maker in products.makers():
        out = np.empty((67, shape[1]), np.int32)
        maker(weights)(x, out)
        assert np.array_equal(out, expected), maker.__name__


def test_the_fastest_is_taken_whatever_its_place_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(weights: np.ndarray) -> products.Product:
        exact = products.float_product(weights)

        def product(x: np.ndarray, out: np.ndarray) -> None:
            time.sleep(0.02)
            exact(x, out)

        return product

    monkeypatch.setattr(products, "makers", lambda: [slow, products.float_product])
    assert products.by_speed((64, 64)) == [products.float_product, slow]
    taken: list[products.Product] = []
    products.use_exact(np.ones((64, 64), np.int8), None, taken.append, "some model")
    assert taken[0].__qualname__.startswith("float_product")


def test_where_no_product_is_exact_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(product: products.Product) -> None:
        raise RuntimeError("it does not give the reference's numbers here")

    with pytest.warns(RuntimeWarning, match="left aside"), pytest.raises(UnsupportedError, match="some model"):
        products.use_exact(np.ones((8, 8), np.int8), None, refuse, "some model")
