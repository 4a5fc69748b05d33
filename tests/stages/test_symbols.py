"""Voxel <-> symbol: every voxel comes back, from any mean and class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volcomp.constants import CLASSES
from volcomp.stages import symbols


def both_ways(voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    bits, none = limit.bit_length(), np.zeros(voxel.size, bool)
    table, token = np.empty(voxel.size, np.uint16), np.empty(voxel.size, np.uint16)
    voxels = symbols.Voxels(voxel, mean, classes, none)
    symbols.to_symbols(voxels, table, token)
    size = symbols.raw_bits(voxels, token, bits, np.empty(0, np.uint8))
    raw = np.zeros(-(-size // 8), np.uint8)
    symbols.raw_bits(voxels, token, bits, raw)
    located, back = np.empty_like(table), np.empty_like(voxel)
    symbols.locate(mean, classes, located)
    assert np.array_equal(located, table), "the decoder must find the table without the voxel"
    assert symbols.to_voxels(voxels._replace(voxel=back), token, symbols.RawBits(raw, limit, bits), 0) == size
    return token, back


@given(st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_voxels_come_back(limit: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    voxel = random.integers(0, limit + 1, 300).astype(np.int32)
    near = np.clip(16 * voxel + random.normal(0, 40, 300), 0, 16 * limit)
    mean = np.where(random.random(300) < 0.8, near, random.integers(0, 16 * limit + 1, 300)).astype(np.int32)
    classes = random.integers(0, CLASSES, 300).astype(np.uint8)
    _, back = both_ways(voxel, mean, classes, limit)
    assert np.array_equal(back, voxel)


def test_tokens_stay_in_their_alphabets() -> None:
    random = np.random.default_rng(3)
    voxel = random.integers(0, 4096, 5000).astype(np.int32)
    mean = random.integers(0, 16 * 4095, 5000).astype(np.int32)
    classes = random.integers(0, CLASSES, 5000).astype(np.uint8)
    token, _ = both_ways(voxel, mean, classes, 4095)
    assert (token <= 2 * symbols.REACH[classes]).all() and (token == 2 * symbols.REACH[classes]).any()


def test_mirror_images_share_a_table() -> None:
    """A mean a quarter above a grey level and one a quarter below it, with voxels one above and one below it."""
    mean = np.array([16 * 50 + 4, 16 * 50 - 4], np.int32)
    voxel = np.array([51, 49], np.int32)
    table, token = np.empty(2, np.uint16), np.empty(2, np.uint16)
    for c in range(12):
        symbols.to_symbols(symbols.Voxels(voxel, mean, np.full(2, c, np.uint8), np.zeros(2, bool)), table, token)
        assert table[0] == table[1]
        assert token[0] == token[1]


def test_every_table_belongs_to_one_class_and_shift() -> None:
    tables = set()
    for c in range(CLASSES):
        mean = np.arange(16 * 10, 16 * 11, dtype=np.int32)
        table = np.empty(mean.size, np.uint16)
        symbols.locate(mean, np.full(mean.size, c, np.uint8), table)
        assert (symbols.CLASS_OF_TABLE[table] == c).all()
        tables |= set(table.tolist())
    assert tables == set(range(symbols.TABLES))


def test_the_integers_are_what_they_stand_for() -> None:
    scale = 2.0 ** np.array([symbols.class_log_scale(c) for c in range(CLASSES)])
    assert ((scale >= 0.5) <= (0.5 * scale >= 1 / symbols.SHIFTS)).all(), "no step between shifts over half a scale"
    in_tokens = scale / 2.0**symbols.LOW_BITS
    assert ((symbols.LOW_BITS == 0) | ((in_tokens >= 8) & (in_tokens < 16))).all()
    assert (np.ceil(3 + 14 * in_tokens) == symbols.REACH).all()


def test_what_cannot_be_is_refused() -> None:
    mean, classes, token = np.array([0], np.int32), np.array([70], np.uint8), np.array([0], np.uint16)
    none, raw, voxel = np.zeros(1, bool), np.zeros(8, np.uint8), np.empty(1, np.int32)
    voxels = symbols.Voxels(voxel, mean, classes, none)
    assert symbols.to_voxels(voxels, token, symbols.RawBits(raw, 4095, 12), 0) == -1, "a voxel below 0"
    assert symbols.to_voxels(voxels, token, symbols.RawBits(raw[:0], 4095, 12), 0) == -1, "no raw bits left"


def test_corrections_find_a_wrong_scale() -> None:
    """Voxels that are four times as wide as their class says are coded eight quarter octaves up."""
    random = np.random.default_rng(5)
    mean = np.full(20000, 16 * 500, np.int32)
    voxel = np.clip(500 + random.logistic(0, 8, 20000), 0, 1000).astype(np.int32)
    length = np.full((symbols.TABLES, 500), 99, np.float32)
    for k in range(symbols.TABLES):
        c = symbols.CLASS_OF_TABLE[k]
        scale, reach = 2.0 ** symbols.class_log_scale(int(c)) / 2.0 ** symbols.LOW_BITS[c], symbols.REACH[c]
        x = np.arange(-reach, reach + 1) / scale
        p = 1 / (scale * np.cosh(x / 2) ** 2 * 4)
        length[k, : p.size] = -np.log2(p / p.sum())
    right = int(np.argmin([abs(symbols.class_log_scale(c) - 3) for c in range(CLASSES)]))
    for wrong in (right - 6, right, right + 6):
        voxels = symbols.Voxels(voxel, mean, np.full(20000, wrong, np.uint8), np.zeros(20000, bool))
        steps = symbols.correct(voxels, length, 10)
        assert abs(wrong + steps[wrong] - right) <= 1
        assert not np.delete(steps, wrong).any(), "classes that do not occur are left alone"
