"""Filters of PNG equal the standard's text, and what is kept of an encoder's choice gives it again."""

import numpy as np
import pytest

from volcomp.errors import DamagedError
from volcomp.streams import png_filters
from volcomp.streams.png_filters import CONCENTRATED, LEAST, LEAST_WITHOUT_AVERAGE, chosen, filtered, kept, unfiltered

RNG = np.random.default_rng(7)


def smooth(rows=40, width=180):
    return (np.cumsum(RNG.integers(-3, 4, (rows, width)), 1) + 8 * np.arange(rows)[:, None]).astype(np.uint8)


def of_the_standard(raw, y, i, step, kind):
    """Predict a byte as clauses 9.2 to 9.4 say."""
    a = int(raw[y, i - step]) if i >= step else 0
    b = int(raw[y - 1, i]) if y else 0
    c = int(raw[y - 1, i - step]) if y and i >= step else 0
    p = a + b - c
    paeth = min((a, b, c), key=lambda value: abs(p - value))  # ties: a, then b, then c
    return (0, a, b, (a + b) // 2, paeth)[kind]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 8])
def test_rows_are_filtered_as_the_standard_says(step):
    raw = RNG.integers(0, 256, (15, 6 * step), dtype=np.uint8)
    raw[5:9] = smooth(4, 6 * step)
    kinds = np.arange(15, dtype=np.uint8) % 5
    rows = filtered(raw, kinds, step)
    for y in range(15):
        expected = [(int(raw[y, i]) - of_the_standard(raw, y, i, step, kinds[y])) % 256 for i in range(6 * step)]
        assert rows[y].tolist() == [kinds[y], *expected]
    again, found = unfiltered(rows, step)
    assert (again == raw).all() and (found == kinds).all()


def test_a_filter_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="PNG does not have"):
        unfiltered(np.full((2, 3), 5, np.uint8), 1)


def by_rule(raw, step, rule):
    """Choose filters as encoders do, one row and filter after another."""
    kinds = []
    for y in range(len(raw)):
        costs = {}
        for kind in (0, 2, 1, 4) if rule == LEAST_WITHOUT_AVERAGE else range(5):
            row = [(int(raw[y, i]) - of_the_standard(raw, y, i, step, kind)) % 256 for i in range(raw.shape[1])]
            if rule == CONCENTRATED:
                counts = np.unique([kind, *row], return_counts=True)[1].tolist()
                floors = [n.bit_length() - 1 for n in counts]
                costs[kind] = -sum(n * f + 2 * (n - (1 << f)) for n, f in zip(counts, floors, strict=True))
            else:
                costs[kind] = sum(min(v, 256 - v) for v in row)
        kinds.append(min(costs, key=costs.__getitem__))
    return np.array(kinds, np.uint8)


@pytest.mark.parametrize("rule", [LEAST, LEAST_WITHOUT_AVERAGE, CONCENTRATED])
@pytest.mark.parametrize("step", [1, 4])
def test_the_rules_cost_a_byte(rule, step):
    raw = smooth()
    raw[10:20] = 7  # rows for which several filters are equally good
    raw[20:25] = RNG.integers(0, 256, raw[20:25].shape)
    raw[25:35] = np.random.default_rng(3).integers(100, 130, raw[25:35].shape)  # where the average predicts best
    kinds = by_rule(raw, step, rule)
    side = kept(raw, kinds, step)
    assert side == bytes([rule])
    assert (chosen(raw, side, step) == kinds).all()


@pytest.mark.parametrize("kind", range(5))
def test_one_filter_for_all_rows_costs_a_byte(kind):
    raw, kinds = smooth(), np.full(40, kind, np.uint8)
    assert kept(raw, kinds, 1) == bytes([kind])
    assert (chosen(raw, bytes([kind]), 1) == kinds).all()


def test_exceptions_are_listed_where_they_are_few_and_packed_where_many():
    raw = smooth()
    kinds = by_rule(raw, 1, LEAST)
    for rows in (1, 4):
        kinds[[3, 17, 18, 39][:rows]] = (kinds[[3, 17, 18, 39][:rows]] + 1) % 5
        side = kept(raw, kinds, 1)
        assert side[0] == LEAST and len(side) == 3 + 2 * rows
        assert (chosen(raw, side, 1) == kinds).all()
    kinds = RNG.integers(0, 5, 40).astype(np.uint8)
    side = kept(raw, kinds, 1)
    assert len(side) == 2 + 14 and (chosen(raw, side, 1) == kinds).all()


def test_damage_is_an_error_of_its_own():
    raw = smooth()
    listed = kept(raw, np.where(np.arange(40) == 9, 0, by_rule(raw, 1, LEAST)).astype(np.uint8), 1)
    packed = kept(raw, RNG.integers(0, 5, 40).astype(np.uint8), 1)
    bad = [
        b"", bytes([png_filters.RULES]), bytes([LEAST, 2]), listed + b"\0", packed + b"\0", packed[:-1],
        bytes([LEAST, 0, 1, 0, 5]), bytes([LEAST, 0, 1, 40, 0]), bytes([LEAST, 0, 41]),
        bytes([LEAST, 1]) + bytes([125] * 14),
    ]  # fmt: skip
    bad += [listed[:n] for n in range(2, len(listed))]
    for side in bad:
        with pytest.raises(DamagedError):
            chosen(raw, side, 1)
