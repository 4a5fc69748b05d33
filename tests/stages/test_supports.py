"""Supports: what the named ones hold, and runs to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.test_linear import CORE_RUNS
from volcomp.errors import DamagedError
from volcomp.stages import supports
from volcomp.wire.cursor import Cursor

RUNS = st.tuples(st.integers(-7, 0), st.integers(-7, 7), st.integers(-8, 7)).filter(supports.voxels_of)


def read(data: bytes) -> supports.Support:
    reader = Cursor(data, "a test")
    support = supports.from_bytes(supports.CHOSEN, reader)
    reader.end()
    return support


def test_sizes_of_the_named_ones() -> None:
    named = [supports.named(name) for name in supports.DISCS]
    assert [len(support.offsets) for support in named] == [20, 48, 80, 130, 194]
    assert [support.in_slice for support in named] == [10, 18, 34, 84, 84]
    assert [support.code for support in named] == [0, 1, 2, 3, 4]


@given(st.sets(RUNS, max_size=40))
def test_runs_come_back_from_their_bytes(runs: set[tuple[int, int, int]]) -> None:
    support = supports.of_runs([*runs, *CORE_RUNS])
    assert read(support.to_bytes()) == support
    assert set(support.offsets) >= supports.CORE and len(set(support.offsets)) == len(support.offsets)


@given(st.sampled_from([*supports.DISCS, ""]), st.integers(0, 49), st.integers(-1, 49))
def test_discs_in_a_reference_come_back_from_their_bytes(name: str, within: int, beside: int) -> None:
    support = (supports.named(name) if name else supports.of_runs(CORE_RUNS)).referring((within, beside))
    reader = Cursor(support.to_bytes(), "a test")
    back = supports.from_bytes(support.code, reader, True)
    reader.end()
    assert back == support and back.reference == support.reference
    assert back.size == len(back.offsets) + len(back.reference) and back.leading - back.in_slice == len(back.reference)
    assert [back.used(g) - len(back.reference) for g in range(3)] == [back.referring(()).used(g) for g in range(3)]
    assert [back.back(g) for g in range(3)] == [0, back.reach, back.reach]  # none reaches more than two slices back


def test_neighbours_in_a_reference_are_in_their_order() -> None:
    assert supports.in_reference(0, -1) == ((0, 0, 0),)
    cross = ((0, 0, 0), (0, 0, -1), (0, 0, 1))
    assert supports.in_reference(1, 0)[:2] == ((0, 0, 0), (0, 1, 0)) and set(cross) < set(supports.in_reference(1, 0))
    assert supports.in_reference(1, 0)[-2:] == ((-1, 0, 0), (1, 0, 0))
    assert len(supports.in_reference(5, 2)) == 21 + 2 * 9 and len(supports.in_reference(49, 49)) == 3 * 149


@pytest.mark.parametrize("discs", [bytes([50, 0]), bytes([0, 51]), bytes([255, 255]), b"\1"])
def test_discs_beyond_the_border_are_refused(discs: bytes) -> None:
    with pytest.raises(DamagedError):
        supports.from_bytes(0, Cursor(discs, "a test"), True)


def test_a_run_holds_the_causal_voxels_within_the_border() -> None:
    assert supports.voxels_of((0, 0, -4)) == ((0, 0, -4), (0, 0, -3), (0, 0, -2), (0, 0, -1))
    assert supports.voxels_of((-1, 2, 5)) == ((-1, 2, 5), (-1, 2, 6), (-1, 2, 7))
    assert supports.voxels_of((0, -1, -8))[0] == (0, -1, -7) and supports.voxels_of((0, 1, 0)) == ()


def test_those_that_a_group_uses_are_the_first() -> None:
    deep = supports.of_runs([*CORE_RUNS, (-2, 0, -4), (-3, 0, -4), (-7, 0, -4)])
    assert [deep.offsets[deep.used(g) - 1][0] for g in range(3)] == [0, -2, -7]
    near = supports.of_runs([*CORE_RUNS, (-2, 0, -4)])
    assert [near.offsets[near.used(g) - 1][0] for g in range(3)] == [0, -2, -2]


@pytest.mark.parametrize(
    "runs",
    [
        CORE_RUNS[:-1],  # lacks what makes the activity
        [*CORE_RUNS, (0, 0, 0)],  # holds no voxel
        [*CORE_RUNS, CORE_RUNS[0]],
        [*CORE_RUNS, (-8, 0, 0)],
        [*CORE_RUNS, (-1, 8, 0)],
    ],
)
def test_what_no_encoder_writes_is_refused(runs: list[tuple[int, int, int]]) -> None:
    listed = [part for dz, dy, dx in sorted(runs) for part in (-dz, dy + 7, dx + 8)]
    with pytest.raises(DamagedError):
        read(bytes([len(runs), *listed]))


def test_runs_out_of_order_are_refused() -> None:
    data = supports.of_runs(CORE_RUNS).to_bytes()
    with pytest.raises(DamagedError):
        read(data[:1] + data[4:7] + data[1:4] + data[7:])
