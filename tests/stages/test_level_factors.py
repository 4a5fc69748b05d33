"""Factors of grey levels: as bytes, as blocks, and when the encoder states them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volcomp
from tests.codec.test_codec import decode
from volcomp import models
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.constants import CLASSES
from volcomp.errors import DamagedError
from volcomp.options import EncodeOptions
from volcomp.pipelines.row.pipeline import ROW
from volcomp.stages import level_factors, symbols
from volcomp.stages.ans import Tables
from volcomp.wire import rice
from volcomp.wire.cursor import varint

TABLES = Tables(ROW.load(models.chosen("base")).tables())


@given(st.lists(st.integers(level_factors.LOWEST, level_factors.HIGHEST), min_size=1, max_size=60), st.integers(0, 40))
def test_exponents_come_back(listed: list[int], zeros: int) -> None:
    exponents = np.array(listed + [0] * zeros, np.int64)
    data = level_factors.to_bytes(exponents)
    assert np.array_equal(level_factors.from_bytes(data, exponents.size - 1), exponents)


def test_a_comb_is_cheap_to_state() -> None:
    comb = np.tile([4, -30, 5], 400)
    assert len(level_factors.to_bytes(comb)) < comb.size / 8 + 20, (
        "a bit for every level that is as one a period before"
    )
    assert len(level_factors.to_bytes(np.zeros(5000, np.int64))) <= 3


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" + varint(1) + rice.encode(np.array([1])), b"\x11" + varint(1) + rice.encode(np.array([1])),
        b"\1" + varint(11) + rice.encode(np.zeros(11)), b"\1" + varint(9) + b"\0",
        b"\1" + varint(2) + rice.encode(np.array([20, 12])), b"\1" + varint(1) + rice.encode(np.array([-65])),
    ],
)  # fmt: skip
def test_what_no_encoder_states_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        level_factors.from_bytes(data, 9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 600))
def test_blocks_are_means_of_the_factors(seed: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    exponents = random.integers(level_factors.LOWEST, level_factors.HIGHEST + 1, limit + 1)
    blocks = level_factors.of_exponents(exponents)
    ideal = level_factors.UNIT * 2.0 ** (exponents / 8)
    factors = blocks.means[level_factors.PAD :][: limit + 1].astype(float)  # those of one level each, by level
    assert (np.abs(factors - ideal) <= 0.01 * ideal + 1).all() and factors.min() >= 1 and factors.max() < 1 << 12
    assert np.array_equal(np.diff(blocks.sums), factors)
    for c in random.integers(0, CLASSES, 20).tolist():
        low, reach = int(symbols.LOW_BITS[c]), int(symbols.REACH[c])
        mean = int(random.integers(0, 16 * limit + 1))
        begin, at, *_ = level_factors.weigh.py_func(mean, c, level_factors.weighing(TABLES, blocks))
        for token in random.integers(0, 2 * reach, 5).tolist():
            first = begin + ((token - reach) << low)
            within = factors[max(first, 0) : max(first + (1 << low), 0)]
            assert blocks.means[at + token] == int(within.sum()) >> low


def survey(limit: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of 200,000 voxels, what they are if nothing is wrong with their densities, and their classes."""
    random = np.random.default_rng(seed)
    mean = random.integers(16 * limit // 4, 16 * limit * 3 // 4, 200_000).astype(np.int32)
    # A logistic of that scale, in sixteenths of a level; which class the tables of `base` have it in is found below.
    voxel = np.rint((mean + 16 * random.logistic(0, noise, mean.size)) / 16).clip(0, limit).astype(np.int32)
    prices = []
    for c in range(20, 60):
        out = np.empty(voxel.size, np.float32)
        voxels = symbols.Voxels(voxel, mean, np.full(voxel.size, c, np.uint8), np.zeros(voxel.size, bool))
        symbols.prices(voxels, TABLES.code_length, limit.bit_length(), out)
        prices.append(out.mean())
    return voxel, mean, np.full(voxel.size, 20 + int(np.argmin(prices)), np.uint8)


def find(voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, limit: int, share: float) -> np.ndarray | None:
    voxels = symbols.Voxels(voxel, mean, classes, np.zeros(voxel.size, bool))
    return level_factors.find(voxels, TABLES, limit, share)


def test_no_factors_where_the_densities_are_right() -> None:
    assert find(*survey(4000, 9.0), 4000, 1 / 1024) is None


def test_a_comb_is_found_as_strong_as_it_is() -> None:
    voxel, mean, classes = survey(800, 9.0)
    voxel = np.where(np.random.default_rng(1).random(voxel.size) < 0.9, voxel & ~1, voxel)  # 95 of 100 are even
    exponents = find(voxel, mean, classes, 800, 1 / 1024)
    assert exponents is not None
    even, odd = exponents[300:500:2].mean(), exponents[301:500:2].mean()
    assert abs((even - odd) / 8 - np.log2(95 / 5)) < 0.2
    assert find(voxel, mean, classes, 800, 0.9) is None, "not worth while, if nine tenths must be saved"


def test_no_exponent_that_does_not_pay() -> None:
    voxel, mean, classes = survey(4000, 9.0)
    # Level 2900 stands for its neighbours, which is worth coming to; what chance makes of those before is not.
    often = find(np.where(abs(voxel - 2900) < 20, 2900, voxel), mean, classes, 4000, -1)
    assert often is not None and often[2900] > 20 and np.count_nonzero(often) < 100
    # Nor is level 2900 where nine in ten of its voxels are there, if a comb that pays ends at 1200.
    low = np.where(voxel < 1200, voxel | 1, voxel)
    rarer = np.where((low == 2900) & (np.random.default_rng(3).random(voxel.size) < 0.1), 2901, low)
    exponents = find(rarer, mean, classes, 4000, 1e-9)
    assert exponents is not None and exponents[1101] > exponents[1100] and not exponents[1300:].any()


def test_the_list_must_pay_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_factors, "COST", -1e9)
    monkeypatch.setattr(level_factors, "LISTED", -1e9)
    voxel, mean, classes = (array[:4100] for array in survey(4000, 9.0))
    assert find(voxel, mean, classes, 4000, 0.0) is None, "a thousand exponents by chance fit these voxels well"


def test_nothing_is_spent_beyond_the_levels_that_there_are() -> None:
    """Means of 0: half of every density lies below, which is a bit a voxel, and next to nothing is stated."""
    voxel, mean, classes = survey(4000, 9.0)
    above = np.abs(voxel - np.rint(mean / 16)).astype(np.int32)
    exponents = find(above, np.zeros_like(mean), classes, 4000, 1 / 8)
    assert exponents is not None and not exponents[40:].any()


@pytest.mark.parametrize("model", ["fast", "base"])
def test_a_series_with_a_comb_is_smaller(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    z, y, x = np.indices((8, 64, 64))
    voxels = 2 * np.rint(300 + 40 * np.sin(x / 9) + 30 * np.cos(y / 7 + z) + random.normal(0, 6, z.shape)).astype("u2")
    voxels += random.random(z.shape) < 0.1
    header, payloads = encode(voxels, EncodeOptions(model))
    assert np.array_equal(decode(header, payloads), voxels)
    monkeypatch.setattr(level_factors, "find", lambda *_: None)
    without = encode(voxels, EncodeOptions(model))
    assert np.array_equal(decode(*without), voxels)
    assert len(payloads[0]) < 0.95 * len(without[1][0])


def test_a_damaged_list_is_refused_with_a_sentence() -> None:
    random = np.random.default_rng(2)
    voxels = (2 * random.integers(400, 430, (3, 40, 40)) + (random.random((3, 40, 40)) < 0.1)).astype("u2")
    header, (payload,) = encode(voxels, EncodeOptions("fast"))
    at = payload.index(b"\xff", 8)
    for k in range(at, at + 40):
        hurt = payload[:k] + bytes([payload[k] ^ 0x55]) + payload[k + 1 :]
        ((_, back),) = decode_slabs(header, {0: hurt})
        assert isinstance(back, DamagedError) or np.array_equal(back, voxels)


def test_other_threads_write_the_same() -> None:
    random = np.random.default_rng(5)
    voxels = (2 * random.integers(400, 430, (60, 24, 24)) + (random.random((60, 24, 24)) < 0.1)).astype("u2")
    one, four = (volcomp.compress(voxels, model="fast", threads=n) for n in (1, 4))
    assert one == four
