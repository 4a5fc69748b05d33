"""Golomb–Rice lists and zigzag."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp.errors import DamagedError
from volcomp.wire import rice, zigzag


@given(st.lists(st.integers(-(1 << 62), (1 << 62) - 1), max_size=80))
def test_zigzag_round_trip(values: list[int]) -> None:
    """Integers of Python and arrays alike."""
    folded = zigzag.encode(np.array(values, np.int64))
    assert folded.tolist() == [zigzag.encode(n) for n in values] == [2 * n if n >= 0 else -2 * n - 1 for n in values]
    assert zigzag.decode(folded).tolist() == [zigzag.decode(n) for n in folded.tolist()] == values


@given(st.lists(st.integers(-70000, 70000), max_size=80))
def test_rice_comes_back(values: list[int]) -> None:
    assert rice.decode(rice.encode(np.array(values, np.int64)), len(values)).tolist() == values


def test_rice_is_short_for_small_numbers() -> None:
    assert len(rice.encode(np.zeros(80, np.int64))) == 11, "a byte for k, a bit for each zero"


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=40), st.data())
def test_a_list_cut_short_is_noticed(values: list[int], data: st.DataObject) -> None:
    """The last byte may be padding alone; without one more, some code must be incomplete."""
    coded = rice.encode(np.array(values))
    keep = data.draw(st.integers(0, len(coded) - 1))
    with pytest.raises(DamagedError):
        rice.decode(coded[:keep], len(values))


def test_lying_counts_allocate_nothing() -> None:
    with pytest.raises(DamagedError):
        rice.decode(b"\x00\x00", 1 << 60)
