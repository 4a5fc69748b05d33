"""What a GPU does, by plain torch on the CPU: the same bytes as the CPU backend, whoever coded and whoever decodes; and
what becomes of a device that is not there, too small or wrong. The kernels have `test_kernels.py`."""

import sys
from pathlib import Path
from threading import Thread
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks import gpu as gpu_speed
from volcomp import codec, differences, engines, features, least_squares, linear, models, spike, supports, walk
from volcomp.arrays import _opened
from volcomp.coding import Reader, Survey
from volcomp.container import SLAB, SectionId
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.handover import ByCalls
from volcomp.lstm import cpu
from volcomp.slab import Team, lay_out
from volcomp.volume import read_volume

from .golden import FOLDER
from .test_codec import decode, scan, volumes

torch = pytest.importorskip("torch")

from volcomp.gpu import device, group, plain, turns  # noqa: E402
from volcomp.gpu import network as networks  # noqa: E402
from volcomp.gpu import walk as gpu_walk  # noqa: E402
from volcomp.tensors import lanes  # noqa: E402


def on_torch(number: int) -> networks.Network:
    return networks.Network(models.weights(number), "cpu", plain.Steps)


def slab_of(levels: np.ndarray, limit: int, number: int, fitted: linear.Weights | None = None) -> walk.Given:
    """As the codec begins one, at the least effort: its fronts are fewest."""
    fitted = fitted or least_squares.fit_by_effort(levels, models.RUNS["base"], 1)
    common = spike.candidate(levels, limit)
    quiet = common if models.weights(number).learns else None
    return walk.Given(lay_out(levels.shape, fitted), levels, limit, fitted, common, quiet)


def same_survey(one: object, other: object) -> bool:
    return all((a is None) == (b is None) and np.array_equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[call-overload]


def nothing(done: int) -> None:
    """For walks whose progress is of no interest."""


def comes_back(slabs: list[walk.Given], surveys: list[Survey], network: networks.Network) -> bool:
    """Whether a walk back, asked for what the surveys say, is told the voxels and gives the slabs."""
    replays = [device._Replay(slab, survey) for slab, survey in zip(slabs, surveys, strict=True)]
    both = zip(slabs, replays, strict=True)
    opened = [walk.Opened(slab.layout, cast(Reader, replay), slab.limit, slab.fitted) for slab, replay in both]
    levels = gpu_walk.restore(opened, network, nothing)
    same = [
        isinstance(one, np.ndarray) and np.array_equal(one, slab.levels)
        for one, slab in zip(levels, slabs, strict=True)
    ]
    return all(same) and all(replay.same for replay in replays)


# ------------------------------------------------------------------------------------------------ the same everywhere


@pytest.mark.parametrize("model", models.RUNS)
@settings(max_examples=6)
@given(voxels=volumes)
def test_any_volume_has_the_same_bytes(model: str, voxels: np.ndarray) -> None:
    expected = codec.encode(voxels, model=model)
    assert codec.encode(voxels, model=model, backend="torch") == expected
    assert np.array_equal(decode(*expected, backend="torch"), voxels)


@pytest.mark.parametrize("number", sorted(models.RELEASED.keys() - models.PUBLISHED))
def test_slabs_of_all_heights_have_the_same_bytes(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back, every released model; a ball in air, with padding, in slabs of 4, 5 and 5 slices."""
    voxels = scan((14, 24, 31))
    monkeypatch.setitem(models.CURRENT, "fast", number)
    monkeypatch.setattr(codec, "SLAB_HEIGHT", 5)
    expected = codec.encode(voxels, model="fast")
    assert len(expected[1]) == 3
    coded = codec.encode(voxels, model="fast", backend="torch")
    assert coded == expected
    assert np.array_equal(decode(*expected, backend="torch"), voxels)
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
    expected = codec.encode(voxels, model="fast")
    assert codec.encode(voxels, model="fast", backend="torch") == expected
    assert np.array_equal(decode(*expected, backend="torch"), voxels)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.vcz")), ids=lambda path: path.stem)
def test_golden_files_decode(path: Path) -> None:
    """Of all releases: their supports, their models, and those that were fitted to a volume."""
    with _opened(path) as reader:
        volume = read_volume(reader, 0)
        payloads = [reader.read(SectionId(SLAB, 0, k)) for k in range(len(volume.layout.slabs))]
    expected = decode(volume.codec_header, payloads)
    assert np.array_equal(decode(volume.codec_header, payloads, backend="torch"), expected)


def slabs_of_all_kinds(number: int) -> list[walk.Given]:
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
    deep = linear.Weights(support, 1, bounds, weights, np.zeros((groups, 3), np.uint8))
    assert linear.ready(deep, (1, 1), 60_000).weights.dtype == np.float64
    return [slab_of(slabs[0].levels, 60_000, number, deep), *slabs[1:]]


@pytest.mark.parametrize("number", [2, 6])
def test_slabs_of_all_kinds_walk_together(number: int) -> None:
    slabs, backend = slabs_of_all_kinds(number), cpu.Network(models.weights(number))
    found = gpu_walk.survey(slabs, on_torch(number), nothing)
    for slab, survey in zip(slabs, found, strict=True):
        assert same_survey(survey, walk.survey(slab, backend, Team(None, 1), nothing))
    assert comes_back(slabs, found, on_torch(number))


def test_a_fitted_model_goes_through_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was made up, since two fits may differ: the second walk is with what the differences make of a model."""
    released = models.weights(models.CURRENT["fast"])
    (rows, columns), n = released.weights.shape, released.head.shape
    gains = np.arange(rows) % 5 - 2, np.arange(columns) % 7 - 3
    changed = differences.to_bytes(
        differences.Differences(*gains, np.ones(n, np.int64), np.array([40, -60]), np.zeros((rows, columns), np.int64))
    )
    monkeypatch.setattr(codec, "_fit", lambda *arguments: changed)
    monkeypatch.setattr(codec, "_size", lambda coded: -len(coded[0]))  # what is fitted is kept
    voxels = scan((3, 14, 12))
    expected = codec.encode(voxels, model="fast", effort=6)
    assert codec.read_header(expected[0]).differences == changed != b""
    assert codec.encode(voxels, model="fast", effort=6, backend="torch") == expected
    assert np.array_equal(decode(*expected, backend="torch"), voxels)


def test_nothing_is_read_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((7, 20, 26))
    coded = codec.encode(voxels, model="fast")

    class Poisoned(group.Group):
        def __init__(self, network, parts, levels):  # type: ignore[no-untyped-def]
            super().__init__(network, parts, levels)
            if levels is None:
                margins = torch.zeros_like(self.known, dtype=torch.bool)
                known = torch.from_numpy(known_margins(parts[0].layout.shape))
                for offset in self.plan.offsets.tolist():
                    margins[offset : offset + known.numel()] = known
                for array in (self.known, self.error):
                    array[margins] = torch.randint(-(1 << 14), 1 << 14, (int(margins.sum()),), dtype=array.dtype)

    monkeypatch.setattr(gpu_walk, "Group", Poisoned)
    assert np.array_equal(decode(*coded, backend="torch"), voxels)


def known_margins(shape: tuple[int, int, int]) -> np.ndarray:
    """Where a voxel of the slab or a copy of one will stand, flat."""
    return walk.pad(np.ones(shape, bool), 0, linear.RADIUS).ravel()


def test_the_tile_of_inputs_holds_what_the_linear_stage_begins_with() -> None:
    """Base and activity are read from the tile, so it must hold them for every support there is."""
    levels = [*features.LEVELS]
    for support in (*map(supports.named, supports.DISCS), supports.of_runs({(0, 0, -8), (0, -1, -4), (0, -2, -4)})):
        assert [levels.index(offset) for offset in support.offsets[: supports.BASE]] == [0, 1, 2, 3]
        assert {*support.offsets[: supports.ACTIVITY_IN_SLICE]} == {*levels[: features.LEVELS_IN_SLICE]}
    roles = lanes.lanes().seen[3]
    assert [int(((roles & role) > 0).sum()) for role in (lanes.BASE, lanes.ACTIVITY, lanes.SPIKED)] == [4, 19, 7]


def test_progress_adds_up_and_a_caller_may_go_away() -> None:
    voxels, done = scan((40, 12, 12)), []
    header, payloads = codec.encode(voxels, model="fast", progress=done.append, backend="torch")
    assert sum(done) == voxels.size
    done.clear()
    results = codec.decode_slabs(header, dict(enumerate(payloads)), progress=done.append, backend="torch")
    next(results)
    assert sum(done) == voxels.size
    results.close()  # type: ignore[attr-defined]


def test_an_interrupt_ends_both_halves() -> None:
    """And what it was is what the caller sees, not what it did to the halves."""
    voxels, calls = scan((64, 12, 12)), []
    header, payloads = codec.encode(voxels, model="fast")

    def interrupted(count: int) -> None:
        calls.append(count)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(codec.decode_slabs(header, dict(enumerate(payloads)), progress=interrupted, backend="torch"))
    assert sum(calls) < voxels.size  # the other half may have been through before it could notice


# -------------------------------------------------------------------------------------------------- what goes amiss


def test_a_damaged_slab_leaves_the_others_whole(low_slabs: None) -> None:
    voxels = scan((80, 10, 12))
    header, payloads = codec.encode(voxels, model="fast")
    assert len(payloads) == 4
    short, garbled, *_ = payloads
    damaged = {0: short[:20], 1: garbled[:-40] + bytes(40), 2: payloads[2], 3: payloads[2]}
    results = dict(codec.decode_slabs(header, damaged, backend="torch"))
    expected = dict(codec.decode_slabs(header, damaged))
    assert np.array_equal(results[2], voxels[40:60])
    for k in (0, 1, 3):
        assert isinstance(results[k], DamagedError) and str(results[k]) == str(expected[k])


def test_what_a_slab_holds_beyond_its_voxels_is_damage(low_slabs: None) -> None:
    header, payloads = codec.encode(scan((40, 5, 6)), model="fast")
    longer = {k: data + bytes(3) * (k == 1) for k, data in enumerate(payloads)}
    results = dict(codec.decode_slabs(header, longer, backend="torch"))
    assert [k for k, found in results.items() if isinstance(found, DamagedError)] == [1]
    assert "more raw bits than its voxels" in str(results[1])


class OutOfMemory(group.Group):
    """A device with room for so many slabs."""

    room = 1

    def __init__(self, network, parts, levels):  # type: ignore[no-untyped-def]
        if len(parts) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().__init__(network, parts, levels)


def test_with_little_memory_fewer_slabs_walk_at_once(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    voxels = scan((100, 6, 9))
    expected = codec.encode(voxels, model="fast")
    assert len(expected[1]) == 5
    monkeypatch.setattr(gpu_walk, "Group", OutOfMemory)
    monkeypatch.setattr(device, "check", nothing)
    assert codec.encode(voxels, model="fast", backend="torch") == expected
    assert np.array_equal(decode(*expected, backend="torch"), voxels)
    monkeypatch.setattr(OutOfMemory, "room", 0)
    with pytest.raises(UnsupportedError, match=r"MB free that a slab of .* needs; use --device cpu"):
        codec.encode(voxels, model="fast", backend="torch")
    with pytest.raises(UnsupportedError, match="use --device cpu"):
        decode(*expected, backend="torch")


def test_other_failures_of_the_device_are_not_taken_for_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = codec.encode(scan((2, 5, 6)), model="fast")

    def broken(*arguments: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(device, "check", nothing)
    monkeypatch.setattr(gpu_walk, "Group", broken)
    with pytest.raises(
        UnsupportedError, match=r"failed \(an illegal memory access was encountered\): use --device cpu"
    ):
        decode(*coded, backend="torch")


def test_a_thread_that_fails_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    coded = codec.encode(scan((40, 5, 6)), model="fast")

    def broken(self: Reader, *arguments: object) -> bool:
        raise ZeroDivisionError("in a thread")

    monkeypatch.setattr(device, "check", nothing)
    monkeypatch.setattr(Reader, "serve", broken)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        decode(*coded, backend="torch")
    monkeypatch.setattr(Reader, "take", broken)  # or at its first front
    monkeypatch.setattr(Reader, "serve", ByCalls.serve)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        decode(*coded, backend="torch")


def test_without_a_thread_for_every_slab_none_waits(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    coded = codec.encode(scan((80, 5, 6)), model="fast")
    started: list[Thread] = []

    class Rare(Thread):
        def start(self) -> None:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(device, "check", nothing)
    monkeypatch.setattr(turns, "TURNS", 1)
    monkeypatch.setattr(turns, "Thread", Rare)
    with pytest.raises(UnsupportedError, match="can't start new thread"):
        decode(*coded, backend="torch")
    assert not started[0].is_alive()


def test_groups_are_as_large_as_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = on_torch(3)
    engine = engines.OnDevice(device.Walks(network), None, nothing)  # type: ignore[arg-type]
    slabs = dict.fromkeys(range(5), 1000)
    monkeypatch.setattr(network, "free", lambda: 100 * 2500)
    assert [*engine._groups(slabs, 100)] == [[0, 1], [2, 3], [4]] and engine.has_room(slabs)
    monkeypatch.setattr(network, "free", lambda: 100)
    assert [*engine._groups(slabs, 100)] == [[0], [1], [2], [3], [4]] and not engine.has_room(slabs)


class OffByOne(plain.Steps):
    """Wrong from its hundredth voxel on."""

    def predict(self) -> None:
        super().predict()
        self._g.trace.mean[100:101] += 1


def test_a_device_that_gives_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ways", lambda where: [OffByOne])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"), pytest.raises(UnsupportedError, match="fast-2"):
        device.network(models.weights(3), "cpu")
    monkeypatch.setattr(device, "ways", lambda where: [OffByOne, plain.Steps])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"):
        assert device.network(models.weights(3), "cpu").steps is plain.Steps


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """As if torch's CPU were a GPU, and nothing too small for it."""
    genuine = device.network
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(device, "network", lambda weights, where, way: genuine(weights, "cpu", "torch"))
    monkeypatch.setattr(codec, "LARGE", 0)
    codec._on_device.cache_clear()
    yield
    codec._on_device.cache_clear()


def test_auto_takes_a_gpu_and_leaves_one_that_is_wrong_or_full(
    pretended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, taken = scan((3, 9, 11)), []

    class Noted(engines.OnDevice):
        def survey(self, *arguments):  # type: ignore[no-untyped-def]
            taken.append(True)
            return super().survey(*arguments)

    monkeypatch.setattr(codec, "OnDevice", Noted)
    expected = codec.encode(voxels, device="cpu")
    assert codec.encode(voxels) == expected and taken == [True]
    assert codec.encode(voxels, device="cuda") == expected and taken == [True] * 2
    monkeypatch.setattr(networks.Network, "free", lambda self: 1000)
    assert codec.encode(voxels) == expected and taken == [True] * 2


def test_a_wrong_gpu_is_refused_or_left(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((3, 9, 11))

    def refused(*arguments: object) -> networks.Network:
        raise UnsupportedError("this GPU does not give the numbers")

    monkeypatch.setattr(device, "network", refused)
    assert codec.encode(voxels) == codec.encode(voxels, device="cpu")
    with pytest.raises(UnsupportedError, match="does not give the numbers"):
        codec.encode(voxels, device="cuda")


def test_without_a_gpu_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((2, 5, 5))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UnsupportedError, match=r"build for the CPU: install one with CUDA, or use --device cpu"):
        codec.encode(voxels, device="cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UnsupportedError, match="nvidia-smi"):
        codec.encode(voxels, device="cuda")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        codec.encode(voxels, device="cuda")
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"not installed: pip install 'volcomp\[gpu\]'"):
        codec.encode(voxels, device="cuda")
    assert device.ways("cuda") == [plain.Steps]  # without Triton


# ------------------------------------------------------------------------------------------------------ the benchmark


def test_the_benchmark_measures_and_compares_with_what_could_be(pretended: None) -> None:
    volume = gpu_speed.tall(scan((5, 16, 16)), 12)
    assert np.array_equal(volume[:, 0, 0], volume[[0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3], 0, 0]) and len(volume) == 12
    assert gpu_speed.needs("base").products == 256 * 512 + 2 * 256
    measured = gpu_speed.measure(volume, "fast", 1, most=2)
    seconds = {(step, volumes): took for step, volumes, took in measured}
    assert seconds["encode", 1] > seconds["survey", 1] > 0
    assert [*seconds] == [("encode", 1), ("survey", 1), ("decode", 1), ("encode", 2), ("decode", 2)]
    most = gpu_speed.ceilings("cpu", 64, 1 << 16, 1)
    encode, *_, both = gpu_speed.rows("a card", "fast", volume, measured, most)
    assert set(encode) == set(gpu_speed.COLUMNS) and encode["shape"] == "12x16x16"
    assert float(both["ceiling_seconds"]) >= float(encode["ceiling_seconds"]) and both["volumes"] == "2"


def test_the_benchmark_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_speed, "missing", lambda: "there is no GPU")
    assert gpu_speed.main([]) == 1 and "there is no GPU" in capsys.readouterr().err
