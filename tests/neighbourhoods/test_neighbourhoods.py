"""Neighbourhoods: their counts, causality, the schedule's two laws, and extraction against the reference."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neighbourhoods as nb

FAMILIES = {
    "cube 1": nb.cube(1),
    "cube 2": nb.cube(2),
    "cube 3": nb.cube(3),
    "cube 2, left-free": nb.cube(2, left=False),
    "cube 2, slice": nb.cube(2, coverage=2),
    "cube 2, slice, left-free": nb.cube(2, coverage=2, left=False),
    "row of 3": nb.cube(3, coverage=1),
    "pyramid": nb.pyramid((7, 5, 1)),
    "pyramid, wider behind": nb.pyramid((1, 5)),
    "disc": nb.disc((10, 5, 2)),
    "one slice back alone": nb.pyramid((1, 1)),
}
every_family = pytest.mark.parametrize("offsets", FAMILIES.values(), ids=FAMILIES.keys())
shapes = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9))
causal = st.tuples(st.integers(-3, 0), st.integers(-3, 3), st.integers(-3, 3)).filter(nb.is_causal)
neighbourhoods = st.lists(causal, min_size=1, max_size=6, unique=True).map(tuple)


def noise(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Voxels that are all different, so that reading a wrong one shows."""
    return 1 + np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape)


def by_reference(volume: np.ndarray, offsets: nb.Neighbourhood, voxels: nb.Voxels, constant: int = 0) -> np.ndarray:
    return np.array([nb.neighbours(volume, *place, offsets, constant) for place in zip(*voxels, strict=True)])


# --- offsets


def test_examples_of_the_package_run():
    assert doctest.testmod(nb).attempted > 5
    assert doctest.testmod(nb).failed == 0


@pytest.mark.parametrize(
    ("offsets", "count"),
    [
        (nb.cube(2), 62),  # the publication's cubes of 5³, 7³, 9³ and 11³
        (nb.cube(3), 171),
        (nb.cube(4), 364),
        (nb.cube(5), 665),
        (nb.pyramid((13, 9, 5, 1)), 191),
        (nb.pyramid((13, 9, 5, 1), coverage=2), 84),
        (nb.pyramid((13, 9, 5, 1), coverage=1), 6),
        (nb.cube(2, left=False), 60),
        (nb.cube(2, coverage=2, left=False), 10),
        (nb.disc((10, 5, 2)), 18 + 21 + 9),
        (nb.disc((10,)), 18),
        (nb.disc((10, 5, 2), coverage=1), 3),
    ],
)
def test_counts(offsets, count):
    assert len(offsets) == len(set(offsets)) == count


@every_family
def test_families_are_causal_and_in_raster_order(offsets):
    assert all(nb.is_causal(offset) for offset in offsets)
    assert offsets == tuple(sorted(offsets))


def test_left_free_keeps_all_but_the_current_row():
    left = set(nb.cube(2)) - set(nb.cube(2, left=False))
    assert left == {(0, 0, -1), (0, 0, -2)}


def test_orders_by_distance():
    nearest = nb.nearest_first(nb.cube(2))
    assert nearest[:3] == ((0, 0, -1), (0, -1, 0), (-1, 0, 0))
    distances = [sum(d * d for d in offset) for offset in nearest]
    assert distances == sorted(distances)
    assert nb.farthest_first(nb.cube(2)) == nearest[::-1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nb.cube(0),
        lambda: nb.cube(1, coverage=1, left=False),
        lambda: nb.cube(1, coverage=4),
        lambda: nb.pyramid((4, 2)),
        lambda: nb.pyramid(()),
        lambda: nb.disc((-1,)),
        lambda: nb.disc(()),
    ],
)
def test_impossible_neighbourhoods_are_refused(make):
    with pytest.raises(ValueError, match=r"pyramid|squared radii|covers|no voxel is left"):
        make()


# --- schedule


def test_known_schedules():
    assert nb.Schedule.of(nb.cube(2), recurrence=True) == nb.Schedule(1, 3, 9)
    assert nb.Schedule.of(nb.cube(1)) == nb.Schedule(1, 2, 4)
    assert nb.Schedule.of(nb.cube(2, left=False)) == nb.Schedule(0, 1, 3)  # published: whole rows at once
    assert nb.Schedule.of(nb.cube(2, left=False), recurrence=True) == nb.Schedule(1, 3, 9)
    assert nb.Schedule.of(nb.cube(2, coverage=2)) == nb.Schedule(1, 3, 0)  # all slices at once
    assert nb.Schedule.of(nb.disc((10, 5, 2))) == nb.Schedule(1, 4, 10)


def test_rows_of_one_dimension_wait_for_the_row_above_only_at_the_border():
    row = nb.cube(2, coverage=1)
    assert nb.Schedule.of(row, borders=False) == nb.Schedule(1, 0, 0)
    assert nb.Schedule.of(row) == nb.Schedule(1, 1, 0)


def test_schedule_refuses_what_is_not_causal():
    with pytest.raises(ValueError, match="not causal"):
        nb.Schedule.of(((0, 0, 1),))


def test_fronts_of_a_slab_as_designed():
    schedule, shape = nb.Schedule(1, 3, 9), (32, 512, 512)
    assert schedule.fronts(shape) == 511 + 3 * 511 + 9 * 31 + 1 == 2324
    sizes = schedule.sizes(shape)
    assert sizes.sum() == 32 * 512 * 512
    assert sizes.mean() == pytest.approx(3600, rel=0.01)


@given(neighbourhoods, shapes, st.booleans())
def test_every_voxel_once_and_after_its_neighbours(offsets, shape, recurrence):
    schedule = nb.Schedule.of(offsets, recurrence=recurrence)
    served = offsets + (((0, 0, -1),) if recurrence else ())
    assert all(schedule.advance(offset) < 0 for offset in served)

    when = np.full(shape, -1)
    for t, front in enumerate(schedule.walk(shape)):
        assert (when[front] == -1).all()
        assert len(np.unique(np.ravel_multi_index(front, shape))) == len(front[0])
        when[front] = t
    assert (when >= 0).all()
    assert (schedule.sizes(shape) == np.bincount(when.ravel(), minlength=schedule.fronts(shape))).all()
    # What is read, borders and all, has an earlier time; the constant counts as always known.
    everything = np.indices(shape).reshape(3, -1)
    assert (by_reference(when, offsets, everything, constant=-1) < when.ravel()[:, None]).all()


@given(neighbourhoods)
def test_coefficients_are_the_smallest(offsets):
    schedule = nb.Schedule.of(offsets, borders=False)
    for smaller in ((schedule.a - 1, schedule.b, schedule.c), (schedule.a, schedule.b - 1, schedule.c)):
        _assert_worse(smaller, offsets, depths=0)
    _assert_worse((schedule.a, schedule.b, schedule.c - 1), offsets, depths=3)


def _assert_worse(coefficients, offsets, depths):
    """One less is negative, or fails a neighbour no more than `depths` slices back."""
    near = [offset for offset in offsets if -offset[0] <= depths]
    assert min(coefficients) < 0 or any(nb.Schedule(*coefficients).advance(offset) >= 0 for offset in near)


@given(neighbourhoods, shapes)
def test_rows_at_work_are_a_range(offsets, shape):
    schedule = nb.Schedule.of(offsets)
    rows = schedule.rows(shape)
    assert (np.diff(rows.start) >= 0).all()
    assert (rows.start == schedule.b * rows.y + schedule.c * rows.z).all()
    assert sorted(zip(rows.z, rows.y, strict=True)) == list(np.ndindex(shape[:2]))
    for t in range(-1, schedule.fronts(shape) + 1):
        lo, hi = rows.active(t)
        duration = shape[2] if schedule.a else 1
        at_work = (rows.start <= t) & (t < rows.start + duration)
        assert np.flatnonzero(at_work).tolist() == list(range(lo, hi))


def test_empty_volumes_have_no_fronts():
    assert nb.Schedule(1, 3, 9).fronts((0, 4, 4)) == 0
    assert list(nb.Schedule(1, 3, 9).walk((4, 0, 4))) == []


# --- borders and extraction


@given(shapes, st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, -1000, 7]))
def test_pad_follows_the_rule(shape, before, radius, constant):
    volume = noise(shape)
    padded = nb.pad(volume, before, radius, constant)
    assert padded.shape == (before + shape[0], shape[1] + 2 * radius, shape[2] + 2 * radius)
    assert padded.dtype == volume.dtype
    for place in np.ndindex(padded.shape):
        offset = (place[0] - before, place[1] - radius, place[2] - radius)  # as seen from voxel (0, 0, 0)
        assert padded[place] == nb.neighbours(volume, 0, 0, 0, (offset,), constant)[0]


@every_family
@given(shape=shapes, constant=st.sampled_from([0, -5]))
@settings(max_examples=10)
def test_extraction_equals_the_reference(offsets, shape, constant):
    volume = noise(shape)
    voxels = tuple(np.indices(shape).reshape(3, -1))
    expected = by_reference(volume, offsets, voxels, constant)
    assert (nb.extract(volume, offsets, constant=constant) == expected).all()
    assert (nb.extract(volume, offsets, voxels, constant, parallel=True) == expected).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4"])
def test_extraction_keeps_the_type_and_takes_any_strides(dtype):
    volume = noise((3, 8, 10)).astype(dtype)[:, ::-1, ::2]
    values = nb.extract(volume, nb.cube(2))
    assert values.dtype == volume.dtype
    assert (values == nb.extract(volume.copy(), nb.cube(2))).all()


@every_family
@given(shape=shapes, recurrence=st.booleans(), data=st.data())
@settings(max_examples=20)
def test_a_front_reads_nothing_of_its_own_time_or_later(offsets, shape, recurrence, data):
    schedule = nb.Schedule.of(offsets, recurrence=recurrence)
    times = nb.Schedule(schedule.a, schedule.b, schedule.c).fronts(shape)
    t = data.draw(st.integers(0, times - 1))
    when = schedule.b * np.arange(shape[1])[:, None] + schedule.c * np.arange(shape[0])[:, None, None]
    when = when + schedule.a * np.arange(shape[2])
    volume = noise(shape)
    poisoned = np.where(when >= t, -1, volume)
    front = schedule.rows(shape).front(t)
    assert (nb.extract(poisoned, offsets, front) == nb.extract(volume, offsets, front)).all()


@every_family
@given(shape=shapes, data=st.data())
@settings(max_examples=20)
def test_a_voxel_reads_nothing_from_itself_on(offsets, shape, data):
    volume = noise(shape)
    place = data.draw(st.integers(0, volume.size - 1))
    poisoned = volume.copy()
    poisoned.reshape(-1)[place:] = -1
    voxel = tuple(np.array([index]) for index in np.unravel_index(place, shape))
    assert (nb.extract(poisoned, offsets, voxel) == nb.extract(volume, offsets, voxel)).all()


def test_extraction_refuses_what_it_could_not_read():
    padded = nb.pad(noise((2, 3, 4)), 1, 1)
    inside = (np.array([0]), np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="too narrow"):
        nb.gather(padded, inside, nb.cube(2), 1, 1)
    for outside in ((2, 0, 0), (0, 3, 0), (0, 0, 4), (0, 0, -1)):
        with pytest.raises(ValueError, match="outside of the volume of 2×3×4"):
            nb.gather(padded, tuple(np.array([index]) for index in outside), nb.cube(1), 1, 1)


def test_no_voxels_give_no_rows():
    nothing = (np.array([], int),) * 3
    assert nb.extract(noise((1, 1, 1)), nb.cube(1), nothing).shape == (0, 13)
