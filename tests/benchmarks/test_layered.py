"""What previews cost is measured in whole files, and the decisions' table is that of the CSV file."""

import numpy as np
import pytest

import volcomp
from benchmarks import layered, report
from benchmarks.layered import Image
from benchmarks.ratio import NotLossless

VOXELS = (100 + 60 * np.sin(np.arange(64) / 9)[:, None] * np.cos(np.arange(72) / 7)).astype("u1")


def test_the_parts_of_a_file_add_up() -> None:
    rows = [*layered.measure(Image("made", "MR", VOXELS), "valid", "turbo", (8, 16))]
    assert [row["ratio"] for row in rows] == ["8", "16"]
    for row in rows:
        alone, layer, completion, total = (int(row[column]) for column in ("alone", "layer", "completion", "total"))
        assert alone == len(volcomp.compress(VOXELS, "turbo"))
        assert 0 < layer <= VOXELS.nbytes / int(row["ratio"]) + 40 and layer + completion == total
        assert row["cost"] == f"{100 * (total / alone - 1):.2f}" and row["shape"] == "64x72"


def test_what_does_not_come_back_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volcomp, "decompress", lambda data, threads: VOXELS + 1)
    with pytest.raises(NotLossless, match="made does not come back with a preview of 16:1"):
        next(layered.measure(Image("made", "MR", VOXELS), "valid", "turbo", [16]))


def test_a_line_sums_what_belongs_together() -> None:
    def row(group: str, ratio: int, total: int, cost: float) -> dict[str, str]:
        sizes = {"alone": "1000", "layer": "100", "completion": str(total - 100), "total": str(total)}
        what = {"group": group, "split": "test", "model": "fast", "ratio": str(ratio), "voxels": "4000"}
        return what | sizes | {"cost": f"{cost:.2f}"}

    lines = layered.summary([row("CT", 16, 1100, 10), row("cxr256", 8, 1200, 20), row("CT", 16, 1200, 20)]).splitlines()
    assert lines[2].startswith("| chest, 256 × 256 | test | fast | 1 | 8:1 | 2.000 | 0.200 | 2.200 | 2.400 | +20.0 % |")
    assert lines[3] == (
        "| CT | test | fast | 2 | 16:1 | 2.000 | 0.200 | 2.100 | 2.300 | +15.0 % | +10.0 to +20.0 % |"
    )  # fmt: skip


def test_decisions_have_the_table_of_the_csv() -> None:
    rows, text = report.read_rows(layered.CSV), layered.TARGET.read_text(encoding="utf-8")
    assert "<!-- layered:begin -->" in text and report.insert(text, "layered", layered.summary(rows)) == text
    assert rows and all(row["verified"] == "yes" for row in rows)
