"""Series in time are read in their order and measured alike, and the decisions' tables are those of the CSV files."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import report, series4d, syntax_costs
from benchmarks.series4d import ALONE, ARCHIVE, INTERLEAVED, SERIES, Source
from benchmarks.syntaxes import SYNTAXES
from tests.helpers import noise


class Image(SimpleNamespace):
    """What is read of a DICOM image."""

    def __getitem__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(value=getattr(self, name))


def images() -> tuple[np.ndarray, list[Image]]:
    """An array [3, 2, 4, 5] and its images, out of order; time runs against the numbers of instances."""
    array = noise((3, 2, 4, 5))
    made = [
        Image(
            ImagePositionPatient=[0, 0, 2.5 * z],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            TriggerTime=f"{100.5 * t}",
            InstanceNumber=9 - t,
            pixel_array=array[t, z],
        )
        for z in (1, 0)
        for t in (2, 0, 1)
    ]
    return array, made


def test_images_are_sorted_by_place_and_then_in_time() -> None:
    array, made = images()
    assert np.array_equal(series4d.in_time(made, "TriggerTime"), array)
    assert np.array_equal(series4d.in_time(made, "InstanceNumber"), array[::-1])


def test_places_with_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        series4d.in_time(images()[1][1:], "TriggerTime")


def test_interleaving_puts_the_times_of_a_slice_next_to_each_other() -> None:
    array = noise((3, 2, 4, 5))
    mixed = series4d.interleaved(array)
    assert mixed.shape == (6, 4, 5)
    assert all(np.array_equal(mixed[3 * z + t], array[t, z]) for t in range(3) for z in range(2))


@pytest.fixture
def repeated(monkeypatch, tmp_path) -> np.ndarray:
    """A series that hardly changes, as a source of the name "made"."""
    base = noise((2, 32, 32), seed=1)
    array = np.stack([base + noise((2, 32, 32), low=0, high=1, seed=t) // 20 for t in range(3)]).astype("i2")
    monkeypatch.setitem(series4d.SOURCES, "made", Source("functional", "made", "a.npy"))
    np.save(tmp_path / "a.npy", array)
    monkeypatch.setattr(series4d, "_file", lambda source: ("made/a.npy", (tmp_path / "a.npy").read_bytes()))
    return array


def test_a_series_is_measured_in_four_ways(repeated) -> None:
    rows = {what: series4d.measure("made", repeated, "turbo", what) for what in series4d.WHATS}
    sizes = {what: int(row["bytes"]) for what, row in rows.items()}
    assert sizes[SERIES] < sizes[ALONE] and 0 < sizes[INTERLEAVED] < repeated.nbytes > sizes[ARCHIVE] > 0
    assert rows[SERIES]["keys"] == "1" and not rows[ALONE]["keys"]
    assert all(row["verified"] == "yes" and row["shape"] == "3×2×32×32" for row in rows.values())
    line = series4d.summary(list(rows.values())).splitlines()[2]
    assert line.startswith("| made, functional | 3 × 2 × 32 × 32 | `turbo` |") and "| 1 |" in line


def test_a_series_of_which_something_is_missing_has_no_line(repeated) -> None:
    row = series4d.measure("made", repeated, "turbo", ALONE)
    assert series4d.summary([row]).count("\n") == 1


def test_costs_are_listed_in_the_order_of_syntaxes() -> None:
    names = list(SYNTAXES)
    same = {"decode_s": "1.96", "rounds": "3", "versions": "volcomp 1.0, numba 2.0"}
    rows = [{"syntax": name, "encode_s": f"{place}.04"} | same for place, name in enumerate(names)]
    lines = syntax_costs.summary(rows[::-1]).splitlines()
    assert lines[0].endswith(", volcomp 1.0:")
    assert lines[4:] == [f"| {name} | {place}.0 | 2.0 | 3 |" for place, name in enumerate(names)]
    assert not syntax_costs.summary([])


@pytest.mark.parametrize(("benchmark", "mark"), [(series4d, "series4d"), (syntax_costs, "syntax_costs")])
def test_decisions_have_the_tables_of_the_csv(benchmark, mark: str) -> None:
    table = benchmark.summary(report.read_rows(benchmark.CSV))
    text = benchmark.TARGET.read_text(encoding="utf-8")
    assert f"<!-- {mark}:begin -->" in text and report.insert(text, mark, table) == text


def test_every_row_was_verified_and_names_its_machine() -> None:
    for benchmark in (series4d, syntax_costs):
        for row in report.read_rows(benchmark.CSV):
            assert row["verified"] == "yes" and row["threads"] == "1"
            assert row["processor"] and row["versions"] and float(row["encode_s"]) > 0
