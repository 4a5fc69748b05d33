"""What a GPU does, by plain torch on the CPU: the same bytes as the CPU backend, whoever coded and whoever decodes.
What goes amiss has `test_gpu_failures.py`, the kernels `test_kernels.py`."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks import gpu as gpu_speed
from neighbourhoods import pad
from tests.codec.test_codec import decode, scan, volumes
from tests.conformance.golden import of_any_device
from volcomp import models
from volcomp.codec import encode as encoding
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.codec.engines import on
from volcomp.constants import RADIUS
from volcomp.container.inspection import opened
from volcomp.container.sections import SLAB, SectionId
from volcomp.container.volume import read_header, read_volume, volume_numbers
from volcomp.encoder import linear_fit
from volcomp.options import EncodeOptions
from volcomp.pipelines.row import wavefront
from volcomp.pipelines.row.pipeline import ROW
from volcomp.pipelines.row.slab import lay_out
from volcomp.runtime.team import Team
from volcomp.stages import features, linear, peak, supports, weight_delta
from volcomp.stages.lstm import cpu
from volcomp.stages.payload import Predictions, SymbolReader

torch = pytest.importorskip("torch")

from volcomp.gpu.row import device, group, plain  # noqa: E402
from volcomp.gpu.row import network as networks  # noqa: E402
from volcomp.gpu.row import wavefront as on_device  # noqa: E402
from volcomp.learn import fine_tuning  # noqa: E402
from volcomp.torchops import lanes  # noqa: E402

TORCH = on("cpu", "torch")  # what a GPU does, on the CPU
ROWS = [choice for choice in models.CHOICES if models.chosen(choice).pipeline == "row"]


def on_torch(number: int) -> networks.DeviceLstm:
    return networks.DeviceLstm(ROW.load(models.RELEASED[number]), "cpu", plain.PlainSteps)


def slab_of(
    levels: np.ndarray, limit: int, number: int, fitted: linear.LinearWeights | None = None
) -> wavefront.RowInput:
    """As the codec begins one, at the least effort: its fronts are fewest."""
    fitted = fitted or linear_fit.fit_by_effort(levels, models.chosen("base").search.runs, 1)
    common = peak.candidate(levels, limit)
    quiet = common if ROW.load(models.RELEASED[number]).learns else None
    return wavefront.RowInput(lay_out(levels.shape, fitted), levels, limit, fitted, common, quiet)


def same_predictions(one: object, other: object) -> bool:
    return all((a is None) == (b is None) and np.array_equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[call-overload]


def nothing(done: int) -> None:
    """For whom progress is of no interest."""


def comes_back(slabs: list[wavefront.RowInput], predictions: list[Predictions], network: networks.DeviceLstm) -> bool:
    """Whether decoding, asked for what the predictions say, is told the voxels and gives the slabs."""
    replays = [device._Replay(slab, one) for slab, one in zip(slabs, predictions, strict=True)]
    both = zip(slabs, replays, strict=True)
    streams = [
        wavefront.RowStream(slab.layout, cast(SymbolReader, replay), slab.limit, slab.stage) for slab, replay in both
    ]
    levels = on_device.decode_slabs(streams, network, nothing)
    same = [
        isinstance(one, np.ndarray) and np.array_equal(one, slab.levels)
        for one, slab in zip(levels, slabs, strict=True)
    ]
    return all(same) and all(replay.same for replay in replays)


# ------------------------------------------------------------------------------------------------ the same everywhere


@pytest.mark.parametrize("model", ROWS)
@settings(max_examples=6)
@given(voxels=volumes)
def test_any_volume_has_the_same_bytes(model: str, voxels: np.ndarray) -> None:
    expected = encode(voxels, EncodeOptions(model))
    assert encode(voxels, EncodeOptions(model), engine=TORCH) == expected
    assert np.array_equal(decode(*expected, engine=TORCH), voxels)


@pytest.mark.parametrize(
    "number", [n for n, model in sorted(models.RELEASED.items()) if model.pipeline == "row" and not model.sees]
)
def test_slabs_of_all_heights_have_the_same_bytes(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back, every released model; a ball in air, with padding, in slabs of 4, 5 and 5 slices."""
    voxels = scan((14, 24, 31))
    options = EncodeOptions(models.RELEASED[number])
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 5)
    expected = encode(voxels, options)
    assert len(expected[1]) == 3 and read_header(expected[0]).model.number == number
    coded = encode(voxels, options, engine=TORCH)
    assert coded == expected
    assert np.array_equal(decode(*expected, engine=TORCH), voxels)
    assert np.array_equal(decode(*coded), voxels)


@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
@pytest.mark.parametrize("kind", ["extremes", "noise", "steps", "flat"])
def test_hard_volumes_have_the_same_bytes(kind: str, dtype: str) -> None:
    """Escapes, grey levels beyond int16, sums beyond int32, contexts of spikes."""
    info, shape, random = np.iinfo(dtype), (5, 17, 23), np.random.default_rng(1)
    voxels = {
        "extremes": np.where(random.random(shape) < 0.5, info.min, info.max),
        "noise": random.integers(info.min, info.max + 1, shape),
        "steps": np.where(random.random(shape) < 0.3, info.min, info.max - random.integers(0, 99, shape)),
        "flat": np.full(shape, 7),
    }[kind].astype(dtype)
    expected = encode(voxels, EncodeOptions("fast"))
    assert encode(voxels, EncodeOptions("fast"), engine=TORCH) == expected
    assert np.array_equal(decode(*expected, engine=TORCH), voxels)


def _of_their_length(path: Path) -> object:
    """`paper` reads a voxel's neighbours one by one, here as there."""
    return pytest.param(path, marks=pytest.mark.long if "paper-scan" in path.stem else (), id=path.stem)


@pytest.mark.parametrize("path", [*map(_of_their_length, of_any_device())])
def test_golden_files_decode(path: Path) -> None:
    """Of all releases: their supports, their models, and those that were fitted to a volume."""
    with opened(path) as reader:
        numbers = volume_numbers(reader)
        volume = next(one for one in (read_volume(reader, n) for n in numbers) if not one.refers)  # others: on the CPU
        payloads = [reader.read(SectionId(SLAB, volume.number, k)) for k in range(len(volume.layout.slabs))]
    expected = decode(volume.section, payloads)
    assert np.array_equal(decode(volume.section, payloads, engine=TORCH), expected)


def slabs_of_all_kinds(number: int) -> list[wavefront.RowInput]:
    """Slabs with supports, shapes, strides, limits and spikes of their own; one reaches seven slices back, with weights
    whose sums need 64 bits."""
    random = np.random.default_rng(5)
    shapes = (((9, 3, 7), 60_000), ((3, 7, 5), 65535), ((1, 1, 20), 255), ((2, 9, 6), 30_000))
    slabs = []
    for shape, limit in shapes:
        levels = random.integers(0, limit + 1, shape).astype(np.int32) // 8
        levels[random.random(shape) < 0.3] = limit
        slabs.append(slab_of(levels, limit, number))
    runs = {(-7, 7, 0), (-5, -3, -7), *((dz, dy, -4) for dz in (0, -1, -2) for dy in (-2, -1, 0)), (-1, 1, -4)}
    support = supports.of_runs(runs)
    assert support.reach == 7
    groups = int(linear.groups_of(9, 1, support).max()) + 1
    signs = np.array([1, -1, 1])[:, None] * random.choice([1, 1, 1, -1], len(support.offsets))
    weights = (signs * random.integers(9000, 32768, (groups, 3, 1))).astype(np.int16)
    for g in range(groups):
        weights[g, :, support.used(g) :] = 0
    bounds = np.sort(random.integers(0, 300_000, (groups, 2)), axis=1)
    deep = linear.LinearWeights(support, 1, bounds, weights, np.zeros((groups, 3), np.uint8))
    assert linear.ready(deep, (1, 1), 60_000).weights.dtype == np.float64
    return [slab_of(slabs[0].levels, 60_000, number, deep), *slabs[1:]]


@pytest.mark.parametrize("number", [2, 6])
def test_slabs_of_all_kinds_walk_together(number: int) -> None:
    slabs, backend = slabs_of_all_kinds(number), cpu.CpuLstm(ROW.load(models.RELEASED[number]))
    found = on_device.predict_slabs(slabs, on_torch(number), nothing)
    for slab, one in zip(slabs, found, strict=True):
        assert same_predictions(one, wavefront.predict_slab(slab, backend, Team(), nothing))
    assert comes_back(slabs, found, on_torch(number))


def test_a_fitted_model_goes_through_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was made up, since two fits may differ: the second walk is with what the differences make of a model."""
    released = ROW.load(models.chosen("fast"))
    (rows, columns), n = released.weights.shape, released.head.shape
    gains = np.arange(rows) % 5 - 2, np.arange(columns) % 7 - 3
    changed = weight_delta.to_bytes(
        weight_delta.WeightDelta(*gains, np.ones(n, np.int64), np.array([40, -60]), np.zeros((rows, columns), np.int64))
    )
    monkeypatch.setattr(fine_tuning, "fine_tune", lambda *arguments: changed)
    monkeypatch.setattr(encoding, "_size", lambda coded: -len(coded[0]))  # what is fitted is kept
    voxels = scan((3, 14, 12))
    expected = encode(voxels, EncodeOptions("fast", effort=6))
    assert read_header(expected[0]).weight_delta == changed != b""
    assert encode(voxels, EncodeOptions("fast", effort=6), engine=TORCH) == expected
    assert np.array_equal(decode(*expected, engine=TORCH), voxels)


def test_nothing_is_read_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((7, 20, 26))
    coded = encode(voxels, EncodeOptions("fast"))

    class Poisoned(group.RowGroup):
        def __init__(self, network, parts, levels):  # type: ignore[no-untyped-def]
            super().__init__(network, parts, levels)
            if levels is None:
                margins = torch.zeros_like(self.known, dtype=torch.bool)
                known = torch.from_numpy(known_margins(parts[0].layout.shape))
                for offset in self.plan.offsets.tolist():
                    margins[offset : offset + known.numel()] = known
                for array in (self.known, self.error):
                    array[margins] = torch.randint(-(1 << 14), 1 << 14, (int(margins.sum()),), dtype=array.dtype)

    monkeypatch.setattr(on_device, "RowGroup", Poisoned)
    assert np.array_equal(decode(*coded, engine=TORCH), voxels)


def known_margins(shape: tuple[int, int, int]) -> np.ndarray:
    """Where a voxel of the slab or a copy of one will stand, flat."""
    return pad(np.ones(shape, bool), 0, RADIUS).ravel()


def test_the_tile_of_inputs_holds_what_the_linear_stage_begins_with() -> None:
    """Base and activity are read from the tile, so it must hold them for every support there is."""
    levels = [*features.LEVELS]
    for support in (*map(supports.named, supports.DISCS), supports.of_runs({(0, 0, -8), (0, -1, -4), (0, -2, -4)})):
        assert [levels.index(offset) for offset in support.offsets[: supports.BASE]] == [0, 1, 2, 3]
        assert {*support.offsets[: supports.ACTIVITY_IN_SLICE]} == {*levels[: features.LEVELS_IN_SLICE]}
    roles = lanes.lanes().seen[3]
    assert [int(((roles & role) > 0).sum()) for role in (lanes.BASE, lanes.ACTIVITY, lanes.PEAK)] == [4, 19, 7]


def test_progress_adds_up_and_a_caller_may_go_away() -> None:
    voxels, done = scan((40, 12, 12)), []
    header, payloads = encode(voxels, EncodeOptions("fast"), progress=done.append, engine=TORCH)
    assert sum(done) == voxels.size
    done.clear()
    results = decode_slabs(header, dict(enumerate(payloads)), progress=done.append, engine=TORCH)
    next(results)
    assert sum(done) == voxels.size
    results.close()


def test_an_interrupt_ends_both_halves() -> None:
    """And what it was is what the caller sees, not what it did to the halves."""
    voxels, calls = scan((64, 12, 12)), []
    header, payloads = encode(voxels, EncodeOptions("fast"))

    def interrupted(count: int) -> None:
        calls.append(count)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(decode_slabs(header, dict(enumerate(payloads)), progress=interrupted, engine=TORCH))
    assert sum(calls) < voxels.size  # the other half may have been through before it could notice


# ------------------------------------------------------------------------------------------------------ the benchmark


def test_the_benchmark_measures_and_compares_with_what_could_be(pretended: None) -> None:
    volume = gpu_speed.tall(scan((5, 16, 16)), 12)
    assert np.array_equal(volume[:, 0, 0], volume[[0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3], 0, 0]) and len(volume) == 12
    fast = models.chosen("fast")
    assert gpu_speed.needs(models.chosen("base")).products == 256 * 512 + 2 * 256
    measured = gpu_speed.measure(volume, fast, 1, together=2)
    seconds = {(step, volumes): took for step, volumes, took in measured}
    assert seconds["encode", 1] > seconds["predict", 1] > 0
    assert [*seconds] == [("encode", 1), ("predict", 1), ("decode", 1), ("encode", 2), ("decode", 2)]
    most = gpu_speed.ceilings("cpu", 64, 1 << 16, 1)
    encode, *_, both = gpu_speed.rows("a card", fast, volume, measured, most)
    assert set(encode) == set(gpu_speed.COLUMNS) and encode["shape"] == "12x16x16"
    assert float(both["ceiling_seconds"]) >= float(encode["ceiling_seconds"]) and both["volumes"] == "2"


def test_the_benchmark_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_speed, "missing", lambda: "there is no GPU")
    assert gpu_speed.main([]) == 1 and "there is no GPU" in capsys.readouterr().err
