"""Speeds and where they were measured: rows of several machines in one file, efforts, forbidden instructions."""

import json
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from benchmarks import earlier, efforts, machine, report, rivals, speed
from benchmarks.rivals import CODECS
from volcomp.training.corpus import ROOT

ZEN4 = "fpu avx avx2 avx512f avx512bw avx512_vnni avx512_bf16"
FULL_CAP = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ("fpu sse2", {}, "x86-64"),
        ("avx avx2", {}, "avx2"),
        ("avx avx2 avx_vnni", {}, "avx_vnni"),
        ("avx2 avx512f avx512bw", {}, "avx512"),
        (ZEN4, {}, "avx512_vnni"),
        (f"{ZEN4} amx_int8", {}, "avx512_vnni+amx_int8"),
        (ZEN4, FULL_CAP, "avx2 (capped)"),
        (f"{ZEN4} amx_int8", FULL_CAP, "avx2 (capped)"),
        ("avx avx2", FULL_CAP, "avx2"),  # it forbids nothing that is there
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "avx2"}, "avx512_vnni (oneDNN capped to avx2)"),
        # The name alone leaves numba every feature of the processor.
        (ZEN4, {"NUMBA_CPU_NAME": "haswell"}, "avx512_vnni"),
        (ZEN4, {"NUMBA_CPU_NAME": "generic"}, "avx512_vnni (numba capped to x86-64)"),
        (ZEN4, FULL_CAP | {"NUMBA_CPU_FEATURES": "+avx2,+avx512bw"}, "avx512_vnni (numba capped to avx512, oneDNN"
                                                                     " capped to avx2)"),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "avx512_vnni"),
    ],
)  # fmt: skip
def test_instructions_are_those_that_are_there_and_allowed(flags, environment, expected):
    assert machine.allowed(flags, "x86_64", environment) == expected


def test_instructions_of_arm():
    assert machine.allowed("fp asimd", "aarch64", {}) == "neon"
    assert machine.allowed("fp asimd asimddp", "aarch64", {}) == "neon+dotprod"
    assert machine.allowed("fp asimd asimddp i8mm", "aarch64", {}) == "neon+dotprod+i8mm"
    assert machine.allowed("", "arm64", {}) == "neon+dotprod"


def test_rows_say_where_they_were_measured_and_with_what(monkeypatch):
    for name in machine.CAPS:
        monkeypatch.delenv(name, raising=False)
    for name, value in FULL_CAP.items():
        monkeypatch.setenv(name, value)
    row = machine.describe(CODECS["zstd-19"], 2, 3)
    assert set(row) == set(machine.COLUMNS)
    assert row["numpy"] == np.__version__
    assert row["processor"] == machine.processor()
    assert row["rival"].startswith("zstandard ")
    assert (row["threads"], row["rounds"]) == ("2", "3")
    assert speed.command(row) == "NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= ONEDNN_MAX_CPU_ISA=AVX2 make speed"
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert machine.describe(CODECS["fast"], 1, 5)["torch"] == "none"
    assert machine.describe(CODECS["fast"], 1, 5)["rival"] == ""


def test_command_names_what_is_not_usual():
    row = {"caps": "", "threads": "1", "rounds": "5"}
    assert speed.command(row) == "make speed ARGS='--threads 1 --rounds 5'"


def _row(name: str, **others: str) -> dict[str, str]:
    usual = {"processor": "P", "instruction_set": "avx2", "threads": "2", "torch": "2.13", "series": "s", "caps": ""}
    sizes = {"rounds": "3", "encode_mb_s": "1.00", "decode_mb_s": "2.00", "peak_mb": "3", "bpv": "4.000"}
    return dict.fromkeys(speed.COLUMNS, "") | usual | sizes | {"codec": name} | others


@pytest.mark.parametrize(
    "other", [{"processor": "Q"}, {"instruction_set": "avx512_vnni"}, {"threads": "1"}, {"torch": "none"},
              {"series": "t"}, {"codec": "tomoz"}]
)  # fmt: skip
def test_a_run_replaces_its_own_rows_alone(other):
    kept = _row("fast") | other
    old, new = _row("fast", encode_mb_s="1.00", torch="2.12"), _row("fast", encode_mb_s="9.00")
    found = speed.merged([old, kept], [new])
    assert len(found) == 2
    assert new in found
    assert kept in found


def test_each_machine_has_a_table_the_ablest_first():
    base = {"series": speed.SERIES}
    rows = speed.merged(
        [_row("zstd-19", **base), _row("base", **base)],
        [_row("base", instruction_set="avx512_vnni", **base), _row("base", series="other")],
    )
    text = speed.summary(rows)
    assert [line for line in text.splitlines() if line.endswith("`make speed`")] == [
        "P, avx512_vnni, 2 threads, torch 2.13: `make speed`",
        "P, avx2, 2 threads, torch 2.13: `make speed`",
    ]
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")] == [
        "", "---", "**volcomp base**", "", "---", "**volcomp base**", "zstd, level 19"
    ]  # fmt: skip


def test_speed_measures_in_turns_and_writes_what_it_found(monkeypatch, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- speed:begin -->\n<!-- speed:end -->\n")
    monkeypatch.setattr(report, "PAGES", [readme])
    monkeypatch.setattr(speed, "CSV", tmp_path / "speed.csv")
    order = _faked(monkeypatch)
    speed.main(["--codecs", "zstd-19", "jpegls", "--rounds", "3"])
    assert order == ["jpegls", "zstd-19"] * 3
    rows = report.read_rows(tmp_path / "speed.csv")
    assert [(row["codec"], row["encode_mb_s"]) for row in rows] == [("jpegls", "3.00"), ("zstd-19", "4.00")]
    assert all(row["processor"] and row["instruction_set"] and row["numba"] for row in rows)
    measured = readme.read_text()
    assert "| JPEG-LS | 3.00 |" in measured
    readme.write_text("<!-- speed:begin -->\n<!-- speed:end -->\n")
    speed.main(["--report"])
    assert readme.read_text() == measured
    assert len(order) == 6  # nothing more was measured


def test_efforts_are_measured_by_model_and_series(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PAGES", [tmp_path / "absent.md"])
    monkeypatch.setattr(efforts, "CSV", tmp_path / "efforts.csv")
    order = _faked(monkeypatch)
    efforts.main(["--models", "fast", "--efforts", "1", "5", "--rounds", "1"])
    assert order == ["fast-e1", "fast-e5"] * 2
    rows = report.read_rows(tmp_path / "efforts.csv")
    assert [(row["series"], row["codec"]) for row in rows] == [(s, c) for s in efforts.SERIES for c in order[:2]]
    lines = efforts.summary(rows).splitlines()
    assert lines[-2:] == ["| fast, effort 1 | 1.00 | 4.000 | 3.00 | 4.000 |",
                          "| fast, effort 5 | 2.00 | 4.000 | 4.00 | 4.000 |"]  # fmt: skip


def _faked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Turns take no time: the n-th of all encodes at n MB/s. Returns the codecs as they come."""
    order: list[str] = []

    def turn(name: str, series: str, threads: int) -> speed.Turn:
        order.append(name)
        return {"encode_mb_s": len(order), "decode_mb_s": 2.0, "peak_mb": 3.0, "bpv": 4.0}

    monkeypatch.setattr(speed, "_in_a_process", turn)
    return order


def test_a_turn_is_of_the_codec_that_is_named():
    volume = np.random.default_rng(0).integers(0, 4096, (2, 16, 16)).astype(np.uint16)
    for name in ("zstd-19", "fast-e1"):
        found = speed.turn(rivals.named(name), volume, 1)
        assert all(found[key] > 0 for key in ("encode_mb_s", "decode_mb_s", "peak_mb", "bpv"))
    assert rivals.named("fast-e1").options == ("--model", "fast", "--effort", "1")
    assert rivals.named("base-e9").title == CODECS["base-e9"].title
    with pytest.raises(KeyError):
        rivals.named("nothing-e1")


@pytest.mark.parametrize("there", [False, True])
def test_turbo_is_measured_once_there_is_such_a_model(there):
    choices = f"tuple({{*models.CHOICES, 'turbo'}}) if {there} else ('fast', 'base')"
    assert _with_turbo(f"models.CHOICES = {choices}") == [there] * 3


@pytest.mark.parametrize("there", [False, True])
def test_earlier_versions_are_measured_too(there):
    """They have the names of their models elsewhere."""
    choices = ("fast", "base", *(["turbo"] if there else []))
    assert _with_turbo(f"del models.CHOICES; codec.MODELS = {choices}") == [there] * 3


def _with_turbo(change: str) -> list[bool]:
    """Whether `turbo` is among what is measured, after a change to a volcomp that nothing has looked at."""
    script = (
        f"import json; from volcomp import codec, models; {change}; "
        "from benchmarks import efforts, rivals, speed; "
        "print(json.dumps(['turbo' in rivals.CODECS, 'turbo' in speed.QUICK, 'turbo' in efforts.MODELS]))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_large_arrays_are_given_back_where_a_version_can(monkeypatch):
    called = []
    for name in ("volcomp.runtime.heap", "volcomp.heap"):
        made = ModuleType(name)
        made.give_back_at_once = lambda name=name: called.append(name)
        monkeypatch.setitem(sys.modules, name, made)
        earlier.give_back_at_once()
        monkeypatch.setitem(sys.modules, name, None)
    assert called == ["volcomp.runtime.heap", "volcomp.heap"]
    earlier.give_back_at_once()
    assert len(called) == 2
