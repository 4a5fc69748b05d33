"""The study: its neighbourhoods and folds, training that goes on where it was, a killed run, reports from CSV alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from benchmarks.report import read_rows, write_rows  # noqa: E402
from experiments import (  # noqa: E402
    ablation,
    command,
    config,
    cross_validation,
    data,
    decoders,
    jobs,
    orderzero,
    remeasure,
    report,
    results,
    statistics,
    trial,
    work,
)
from experiments.rivals import CODECS  # noqa: E402
from neighbourhoods import is_causal  # noqa: E402
from volcomp import models  # noqa: E402
from volcomp.codec.encode import encode  # noqa: E402
from volcomp.container.volume import DIGEST  # noqa: E402
from volcomp.options import EncodeOptions  # noqa: E402
from volcomp.pipelines.paper import reference  # noqa: E402
from volcomp.pipelines.paper import slab as paper_slab  # noqa: E402
from volcomp.pipelines.row.pipeline import ROW  # noqa: E402
from volcomp.runtime.products import one_thread_each  # noqa: E402
from volcomp.training import export, paper  # noqa: E402
from volcomp.training import model as row_model  # noqa: E402
from volcomp.training.corpus import ROOT, Series  # noqa: E402

# Those of single images are another study's: test_images.py.
CONFIGS = [p for p in sorted((ROOT / "experiments" / "configs").glob("*.toml")) if not p.stem.startswith("images_")]
SMOKE = ROOT / "experiments" / "configs" / "smoke.toml"
# With and without the voxels to the left, as published where it is.
LENGTHS = {
    "cube:3": (13, 12), "cube:5": (62, 60), "cube:7": (171, 168), "cube:9": (364, 360), "cube:11": (665, 660),
    "pyramid:13,9,5,1": (191, 185), "pyramid:9,5,3,1": (75, 71), "pyramid:7,5,3,1": (59, 56), "pyramid:5,3,1": (22, 20),
    "cube:3/2d": (4, 3), "pyramid:13,9,5,1/2d": (84, 78), "pyramid:9,5,3,1/2d": (40, 36), "pyramid:5,3,1/2d": (12, 10),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps of small networks take many times as long on several threads of a busy machine."""
    with one_thread_each():
        yield


@pytest.mark.parametrize("shape", LENGTHS)
def test_sequences_have_their_lengths(shape: str) -> None:
    whole, free = (paper.neighbourhood_of(name) for name in (shape, f"{shape}/left-free"))
    assert (len(whole), len(free)) == LENGTHS[shape]
    assert all(map(is_causal, whole)) and set(free) == {o for o in whole if o[:2] != (0, 0)}


def test_a_row_has_no_left_free_part() -> None:
    assert len(paper.neighbourhood_of("pyramid:13,9,5,1/1d")) == 6
    for wrong in ("cube:3/1d/left-free", "ball:3", "pyramid:4,2", "cube:3,5", "cube:3/4d", "cube", "cube:x"):
        with pytest.raises(ValueError, match="is no neighbourhood"):
            paper.neighbourhood_of(wrong)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_sound(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.name == path.stem
    assert set(loaded.rivals) <= set(CODECS)
    free = [shape for shape in loaded.shapes if shape.endswith("/left-free")]
    assert all(shape.removesuffix("/left-free") in loaded.shapes for shape in free)
    assert [s for s in loaded.shapes if f"{s}/left-free" not in free + [f"{f}/left-free" for f in free]] == [
        s for s in loaded.shapes if s.endswith("/1d")
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('source = "made"', "'somewhere' is not known"),
        ('name = "smoke"', "no configuration"),
        ("epochs = 2", "cannot be read"),
        ('ablation = "pyramid:3,1"', "not among the shapes"),
    ],
)
def test_bad_configurations_are_refused_in_a_sentence(change: str, message: str, tmp_path: Path) -> None:
    instead = {"source": 'source = "somewhere"', "name": "", "epochs": "epochs = ", "ablation": 'ablation = "cube:3"'}
    path = tmp_path / "c.toml"
    path.write_text(SMOKE.read_text().replace(change, instead[change.split()[0]]))
    with pytest.raises(config.ConfigError, match=message):
        config.load(path)
    assert cross_validation.main(["--config", str(path), "--plan"]) == 1


def test_who_teaches_is_not_tested() -> None:
    """Series of one subject in two folds teach neither."""
    series = [Series(f"s{k}", "CT", "train", "series", 1 + k % 4, f"p{k}") for k in range(12)]
    series[5] = replace(series[5], subject="p2")  # folds 2 and 3
    series += [Series("m", "MR", "valid", "series", 0, "q")]
    for fold in (1, 2, 3, 4):
        teachers, tested = data.split(series, fold)
        assert not {s.subject for s in teachers} & {s.subject for s in tested}
        assert len(teachers) == (8 if fold in (2, 3) else 9) and len(tested) == 4
        assert all(s.modality == "CT" for s in teachers)


@pytest.mark.corpus
def test_folds_of_the_corpus_are_disjoint_by_patient() -> None:
    try:
        series = data.series_of(config.load(ROOT / "experiments" / "configs" / "cpu.toml"))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert sum(s.fold > 0 for s in series) == 12
    tested = [s.name for fold in (1, 2, 3, 4) for s in data.split(series, fold)[1] if s.fold]
    assert len(tested) == len(set(tested)) == 12
    for fold in (1, 2, 3, 4):
        teachers, held = data.split(series, fold)
        assert not {s.subject for s in teachers} & {s.subject for s in held} and len(teachers) >= 8


def test_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    neighbourhood = paper.neighbourhood_of("cube:3/2d")
    sources = [paper.source_of(data._made("made_ct_0"), neighbourhood)]
    whole = paper.PaperTrainee(1, 6)
    whole.train(sources, neighbourhood, 3)
    whole.train(sources, neighbourhood, 6)
    first = paper.PaperTrainee(1, 6)
    first.train(sources, neighbourhood, 3)
    first.save(tmp_path / "c.pt")
    other = paper.PaperTrainee(2, 6)
    other.load(tmp_path / "c.pt")
    other.train(sources, neighbourhood, 6)
    digests = [t.predictor.integers("made", neighbourhood).digest() for t in (whole, other)]
    assert digests[0] == digests[1]


def test_the_loss_is_the_published_one() -> None:
    voxel = torch.tensor([-0.5, 0.0, 0.5, 1.0])
    assert abs(float(paper.loss_of(voxel, voxel))) < 1e-6
    assert abs(float(paper.loss_of(-voxel, voxel)) - float((2 * voxel).abs().mean())) < 1e-6  # |PCC| is 1
    noise = torch.tensor([1.0, -1.0, -1.0, 1.0])
    assert float(paper.loss_of(noise, voxel)) > 1.5 + float((noise - voxel).abs().mean()) - 1  # decorrelation costs


def test_a_predictor_learns() -> None:
    neighbourhood = paper.neighbourhood_of("cube:3/2d")
    sources = [paper.source_of(data._made("made_ct_1"), neighbourhood)]
    trainee = paper.PaperTrainee(1, 60)
    begin = trainee.train(sources, neighbourhood, 10)
    assert trainee.train(sources, neighbourhood, 60) < begin


def test_no_state_is_no_state() -> None:
    """`base` without recurrence: whatever came before, and whatever neighbours say, the integers say the same."""
    trainee = row_model.RowTrainee("base", 1)
    with torch.no_grad():
        trainee.head.normal_()
    work.isolate(trainee)
    inputs = np.random.default_rng(0).integers(-127, 128, (5, 2, 3, 10, 64)).astype(np.int8)
    inputs[..., 62] = 64
    weights = work.deaf(export.integers(trainee, export.covariance(trainee, [inputs])))
    assert work.is_apart(weights)
    together = trainee.lstm.forward(inputs)[..., -weights.hidden :]
    alone = inputs.reshape(1, 1, 1, -1, 64)
    assert torch.equal(together, trainee.lstm.forward(alone)[..., -weights.hidden :].reshape(together.shape))


def test_the_unrounded_linear_residual_is_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.add.outer(np.arange(12), np.add.outer(np.arange(30), 2 * np.arange(40))).astype(np.uint16)
    lengths = ablation.of_linear(flat)
    assert set(lengths) == {"linear", "linear, by class"} and lengths["linear"] < 1  # a ramp is predicted


def test_code_lengths_are_those_of_the_codec() -> None:
    residual = np.random.default_rng(1).normal(0, 9, 20_000).round().astype(int)
    share = np.bincount(residual - residual.min()) / residual.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert entropy < orderzero.bits(residual, 4095) / residual.size < entropy + 0.1
    loud = np.where(np.arange(40)[:, None] < 20, 1, 12) * np.random.default_rng(2).normal(0, 1, (30, 40, 40))
    loud = loud.round().astype(int)
    assert orderzero.bits_by_class(loud, 4095) < 0.95 * orderzero.bits(loud.ravel(), 4095)


def test_activity_looks_at_known_voxels_alone() -> None:
    residual = np.random.default_rng(3).integers(-50, 50, (3, 6, 7))
    before = orderzero.activity(residual).reshape(residual.shape)[1, 3, 2]
    residual[1, 3, 2:], residual[1, 4:], residual[2] = 999, 999, 999
    assert orderzero.activity(residual).reshape(residual.shape)[1, 3, 2] == before


def test_intervals_are_those_of_the_bootstrap() -> None:
    found = statistics.interval([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5 and 1 < found.low < 2.5 < found.high < 4 and found.holds(2.0)
    assert statistics.interval([1.0, 2.0, 3.0, 4.0]) == found
    difference = statistics.paired({"a": 3.0, "b": 5.0}, {"a": 1.0, "b": 4.0, "c": 9.0})
    assert difference is not None and difference.mean == 1.5
    assert statistics.paired({"a": 1.0}, {"b": 1.0}) is None


@pytest.mark.parametrize("name", ["gzip-9", "hevc"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 35, 61)])
def test_rivals_give_back_what_they_were_given(name: str, shape: tuple[int, int, int]) -> None:
    codec = CODECS[name]
    if not codec.installed:
        pytest.skip(f"{codec.packages} are not installed")
    volume = np.random.default_rng(5).integers(0, 4096, shape).astype(np.uint16)
    assert np.array_equal(codec.decode(codec.encode(volume, 1), shape, 1), volume)
    if name == "hevc":
        with pytest.raises(ValueError, match="12 bits"):
            codec.encode(volume + np.uint16(4096), 1)
        with pytest.raises(ValueError, match="16×16 and more"):
            codec.encode(volume[:, :15], 1)


def test_mended_codecs_replace_their_rows_alone(tmp_path: Path) -> None:
    """Rows of the others stay as they are, times included, and so does the order."""
    smoke = replace(config.load(SMOKE), rivals=("gzip-9", "zstd-19"))
    one, two = (series.name for series in data.series_of(smoke)[:2])
    about = dict.fromkeys(results.COLUMNS["sizes"], "") | {"bytes": "7"}
    rows = [about | {"method": m, "series": s} for m, s in (("gzip-9", one), ("zstd-19", one), ("gzip-9", two))]
    write_rows(tmp_path / "sizes.csv", results.COLUMNS["sizes"], rows)
    write_rows(tmp_path / "absent.csv", results.COLUMNS["absent"], [{"codec": "hevc", "why": "no"}])
    remeasure.rows(smoke, tmp_path, ["gzip-9"])
    found = read_rows(tmp_path / "sizes.csv")
    assert [(row["method"], row["series"]) for row in found] == [(row["method"], row["series"]) for row in rows]
    assert found[1] == rows[1]
    assert int(found[0]["bytes"]) > 7 and int(found[2]["bytes"]) > 7
    assert read_rows(tmp_path / "absent.csv") == [{"codec": "hevc", "why": "no"}]


def test_every_trial_is_of_its_own_model() -> None:
    """Of two models of a kind, one after the other: sizes are those of the network that is on trial."""
    neighbourhood = paper.neighbourhood_of("cube:3/2d")
    volume = data._made("made_ct_2")
    sizes = []
    for seed in (1, 2):
        weights = paper.FloatPredictor(seed).integers("made", neighbourhood)
        model = trial.trial(weights)
        sizes.append(trial.measured(volume, model, 1).size)
        _, (payload,) = encode(volume, EncodeOptions(model, threads=1))
        ranks, limit = ablation.ranks_of(volume)
        assert payload[DIGEST:] == paper_slab.encode(ranks, limit, reference.ReferencePaperLstm(weights))
    assert sizes[0] != sizes[1]
    of_rows = [ROW.load(models.RELEASED[number]) for number in (3, 5)]
    sizes = []
    for weights in of_rows:
        sizes.append(trial.measured(volume, trial.trial(weights), 1).size)
    assert sizes[0] != sizes[1]
    assert trial.trial(of_rows[1]).search == models.chosen("base").search
    assert trial.trial(of_rows[1], "fast").search == models.chosen("fast").search


def test_three_decoders_are_three(tmp_path: Path) -> None:
    rows = decoders.measure(config.load(SMOKE), "pyramid:3,1")
    assert {row["decoder"] for row in rows} == {decoders.SEQUENTIAL, decoders.BATCH, decoders.HYPERPLANE}
    alone = next(row for row in rows if row["decoder"] == decoders.SEQUENTIAL)
    assert alone["voxels_per_front"] == "1.0" and alone["fronts"] == 2 * 8 * 8


@pytest.mark.long
def test_a_killed_run_goes_on_and_reports_from_csv_alone(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "results"
    line = [sys.executable, "-m", "experiments.cross_validation", "--config", str(SMOKE), "--jobs", "2"]
    line += ["--cache", str(cache), "--results", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as first:
        for _ in range(2400):
            if list((cache / "done").glob("*.json")) or first.poll() is not None:
                break
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in (cache / "done").glob("*.json")}
    planned = jobs.plan(config.load(SMOKE))
    assert 0 < len(done) < len(planned)
    subprocess.run(line, env=environment, check=True, stderr=subprocess.DEVNULL)
    _ends(first.pid)
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())  # what was done was not done again
    assert all(results.finished(cache, job) for job in planned)
    _reports_from_csv_alone(cache, folder)
    text = SMOKE.read_text().replace("epochs = 2", "epochs = 3")
    (tmp_path / "other.toml").write_text(text)
    assert cross_validation.main(["--config", str(tmp_path / "other.toml"), "--cache", str(cache)]) == 1


def _ends(group: int) -> None:
    """Nothing that a killed run has begun outlives it for long."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes of a killed run are still there")


def test_two_runs_do_not_share_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--config", str(SMOKE), "--cache", str(tmp_path), "--results", str(tmp_path / "results")]
    with command.alone(tmp_path):
        assert cross_validation.main(line) == 1
    assert "another run is at work" in capsys.readouterr().err and not (tmp_path / "done").exists()


def _reports_from_csv_alone(cache: Path, folder: Path) -> None:
    first = (folder / "report.md").read_text()
    figures = sorted(path.name for path in folder.glob("*.png"))
    assert figures == ["epochs.png", "neighbourhoods.png", "size_speed.png", "views.png"]
    shutil.rmtree(cache / "work")
    for path in [folder / "report.md", *folder.glob("*.png")]:
        path.unlink()
    assert cross_validation.main(["--config", str(SMOKE), "--results", str(folder), "--report"]) == 0
    assert (folder / "report.md").read_text() == first
    assert sorted(path.name for path in folder.glob("*.png")) == figures
    assert "Missing: hevc (" in first  # its slices are too small for it


def test_verdicts_do_not_say_more_than_intervals() -> None:
    sure, unsure = statistics.Interval(-12.5, -14, -11), statistics.Interval(-5.0, -14, 4)
    assert report._verdict(sure, -12.0) == "confirmed"
    assert report._verdict(sure, -17.0) == "confirmed in sign, less"
    assert report._verdict(sure, 5.0).startswith("contradicted")
    assert report._verdict(unsure, -12.0).startswith("undecided")
    assert report._verdict(unsure, -17.0).startswith("contradicted")
    assert report._smaller(unsure).startswith("undecided") and report._smaller(sure) == "confirmed"
