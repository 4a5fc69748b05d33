"""The coder with factors: voxels come back, and where all factors are 1 it writes what constriction does."""

import constriction
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volcomp import models
from volcomp.constants import CLASSES, TABLE_BITS
from volcomp.pipelines.row.pipeline import ROW
from volcomp.stages import ans, ans_by_voxel, level_factors, near_factors, symbols
from volcomp.stages.ans import Tables

TABLES = Tables(ROW.load(models.chosen("fast")).tables())


def restored(
    words: np.ndarray, bits: np.ndarray, blocks: level_factors.LevelFactors, voxels: symbols.Voxels, flag: np.ndarray,
    sizes: list[int], limit: int,
) -> np.ndarray | None:  # fmt: skip
    """All fronts, from all but the voxels that are not settled; None where a voxel cannot be."""
    raw, weighing = symbols.RawBits(bits, limit, limit.bit_length()), level_factors.weighing(TABLES, blocks)
    spike = int(voxels.voxel[voxels.settled][0]) if voxels.settled.any() else 0
    stream, position, out, begin = ans.stream(TABLES, words, max(sizes)), 0, [], 0
    for size in sizes:
        part = slice(begin, begin + size)
        begin += size
        token, voxel = np.zeros(size, np.uint16), np.full(size, spike, np.int32)
        ans.pop(stream, TABLES.quantiles, flag[part].astype(np.uint16), token)
        front = symbols.Voxels(voxel, voxels.mean[part], voxels.classes[part], token == 1)
        position = ans_by_voxel.pop(front, stream, weighing, near_factors.without(weighing), raw, position)
        if position < 0:
            return None
        out.append(voxel)
    ans.finish(stream)
    assert -(-position // 8) == bits.size
    return np.concatenate(out)


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.lists(st.integers(1, 90), min_size=1, max_size=6))
def test_voxels_come_back(seed: int, limit: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    n = sum(sizes)
    classes = random.integers(0, CLASSES, n).astype(np.uint8)
    mean = random.integers(0, 16 * limit + 1, n).astype(np.int32)
    near = mean / 16 + random.standard_t(1, n) * 2.0 ** (classes / 4 - 6)
    voxel = np.where(random.random(n) < 0.9, near, random.integers(0, limit + 1, n)).clip(0, limit).astype(np.int32)
    flag = np.where(random.random(n) < 0.4, random.integers(1, 256, n), 0).astype(np.uint8)
    voxels = symbols.Voxels(voxel, mean, classes, (flag > 0) & (voxel == voxel[0]))
    blocks = level_factors.of_exponents(random.integers(level_factors.LOWEST, level_factors.HIGHEST + 1, limit + 1))
    weighing = level_factors.weighing(TABLES, blocks)
    words, raw = ans_by_voxel.encode(voxels, flag, np.array(sizes), TABLES, weighing, limit.bit_length())
    back = restored(words, raw, blocks, voxels, flag, sizes, limit)
    assert back is not None and np.array_equal(back, voxel)


def test_with_factors_of_one_it_is_constriction() -> None:
    random = np.random.default_rng(0)
    n, limit = 3000, 60_000
    classes = random.integers(0, 40, n).astype(np.uint8)  # of one level a token
    mean = random.integers(16 * 20_000, 16 * 40_000, n).astype(np.int32)
    voxel = np.rint(mean / 16 + random.logistic(0, 1, n) * 2.0 ** (classes / 4 - 6)).astype(np.int32)
    none = np.zeros(n, np.uint8)
    blocks = level_factors.of_exponents(np.zeros(limit + 1, np.int64))
    voxels, weighing = symbols.Voxels(voxel, mean, classes, none > 0), level_factors.weighing(TABLES, blocks)
    words, raw = ans_by_voxel.encode(voxels, none, np.array([n]), TABLES, weighing, 16)
    assert raw.size == 0
    table, token = np.empty(n, np.uint16), np.empty(n, np.uint16)
    symbols.to_symbols(voxels, table, token)
    coder = constriction.stream.stack.AnsCoder()
    for v in range(n - 1, -1, -1):
        mirrored = symbols.place.py_func(int(mean[v]), int(classes[v]))[1] < 0
        reach = int(symbols.REACH[classes[v]])
        counts = np.append(TABLES.ordered[table[v], int(mirrored), : 2 * reach], TABLES.escape[table[v]])
        symbol = 2 * reach - 1 - int(token[v]) if mirrored else int(token[v])
        model = constriction.stream.model.Categorical(counts / float(1 << TABLE_BITS), perfect=False)
        coder.encode_reverse(np.array([symbol], np.int32), model)
    assert np.array_equal(words, coder.get_compressed())


def test_a_voxel_costs_what_its_factors_say() -> None:
    """Every fourth level 64 times as likely as the others: two bits less than without, for those that are."""
    random = np.random.default_rng(0)
    n, limit = 20_000, 4000
    mean = random.integers(16 * 1000, 16 * 3000, n).astype(np.int32)
    voxel = (np.rint(mean / 16 + random.logistic(0, 20, n)).astype(np.int32) // 4 * 4).clip(0, limit)
    exponents = np.where(np.arange(limit + 1) % 4 == 0, 0, -48)
    none, sizes = np.zeros(n, np.uint8), np.array([n])
    for c in (37, 41, 45):  # 0, 1 and 2 low bits
        voxels = symbols.Voxels(voxel, mean, np.full(n, c, np.uint8), none > 0)
        with_them, without = (
            ans_by_voxel.encode(voxels, none, sizes, TABLES, level_factors.weighing(TABLES, factors), 12)[0]
            for factors in map(level_factors.of_exponents, (exponents, np.zeros(limit + 1, np.int64)))
        )
        saved = 32 * (without.size - with_them.size) / n
        assert abs(saved - (2 - np.log2(1 + 3 / 64))) < 0.02


def test_an_escape_without_its_rank_is_refused() -> None:
    limit, sizes = 50_000, [8]
    voxel, mean = np.full(8, 49_000, np.int32), np.full(8, 16 * 300, np.int32)
    classes, none = np.full(8, 30, np.uint8), np.zeros(8, np.uint8)
    blocks = level_factors.of_exponents(np.zeros(limit + 1, np.int64))
    voxels, weighing = symbols.Voxels(voxel, mean, classes, none > 0), level_factors.weighing(TABLES, blocks)
    words, raw = ans_by_voxel.encode(voxels, none, np.array(sizes), TABLES, weighing, 16)
    assert raw.size == 16
    back = restored(words, raw, blocks, voxels, none, sizes, limit)
    assert back is not None and np.array_equal(back, voxel)
    assert restored(words, raw[:-1], blocks, voxels, none, sizes, limit) is None


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1), max_size=60), st.integers(0, 9000))
def test_any_words_give_voxels_that_exist_or_none(seed: int, words: list[int], limit: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, CLASSES, 200).astype(np.uint8)
    mean = random.integers(0, 16 * limit + 1, 200).astype(np.int32)
    blocks = level_factors.of_exponents(random.integers(level_factors.LOWEST, level_factors.HIGHEST + 1, limit + 1))
    stream = ans.stream(TABLES, np.array([*words, 1], np.uint32), 200)
    voxel, raw = np.zeros(200, np.int32), random.integers(0, 256, 40).astype(np.uint8)
    front, weighing = symbols.Voxels(voxel, mean, classes, np.zeros(200, bool)), level_factors.weighing(TABLES, blocks)
    none = near_factors.without(weighing)
    position = ans_by_voxel.pop(front, stream, weighing, none, symbols.RawBits(raw, limit, limit.bit_length()), 0)
    assert -1 <= position <= 8 * raw.size
    assert voxel.min() >= 0 and voxel.max() <= limit
