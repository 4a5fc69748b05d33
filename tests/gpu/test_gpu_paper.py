"""What a GPU does with `paper`, by plain torch on the CPU: the CPU's numbers and bytes, there and back. The kernel has
`interpreted.py`, and a GPU `test_on_gpu.py`."""

import numpy as np
import pytest

from benchmarks import gpu as gpu_speed
from neighbourhoods import Neighbourhood, cube, pyramid
from tests.codec.test_codec import decode
from tests.gpu.test_gpu import TORCH, nothing
from tests.pipelines.test_paper import LEFT_FREE, made, scan
from volcomp import models
from volcomp.codec import encode as encoding
from volcomp.codec import engines
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.options import EncodeOptions
from volcomp.pipelines.paper import reference, sequence
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.pipelines.paper.slab import PaperInput, PaperStream, predict_slab, schedule_of, write
from volcomp.pipelines.paper.weights import PaperWeights
from volcomp.pipelines.registry import ready
from volcomp.runtime.team import Team

torch = pytest.importorskip("torch")

from volcomp.gpu import device as devices  # noqa: E402
from volcomp.gpu.paper import device, network, plain, wavefront  # noqa: E402

DEEP = pyramid((5, 3, 3, 1))  # reaches farther than a slab of three slices is tall
FAR = ((-3, 2, 1), (-1, -4, 3), (0, -1, 4), (0, 0, -5))  # with holes, and wider than some volumes


def on_torch(weights: PaperWeights) -> network.DevicePaperLstm:
    return network.DevicePaperLstm(weights, "cpu", plain.PlainPredictor)


def slabs_of(shapes: list[tuple[int, int, int]], limit: int) -> list[PaperInput]:
    """Noise of all sizes, a part of it at the ends of the range."""
    return [PaperInput(device._ranks(shape, limit), limit) for shape in shapes]


def expected(given: PaperInput, weights: PaperWeights) -> np.ndarray:
    return predict_slab(given, reference.ReferencePaperLstm(weights), Team(), nothing)


def check_walks(weights: PaperWeights, slabs: list[PaperInput], on_device: network.DevicePaperLstm) -> None:
    """There and back as the reference says; slabs that walk together ask for everything, and rightly."""
    right = [expected(given, weights) for given in slabs]
    for found, one in zip(wavefront.predict_slabs(slabs, on_device, nothing), right, strict=True):
        assert found.dtype == np.int32 and np.array_equal(found, one)
    replays = [device.Replay(given, one, weights) for given, one in zip(slabs, right, strict=True)]
    opened = [PaperStream(given.shape, replay, given.limit) for given, replay in zip(slabs, replays, strict=True)]  # type: ignore[arg-type]
    back = wavefront.decode_slabs(opened, on_device, nothing)
    assert all(replay.is_complete for replay in replays)
    for levels, given in zip(back, slabs, strict=True):
        assert isinstance(levels, np.ndarray) and np.array_equal(levels, given.ranks)


# ------------------------------------------------------------------------------------------------ the same everywhere


@pytest.mark.parametrize("limit", [0, 1, 255, 4095, 32768, 65535])
@pytest.mark.parametrize("size", [0.1, 0.5, 3.0])
def test_any_range_and_any_network(size: float, limit: int) -> None:
    """Gates and cells at their limits, ranks beyond int16."""
    weights = made(size=size)
    check_walks(weights, slabs_of([(2, 4, 5), (1, 4, 5)], limit), on_torch(weights))


@pytest.mark.parametrize("neighbourhood", [LEFT_FREE, DEEP, FAR, cube(1), ((0, 0, -1),), ((-1, 0, 0),)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 7), (3, 6, 1), (4, 5, 6), (1, 1, 9)])
def test_any_neighbourhood_and_any_shape(neighbourhood: Neighbourhood, shape: tuple[int, int, int]) -> None:
    weights = made(neighbourhood)
    taller = (shape[0] + 1, *shape[1:])
    check_walks(weights, slabs_of([shape, taller, shape], 900), on_torch(weights))


def test_every_entry_of_the_table() -> None:
    """And beyond both of its ends."""
    z = torch.arange(-9000, 9000, dtype=torch.int32)
    found = plain.PlainPredictor(on_torch(made()))._sigmoid(z)
    assert np.array_equal(found.numpy(), reference.ReferencePaperLstm(made())._sigmoid(z.numpy()))


@pytest.mark.parametrize("limit", [900, 65535])
def test_volumes_have_the_same_bytes(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The released model, three slabs of two heights, in two turns; escapes, ranks beyond int16."""
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 3)
    monkeypatch.setattr(wavefront, "PART", 100)
    monkeypatch.setattr(plain, "CHUNK", 64)
    voxels = (scan((8, 7, 9), 900) if limit == 900 else device._ranks((8, 7, 9), limit)).astype("<u2")
    coded = encode(voxels, EncodeOptions("paper", device="cpu"))
    assert len(coded[1]) == 3
    assert encode(voxels, EncodeOptions("paper"), engine=TORCH) == coded
    assert np.array_equal(decode(*coded, engine=TORCH), voxels)


def test_nothing_is_read_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((4, 7, 9)).astype("<u2")
    coded = encode(voxels, EncodeOptions("paper"))

    class Poisoned(network.PaperGroup):
        def __init__(self, *arguments):  # type: ignore[no-untyped-def]
            super().__init__(*arguments)
            self.known[self.places] = torch.randint(-(1 << 14), 1 << 14, (len(self.places),), dtype=torch.int32)

    monkeypatch.setattr(wavefront, "PaperGroup", Poisoned)
    assert np.array_equal(decode(*coded, engine=TORCH), voxels)


def test_borders_read_the_least() -> None:
    """As on the CPU, whatever stands in other slabs of the group."""
    weights, (given,) = made(DEEP), slabs_of([(3, 5, 6)], 900)
    group = network.PaperGroup(on_torch(weights), [PaperStream(given.shape, None, 900)] * 2)  # type: ignore[arg-type]
    group.known[group.places] = 1
    own = sequence.padded(np.ones(given.shape), weights.offsets, 1)
    assert np.array_equal(group.known.numpy().reshape(group._padded), np.concatenate([own, own]))


def test_progress_adds_up_and_a_caller_may_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 2)
    monkeypatch.setattr(wavefront, "PART", 50)
    voxels, done = scan((6, 6, 7)).astype("<u2"), []
    header, payloads = encode(voxels, EncodeOptions("paper"), progress=done.append, engine=TORCH)
    assert sum(done) == voxels.size and len(done) > 2
    done.clear()
    results = decode_slabs(header, dict(enumerate(payloads)), progress=done.append, engine=TORCH)
    next(results)
    assert sum(done) == voxels.size
    results.close()


# -------------------------------------------------------------------------------------------------- what goes amiss


def test_a_damaged_slab_leaves_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 2)
    voxels = scan((8, 6, 7)).astype("<u2")
    header, payloads = encode(voxels, EncodeOptions("paper"))
    assert len(payloads) == 4
    first, second, third, _ = payloads
    damaged = {0: first[:12], 1: second[:-9] + bytes(9), 2: third, 3: third}
    results = dict(decode_slabs(header, damaged, engine=TORCH))
    expected = dict(decode_slabs(header, damaged))
    assert np.array_equal(results[2], voxels[4:6])
    for k in (0, 1, 3):
        assert isinstance(results[k], DamagedError) and str(results[k]) == str(expected[k])


def test_with_little_memory_fewer_slabs_walk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 2)
    voxels = scan((10, 4, 5)).astype("<u2")
    coded = encode(voxels, EncodeOptions("paper"))
    rooms = [1]

    class OutOfMemory(network.PaperGroup):
        def __init__(self, on_device: network.DevicePaperLstm, slabs: list[PaperStream]) -> None:
            if len(slabs) > rooms[0]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(on_device, slabs)

    monkeypatch.setattr(device, "check", nothing)
    engines._on_device.cache_clear()
    monkeypatch.setattr(wavefront, "PaperGroup", OutOfMemory)
    assert np.array_equal(decode(*coded, engine=TORCH), voxels)
    rooms[0] = 0
    with pytest.raises(UnsupportedError, match=r'MB free that a slab of \(2, 4, 5\) needs; use device="cpu"'):
        decode(*coded, engine=TORCH)


class OffByOne(plain.PlainPredictor):
    """Wrong from its seventieth voxel on."""

    def predict(self, known, steps, places, begin, limit, out):  # type: ignore[no-untyped-def]
        super().predict(known, steps, places, begin, limit, out)
        if begin + len(out) > 70 and limit > 4095:
            out[-1] += 1


def test_a_device_that_gives_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ways", lambda where: [OffByOne])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"), pytest.raises(UnsupportedError, match="made"):
        devices.network("paper", made(), "cpu")
    monkeypatch.setattr(device, "ways", lambda where: [OffByOne, plain.PlainPredictor])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"):
        assert devices.network("paper", made(), "cpu").make is plain.PlainPredictor


def test_a_device_that_gives_other_numbers_on_the_way_back_is_refused() -> None:
    right = wavefront.decode_slabs

    def wrong(slabs, *arguments):  # type: ignore[no-untyped-def]
        back = right(slabs, *arguments)
        back[0][-1, -1, -1] ^= 1  # type: ignore[index]
        return back

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="the reference's numbers"):
        patch.setattr(wavefront, "decode_slabs", wrong)
        device.check(on_torch(made()))
    device.check(on_torch(made()))


def test_auto_takes_a_gpu(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((3, 6, 7)).astype("<u2")
    expected = encode(voxels, EncodeOptions("paper", device="cpu"))
    monkeypatch.setattr(engines, "OnThreads", None)
    for where in ("auto", "cuda"):
        assert encode(voxels, EncodeOptions("paper", device=where)) == expected
        assert np.array_equal(decode(*expected, device=where), voxels)


def test_auto_weighs_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU is worth its while for has fewer voxels than with models that take one step for each."""
    asked: list[int] = []

    def noted(where: str, work: int) -> bool:
        asked.append(work)
        raise UnsupportedError("that will do")

    monkeypatch.setattr(engines, "_takes_gpu", noted)
    for model in ("paper", "fast"):
        with pytest.raises(UnsupportedError, match="that will do"):
            engines.by_device(ready(models.chosen(model)), "auto", {0: 20, 1: 10}, engines.Workers(1, 1), asked.append)
    assert asked == [30 * PAPER.work, 30] and PAPER.work << 18 >= engines.LARGE


def test_the_benchmark_measures_any_neighbourhood(pretended: None) -> None:
    volume = scan((2, 5, 6)).astype("<u2")
    assert gpu_speed.needs(models.chosen("paper")) == gpu_speed.Needs(21 * 2 * 65536 + 128, 16)
    reading = gpu_speed.reading("cube:3")
    assert gpu_speed.needs(reading).products == 12 * 2 * 65536 + 128
    measured = gpu_speed.measure(volume, reading, 1, together=1)
    assert [one.step for one in measured] == ["encode", "predict", "decode"]
    assert min(one.seconds for one in measured) > 0 and len(PAPER.load(models.chosen("paper")).offsets) == 22


def test_models_on_trial_may_take_turns() -> None:
    """No network of an earlier one is remembered under the number that trials have."""
    from experiments.trial import trial

    voxels = scan((2, 6, 7)).astype("<u2")
    for seed in (0, 1):
        model = trial(made(seed=seed))
        coded = encode(voxels, EncodeOptions(model))
        ((_, back),) = decode_slabs(coded[0], {0: coded[1][0]}, trial=model)
        assert np.array_equal(back, voxels)
        given = PaperInput(voxels.astype(np.int32) - int(voxels.min()), int(voxels.max()) - int(voxels.min()))
        assert coded[1][0].endswith(write(given, expected(given, made(seed=seed)), schedule_of(made())))
