"""The arithmetic coder: bits come back, and cost what their probabilities say."""

from __future__ import annotations

import numpy as np
import pytest

from volcomp.lossy import coder
from volcomp.runtime.compiled import entry


@entry
def _put_all(state: np.ndarray, out: np.ndarray, bits: np.ndarray, probabilities: np.ndarray) -> None:
    for i in range(bits.shape[0]):
        coder.put(state, out, bits[i], probabilities[i])


@entry
def _get_all(state: np.ndarray, data: np.ndarray, probabilities: np.ndarray, bits: np.ndarray) -> None:
    for i in range(bits.shape[0]):
        bits[i] = coder.get(state, data, probabilities[i])


def _written(bits: np.ndarray, probabilities: np.ndarray, room: int) -> tuple[int, np.ndarray]:
    state, out = coder.encoder(), np.zeros(room, np.uint8)
    _put_all(state, out, bits, probabilities)
    return coder.finish(state, out), out


@pytest.mark.parametrize("seed", range(40))
def test_bits_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 3000))
    skew = rng.choice([0.02, 1.0, 30.0])
    probabilities = np.clip(65536 * rng.beta(skew, skew, count), 1, 65535).astype(np.int64)
    bits = (65536 * rng.random(count) < probabilities).astype(np.int64)
    size, out = _written(bits, probabilities, 4000)
    ideal = -np.log2(np.where(bits, probabilities, 65536 - probabilities) / 65536).sum() / 8
    assert size <= ideal + 1.01 and (size == 0 or out[size - 1] != 0)
    back = np.zeros_like(bits)
    _get_all(coder.decoder(out[:size]), out[:size], probabilities, back)
    assert np.array_equal(back, bits)


def test_carries_go_back_through_bytes_of_255() -> None:
    """Rare zeros after long runs of likely zeros put low next to the window's end, again and again."""
    rng = np.random.default_rng(5)
    probabilities = rng.choice([1, 65535, 32768], 60000).astype(np.int64)
    bits = (probabilities < 60000).astype(np.int64) & rng.integers(0, 2, 60000)
    size, out = _written(bits, probabilities, 100_000)
    back = np.zeros_like(bits)
    _get_all(coder.decoder(out[:size]), out[:size], probabilities, back)
    assert np.array_equal(back, bits)


def test_more_than_fits_is_counted_and_not_written() -> None:
    bits, probabilities = np.random.default_rng(0).integers(0, 2, 4000), np.full(4000, 32768)
    size, out = _written(bits, probabilities, 100)
    full, all_of_it = _written(bits, probabilities, 600)
    assert size == full and np.array_equal(out[:99], all_of_it[:99])
