"""The entropy coder: symbols come back, and the bits are the ones that docs/format.md describes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import entropy
from volcomp.errors import DamagedError

TOTAL = 1 << entropy.TABLE_BITS


def some_tables(seed: int = 0, count: int = 12) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    tables = []
    for size in random.integers(2, 200, count):
        weights = random.exponential(1, size) ** 3
        counts = 1 + np.floor(weights / weights.sum() * (TOTAL - size)).astype(np.int64)
        counts[counts.argmax()] += TOTAL - counts.sum()
        tables.append(counts.astype(np.uint32))
    return tables


def encode(tables: entropy.Tables, table: np.ndarray, token: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Without any flags."""
    return entropy.encode(tables, np.zeros(table.size, np.uint8), np.zeros(table.size, bool), table, token, sizes)


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
    tables = entropy.Tables(counts)
    random = np.random.default_rng(seed)
    table = (entropy.FLAGS + random.integers(0, len(counts), sum(sizes))).astype(np.uint16)
    token = (random.integers(0, 1 << 30, table.size) % tables.sizes[table - entropy.FLAGS]).astype(np.uint16)
    words = encode(tables, table, token, np.array(sizes))
    decoder = entropy.Decoder(tables, words)
    taken = [decoder.take(part) for part in np.split(table, np.cumsum(sizes)[:-1])]
    decoder.finish()
    assert np.array_equal(np.concatenate(taken), token)


def test_the_bits_are_those_of_the_description() -> None:
    counts = some_tables()
    tables = entropy.Tables(counts)
    random = np.random.default_rng(1)
    table = np.sort(entropy.FLAGS + random.integers(0, len(counts), 400)).astype(np.uint16)  # as coded
    token = (random.integers(0, 1 << 30, 400) % tables.sizes[table - entropy.FLAGS]).astype(np.uint16)
    words = encode(tables, table, token, np.array([400]))
    assert ans_decode(words.tolist(), counts, (table - entropy.FLAGS).tolist()) == token.tolist()


def test_a_flat_region_costs_next_to_nothing() -> None:
    tables = entropy.Tables([np.array([TOTAL - 8, 1, 1, 1, 1, 1, 1, 1, 1])])
    token = np.zeros(1_000_000, np.uint16)
    token[123_456] = 3
    words = encode(tables, np.full(token.size, entropy.FLAGS, np.uint16), token, np.array([token.size]))
    assert 32 * words.size / token.size < 0.001


def test_flags_come_before_tokens() -> None:
    """Some voxels have a flag; where it says yes, there is no token."""
    tables = entropy.Tables(some_tables())
    random = np.random.default_rng(3)
    flag = random.choice([0, 1, 100, 255], 300).astype(np.uint8)
    settled = (flag > 0) & (random.random(300) < 0.5)
    table = np.full(300, entropy.FLAGS + 2, np.uint16)
    token = random.integers(0, tables.sizes[2], 300).astype(np.uint16)
    words = entropy.encode(tables, flag, settled, table, token, np.array([120, 0, 180]))
    decoder = entropy.Decoder(tables, words)
    for part in (slice(0, 120), slice(120, 300)):
        coded, rest = flag[part] > 0, ~settled[part]
        assert np.array_equal(decoder.take(flag[part][coded].astype(np.uint16)), settled[part][coded])
        assert np.array_equal(decoder.take(table[part][rest]), token[part][rest])
    decoder.finish()


def test_words_left_over_are_noticed() -> None:
    tables = entropy.Tables(some_tables())
    table, token = np.full(500, entropy.FLAGS, np.uint16), np.ones(500, np.uint16)
    words = encode(tables, table, token, np.array([500]))
    decoder = entropy.Decoder(tables, words)
    decoder.take(table[:400])
    with pytest.raises(DamagedError):
        decoder.finish()


def test_words_that_no_encoder_writes_are_refused() -> None:
    with pytest.raises(DamagedError):
        entropy.Decoder(entropy.Tables(some_tables()), np.array([5, 0], np.uint32))


@pytest.mark.parametrize("counts", [[TOTAL], [TOTAL, 0], [1, 2, 3]])
def test_bad_tables_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="table 0"):
        entropy.Tables([np.array(counts)])
