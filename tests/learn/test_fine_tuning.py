"""Models fitted to a volume: differences come back, unsound ones are refused, and no file is larger for the effort."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import volcomp
from tests.conformance import decoder
from volcomp import models, options
from volcomp.codec import encode as encoding
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode, progress_of
from volcomp.codec.engines import by_device, by_reference, on
from volcomp.container.inspection import opened
from volcomp.container.sections import SLAB, SectionId
from volcomp.container.volume import Volume, read_header, read_volume
from volcomp.errors import DamagedError, UnsupportedError, VolcompError
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.pipelines.registry import ready
from volcomp.pipelines.row.pipeline import ROW
from volcomp.runtime import products
from volcomp.stages import weight_delta
from volcomp.stages.weight_delta import WeightDelta
from volcomp.wire.cursor import string

RELEASED = ROW.load(models.chosen("fast"))


def some(seed: int, share: float = 0.05, largest: int = 3, gain: int = 9) -> WeightDelta:
    """Differences to `fast` that leave it sound."""
    random = np.random.default_rng(seed)
    rows, columns = RELEASED.weights.shape
    row, column = random.integers(-gain, gain + 1, rows), random.integers(-gain, gain + 1, columns)
    single = random.integers(-largest, largest + 1, (rows, columns)) * (random.random((rows, columns)) < share)
    gained = weight_delta.gained(RELEASED.weights, row, column)
    return WeightDelta(
        row,
        column,
        random.integers(-30, 31, RELEASED.head.shape),
        random.integers(-900, 901, 2),
        np.clip(gained + single, -64, 64) - gained,
    )


def nothing() -> WeightDelta:
    return WeightDelta(
        np.zeros(len(RELEASED.weights), np.int64),
        np.zeros(RELEASED.weights.shape[1], np.int64),
        np.zeros(RELEASED.head.shape, np.int64),
        np.zeros(2, np.int64),
        np.zeros(RELEASED.weights.shape, np.int64),
    )


def same(a: WeightDelta, b: WeightDelta) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def scan(shape: tuple[int, int, int] = (10, 60, 64)) -> np.ndarray:
    """Noise that the models have not seen the like of, on a ramp: every second column has fifteen times as much."""
    noise = np.random.default_rng(5).normal(0, 1, shape) * np.where(np.arange(shape[2]) % 2, 2, 30)
    return (900 + 3 * np.arange(shape[1])[:, None] + noise).round().astype("<i2")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, bytes]:
    """A volume, and its file with made differences of which every part is used."""
    from volcomp.learn import fine_tuning

    voxels = scan((4, 20, 24))
    changed = weight_delta.to_bytes(some(3))
    monkeypatch.setattr(fine_tuning, "fine_tune", lambda *_: changed)
    monkeypatch.setattr(encoding, "_size", lambda coded: -coded[0][0])  # whatever it costs
    return voxels, volcomp.compress(voxels, model="fast", effort=9, verify=False)


def read(data: bytes) -> tuple[Volume, dict[int, bytes]]:
    """A file's volume, and the payload of its slab."""
    with opened(data) as reader:
        return read_volume(reader, 0), {0: reader.read(SectionId(SLAB, 0, 0))}


@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0, 0.001, 0.1, 1]), largest=st.sampled_from([1, 5, 128]))
def test_differences_come_back(seed: int, share: float, largest: int) -> None:
    d = some(seed, share, largest)
    data = weight_delta.to_bytes(d)
    assert same(weight_delta.from_bytes(data, RELEASED), d)
    assert weight_delta.apply(RELEASED, d).weights.dtype == np.int8


def test_no_differences_are_four_bytes() -> None:
    data = weight_delta.to_bytes(nothing())
    assert data == bytes(4) and same(weight_delta.from_bytes(data, RELEASED), nothing())
    assert np.array_equal(weight_delta.apply(RELEASED, nothing()).weights, RELEASED.weights)


@given(st.binary(max_size=60), st.sampled_from([b"", bytes(4)]))
def test_hostile_differences_are_refused_or_sound(data: bytes, before: bytes) -> None:
    try:
        d = weight_delta.from_bytes(before + data, RELEASED)
        weight_delta.apply(RELEASED, d)
    except DamagedError:
        return
    assert weight_delta.to_bytes(d) == before + data


def test_unsound_models_are_refused() -> None:
    def refused(sentence: str, **parts: np.ndarray) -> None:
        d = replace(nothing(), **parts)
        again = weight_delta.from_bytes(weight_delta.to_bytes(d), RELEASED)
        with pytest.raises(DamagedError, match=sentence):
            weight_delta.apply(RELEASED, again)

    full = np.full(RELEASED.weights.shape, 64) - RELEASED.weights
    refused("within ±64", weights=full + 1)
    refused("not hold", weights=np.full_like(full, 128))
    refused("gains", rows=np.full(len(RELEASED.weights), 33))
    refused("could reach|head that learns", head=np.full(RELEASED.head.shape, 20000))
    refused("not hold", head=np.full(RELEASED.head.shape, 40000))
    refused("could reach|not hold|head that learns", bias=np.array([1 << 24, 0]))
    weight_delta.apply(RELEASED, replace(nothing(), weights=full))  # all at the limit is sound


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("backend", ["reference", *(maker.__name__ for maker in products.makers())])
def test_every_backend_decodes(
    made: tuple[np.ndarray, bytes], threads: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, data = made
    volume, payloads = read(data)
    assert volume.section[0] == models.FINE_TUNED + models.chosen("fast").number
    if backend != "reference":
        ready.cache_clear()
        monkeypatch.setattr(products, "makers", lambda: [getattr(products, backend)])
    engine = by_reference if backend == "reference" else by_device
    ((_, back),) = decode_slabs(volume.section, payloads, DecodeOptions(threads), engine=engine)
    ready.cache_clear()
    assert np.array_equal(back, voxels)


def test_the_conformance_decoder_decodes(made: tuple[np.ndarray, bytes]) -> None:
    voxels, data = made
    assert np.array_equal(decoder.decode(data), voxels)


def test_damaged_differences_are_noticed(made: tuple[np.ndarray, bytes]) -> None:
    volume, payloads = read(made[1])
    header, changed = volume.section, volume.layout.weight_delta
    begin = header.index(string(changed))
    for at in range(begin, begin + len(string(changed)), 7):
        flipped = bytearray(header)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(VolcompError):
            for _, part in decode_slabs(bytes(flipped), payloads):
                if isinstance(part, DamagedError):
                    raise part
    for size in range(begin, begin + len(string(changed)), 11):
        with pytest.raises(DamagedError):
            read_header(header[:size])


@pytest.mark.long
@pytest.mark.parametrize("model", [choice for choice in models.CHOICES if models.chosen(choice).network])
def test_more_effort_is_never_larger(model: str) -> None:
    pytest.importorskip("torch")
    voxels = scan()
    sizes = {effort: len(volcomp.compress(voxels, model=model, effort=effort, threads=2)) for effort in (5, 9)}
    assert sizes[9] <= sizes[5]
    tiny = voxels[:1, :3, :4]
    assert len(volcomp.compress(tiny, model=model, effort=9)) <= len(volcomp.compress(tiny, model=model))


LARGE = (8, 96, 96)  # enough for a fit to be worth what it takes to send


@pytest.fixture(scope="module")
def saved_by_the_cpu() -> int:
    """Bytes that a fit of `LARGE` at effort 6 saves."""
    pytest.importorskip("torch")
    voxels = scan(LARGE)
    done: list[int] = []
    fitted = encode(voxels, EncodeOptions("fast", effort=6), progress=done.append)
    assert sum(done) == progress_of(voxels.size, 6)
    assert fitted[0][0] == models.FINE_TUNED + models.chosen("fast").number
    return encoding._size(encode(voxels, EncodeOptions("fast"))) - encoding._size(fitted)


@pytest.mark.xdist_group("fit")
def test_a_fit_finds_what_the_model_does_not_know(saved_by_the_cpu: int) -> None:
    assert saved_by_the_cpu > 0


@pytest.mark.long
@pytest.mark.xdist_group("fit")  # in one process, so that the CPU fits once
def test_a_fit_as_a_gpu_does_it(saved_by_the_cpu: int) -> None:
    """By plain torch: it saves at least half of what the CPU's fit does, and the file decodes.

    No more holds on every processor: sums of floats come in another order, and after many steps one fit in floats
    is another than the next, by a fifth of what they save.
    """
    voxels = scan(LARGE)
    done: list[int] = []
    fitted = encode(voxels, EncodeOptions("fast", effort=6), engine=on("cpu", "torch"), progress=done.append)
    assert sum(done) == progress_of(voxels.size, 6)
    assert fitted[0][0] == models.FINE_TUNED + models.chosen("fast").number
    saved = encoding._size(encode(voxels, EncodeOptions("fast"))) - encoding._size(fitted)
    assert saved > saved_by_the_cpu / 2 > 0
    payloads = dict(enumerate(fitted[1]))
    back = np.concatenate([part for _, part in decode_slabs(fitted[0], payloads)])
    assert np.array_equal(back, voxels)


def test_where_a_device_fails_the_cpu_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the work; what is told of progress is told once, and the caller may still end it."""
    pytest.importorskip("torch")
    import torch

    from volcomp.learn import data, device, fine_tuning

    class Small(device.DevicePasses):
        steps = 0

        def _backward(self, *arguments: object) -> torch.Tensor:
            self.steps += 1
            if self.steps == 5:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
            return super()._backward(*arguments)  # type: ignore[arg-type]

    slabs = data.slabs_of(scan(), 4)
    monkeypatch.setattr(fine_tuning, "STEPS", 8)
    expected = fine_tuning.fine_tune_slabs(RELEASED, slabs, scan().size, 0.1, 1, lambda visited: None)
    monkeypatch.setattr(device, "ways", lambda where: [Small])
    done: list[int] = []
    with pytest.warns(RuntimeWarning, match=r"fine-tuned on the CPU, for cpu:0 failed: CUDA out of memory"):
        found = fine_tuning.fine_tune_slabs(RELEASED, slabs, scan().size, 0.1, 1, done.append, "cpu:0")
    assert found == expected and sum(done) == fine_tuning.visits(scan().size, 0.1)

    def enough(visited: int) -> None:
        raise RuntimeError("the caller has gone")

    with pytest.raises(RuntimeError, match="the caller has gone"):
        fine_tuning.fine_tune_slabs(RELEASED, slabs, scan().size, 0.1, 1, enough, "cpu:0")


def test_the_weights_of_a_step_are_those_that_would_be_sent() -> None:
    """Also where gains and weights are at their limits."""
    torch = pytest.importorskip("torch")
    from volcomp.learn import fine_tuning

    state, random = fine_tuning._State(RELEASED, 1 << 22, "cpu"), torch.Generator().manual_seed(1)
    for k, size in enumerate((0.4, 0.4, 0.01, 0.01, 30.0)):
        state.parameters[k] += size * torch.randn(state.parameters[k].shape, generator=random)
    sent = weight_delta.apply(RELEASED, state.delta()).weights
    assert np.abs(sent).max() == 64 and np.array_equal(state.now().numpy(), sent)


@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_low_efforts_come_back(seed: int) -> None:
    voxels = np.random.default_rng(seed).integers(0, 50, (3, 9, 11)).astype("u1")
    data = volcomp.compress(voxels, model="fast", effort=1 + seed % 4)
    assert np.array_equal(volcomp.decompress(data), voxels)


def test_efforts_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for effort in (0, 10, -1):
        with pytest.raises(UnsupportedError, match=r"take 1 .* to 9"):
            volcomp.compress(np.zeros((2, 2), "u1"), effort=effort)
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="needs torch"):
        volcomp.compress(np.zeros((2, 2), "u1"), effort=6)


def test_torch_is_not_imported_for_the_default(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import subprocess

    program = "import sys, numpy, volcomp; volcomp.compress(numpy.zeros((2, 2), 'u1')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
