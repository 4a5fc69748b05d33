"""The entropy coder: symbols come back, and the bits are the ones that docs/format.md describes."""

from typing import Any

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import models
from volcomp.constants import TABLE_BITS
from volcomp.errors import DamagedError
from volcomp.pipelines.row.pipeline import ROW
from volcomp.stages import ans
from volcomp.stages.ans import Tables

TOTAL = 1 << TABLE_BITS


def some_tables(seed: int = 0, count: int = 12) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    tables = []
    for size in random.integers(2, 200, count):
        weights = random.exponential(1, size) ** 3
        counts = 1 + np.floor(weights / weights.sum() * (TOTAL - size)).astype(np.int64)
        counts[counts.argmax()] += TOTAL - counts.sum()
        tables.append(counts.astype(np.uint32))
    return tables


def encode(tables: ans.Tables, table: np.ndarray, token: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Without any flags."""
    return ans.encode(tables, np.zeros(table.size, np.uint8), np.zeros(table.size, bool), table, token, sizes)


def decode(tables: ans.Tables, words: np.ndarray, fronts: list[np.ndarray]) -> np.ndarray:
    """The tokens uint16 of fronts with the tables uint16 [v] each, which must be all that there is."""
    stream = ans.stream(tables, words, max(map(len, fronts)))
    tokens = [take(tables, stream, front) for front in fronts]
    ans.finish(stream)
    return np.concatenate(tokens)


def take(tables: ans.Tables, stream: ans.AnsStream, table: np.ndarray) -> np.ndarray:
    token = np.full(table.size, 12345, np.uint16)
    ans.pop(stream, tables.quantiles, table, token)
    return token


def of_constriction(counts: list[np.ndarray]) -> list[Any]:
    """Its models, by the numbers of tables; number 0 is no table."""
    flags = [ans.flag_counts(code) for code in range(1, ans.FLAGS)]
    everything = [*flags[:1], *flags, *counts]
    return [constriction.stream.model.Categorical(table / float(TOTAL), perfect=False) for table in everything]


def ans_decode(words: list[int], tables: list[np.ndarray], order: list[int]) -> list[int]:
    """The decoder of docs/format.md, in plain Python: 64 bits of state, 32-bit words, 24-bit probabilities."""
    state = 0
    while words and state < 1 << 32:
        state = state << 32 | words.pop()
    symbols = []
    for k in order:
        total, scale = 0.0, float((1 << 24) - len(tables[k]))
        edges = [0]
        for n, count in enumerate(tables[k].tolist()):
            total += count / TOTAL
            edges.append(int(total * scale) + n + 1)
        edges[-1] = 1 << 24
        low = state & ((1 << 24) - 1)
        symbol = int(np.searchsorted(edges, low, side="right")) - 1
        state = (state >> 24) * (edges[symbol + 1] - edges[symbol]) + low - edges[symbol]
        if state < 1 << 32 and words:
            state = state << 32 | words.pop()
        symbols.append(symbol)
    assert not words and state == 0
    return symbols


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_symbols_come_back_front_by_front(seed: int, sizes: list[int]) -> None:
    counts = some_tables(seed)
    tables = ans.Tables(counts)
    random = np.random.default_rng(seed)
    table = (ans.FLAGS + random.integers(0, len(counts), sum(sizes))).astype(np.uint16)
    token = (random.integers(0, 1 << 30, table.size) % tables.sizes[table - ans.FLAGS]).astype(np.uint16)
    words = encode(tables, table, token, np.array(sizes))
    assert np.array_equal(decode(tables, words, np.split(table, np.cumsum(sizes)[:-1])), token)


@given(
    st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1), max_size=40), st.integers(1, 400),
    st.sampled_from([0, 1, 2**32 - 1]),
)  # fmt: skip
def test_any_words_give_what_constriction_makes_of_them(seed: int, words: list[int], count: int, last: int) -> None:
    """Words of no encoder, too: the same symbols, for ever so many of them, or the same refusal."""
    counts = some_tables(seed, 5)
    tables, stack = ans.Tables(counts), np.array([*words, last], np.uint32)
    table = np.sort(np.random.default_rng(seed).integers(1, ans.FLAGS + len(counts), count)).astype(np.uint16)
    try:
        coder = constriction.stream.stack.AnsCoder(stack)
    except ValueError:
        with pytest.raises(DamagedError):
            ans.stream(tables, stack, count)
        return
    stream, known = ans.stream(tables, stack, count), of_constriction(counts)
    expected = [coder.decode(known[k]) for k in table.tolist()]
    assert take(tables, stream, table).tolist() == expected
    if coder.is_empty():
        ans.finish(stream)
    else:
        with pytest.raises(DamagedError, match="more than its voxels"):
            ans.finish(stream)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 90), min_size=1, max_size=8).filter(any))
def test_what_is_written_is_what_constriction_writes(seed: int, sizes: list[int]) -> None:
    """Front by front flags and then tokens, by table; in reverse, as it is a stack."""
    counts = some_tables(seed, 5)
    tables, known = ans.Tables(counts), of_constriction(counts)
    random = np.random.default_rng(seed)
    flag = random.choice([0, 0, 1, 130, 255], sum(sizes)).astype(np.uint8)
    settled = (flag > 0) & (random.random(flag.size) < 0.5)
    table = (ans.FLAGS + random.integers(0, len(counts), flag.size)).astype(np.uint16)
    token = (random.integers(0, 1 << 30, flag.size) % tables.sizes[table - ans.FLAGS]).astype(np.uint16)
    pushed: list[tuple[int, int]] = []
    for voxels in np.split(np.arange(flag.size), np.cumsum(sizes)[:-1]):
        for numbers, symbols, coded in ((flag, settled, flag > 0), (table, token, ~settled)):
            taken = voxels[coded[voxels]]
            taken = taken[numbers[taken].argsort(kind="stable")]
            pushed += zip(numbers[taken].tolist(), symbols[taken].tolist(), strict=True)
    coder = constriction.stream.stack.AnsCoder()
    for k, symbol in reversed(pushed):
        coder.encode_reverse(np.array([symbol], np.int32), known[k])
    words = ans.encode(tables, flag, settled, table, token, np.array(sizes))
    assert np.array_equal(words, coder.get_compressed())


def test_no_words_are_the_code_of_nothing() -> None:
    tables = ans.Tables(some_tables())
    ans.finish(ans.stream(tables, np.empty(0, np.uint32), 0))


@pytest.mark.parametrize(
    "number", [number for number, model in sorted(models.RELEASED.items()) if model.pipeline == "row"]
)
def test_the_quantiles_of_released_models_begin_with_their_counts(number: int) -> None:
    """In floating point, as the library makes them of counts; and no search begins beyond its symbol."""
    tables = Tables(ROW.load(models.RELEASED[number]).tables())
    first, edges, lookup = tables.quantiles
    for k, counts in enumerate(ROW.load(models.RELEASED[number]).tables(), ans.FLAGS):
        scale = float((1 << ans.PRECISION) - len(counts))
        below = np.concatenate([[0.0], np.cumsum(counts / TOTAL)[:-1]])
        mine = edges[first[k] : first[k] + len(counts) + 1].astype(np.int64)
        assert np.array_equal(mine[:-1], (below * scale).astype(np.int64) + np.arange(len(counts)))
        assert mine[-1] == 1 << ans.PRECISION and (np.diff(mine) > 0).all()
        assert (mine[lookup[k]] <= np.arange(1 << ans.LOOKUP_BITS) << 14).all()


def test_the_bits_are_those_of_the_description() -> None:
    counts = some_tables()
    tables = ans.Tables(counts)
    random = np.random.default_rng(1)
    table = np.sort(ans.FLAGS + random.integers(0, len(counts), 400)).astype(np.uint16)  # as coded
    token = (random.integers(0, 1 << 30, 400) % tables.sizes[table - ans.FLAGS]).astype(np.uint16)
    words = encode(tables, table, token, np.array([400]))
    assert ans_decode(words.tolist(), counts, (table - ans.FLAGS).tolist()) == token.tolist()


def test_a_flat_region_costs_next_to_nothing() -> None:
    tables = ans.Tables([np.array([TOTAL - 8, 1, 1, 1, 1, 1, 1, 1, 1])])
    token = np.zeros(1_000_000, np.uint16)
    token[123_456] = 3
    words = encode(tables, np.full(token.size, ans.FLAGS, np.uint16), token, np.array([token.size]))
    assert 32 * words.size / token.size < 0.001


def test_flags_come_before_tokens() -> None:
    """Some voxels have a flag; where it says yes, there is no token."""
    tables = ans.Tables(some_tables())
    random = np.random.default_rng(3)
    flag = random.choice([0, 1, 100, 255], 300).astype(np.uint8)
    settled = (flag > 0) & (random.random(300) < 0.5)
    table = np.full(300, ans.FLAGS + 2, np.uint16)
    token = random.integers(0, tables.sizes[2], 300).astype(np.uint16)
    words = ans.encode(tables, flag, settled, table, token, np.array([120, 0, 180]))
    stream = ans.stream(tables, words, 180)
    for part in (slice(0, 120), slice(120, 300)):
        flagged = take(tables, stream, flag[part].astype(np.uint16))
        assert np.array_equal(flagged, np.where(flag[part] > 0, settled[part], 12345)), "table 0 has no symbol"
        tokens = take(tables, stream, np.where(settled[part], 0, table[part]).astype(np.uint16))
        assert np.array_equal(tokens, np.where(settled[part], 12345, token[part]))
    ans.finish(stream)


def test_words_left_over_are_noticed() -> None:
    tables = ans.Tables(some_tables())
    table, token = np.full(500, ans.FLAGS, np.uint16), np.ones(500, np.uint16)
    words = encode(tables, table, token, np.array([500]))
    stream = ans.stream(tables, words, 400)
    take(tables, stream, table[:400])
    with pytest.raises(DamagedError):
        ans.finish(stream)


def test_words_that_no_encoder_writes_are_refused() -> None:
    with pytest.raises(DamagedError):
        ans.stream(ans.Tables(some_tables()), np.array([5, 0], np.uint32), 1)


@pytest.mark.parametrize("counts", [[TOTAL], [TOTAL, 0], [1, 2, 3]])
def test_bad_tables_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="table 0"):
        ans.Tables([np.array(counts)])
