"""`paper`, the published predictor: its integers, its backends, its decoders, its files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import volcomp
from neighbourhoods import Schedule, margins
from volcomp import models
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.options import EncodeOptions
from volcomp.pipelines.paper import adaptive, cpu, reference, sequence, slab
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.pipelines.paper.weights import UNITS, WEIGHT_LIMIT, PaperWeights, from_real, load
from volcomp.runtime.products import float_product, makers, one_thread_each
from volcomp.wire.cursor import Cursor

NUMBER = models.chosen("paper").number
SMALL = ((-1, 0, 0), (-1, 1, 1), (0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -1))
LEFT_FREE = tuple(o for o in SMALL if o != (0, 0, -1))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the codec: products of a few rows take many times as long on several threads."""
    with one_thread_each():
        yield


def made(neighbourhood: tuple[tuple[int, int, int], ...] = SMALL, size: float = 0.3, seed: int = 0) -> PaperWeights:
    """A network of noise; with large weights its gates and cells reach their limits."""
    random = np.random.default_rng(seed)
    recurrent = np.round(random.normal(0, size, (4 * UNITS, UNITS)).clip(-1, 1) * 64) / 64
    entrance, bias = random.normal(0, 4 * size, (2, 4 * UNITS))
    return from_real("made", neighbourhood, recurrent, entrance, bias, random.normal(0, 0.2, UNITS), 0.1)


def scan(shape: tuple[int, int, int] = (5, 14, 17), limit: int = 900, seed: int = 0) -> np.ndarray:
    z, y, x = np.indices(shape)
    noise = np.random.default_rng(seed).normal(0, 15, shape)
    return (450 + 300 * np.sin(x / 5 + z) * np.cos(y / 4) + noise).round().clip(0, limit).astype(np.int32)


def test_the_released_model_is_sound_and_small() -> None:
    weights = PAPER.load(models.RELEASED[NUMBER])
    sums = 128 * np.abs(weights.recurrent.astype(np.int64)).sum(axis=0)
    assert sums.max() < 1 << 24 and np.abs(weights.recurrent.astype(int)).max() <= WEIGHT_LIMIT  # exact in float32
    floats = 4 * (weights.recurrent.size + weights.entrance.size + weights.bias.size + weights.head.size + 1)
    assert 260_000 < floats < 280_000  # as published, about 276 kB
    assert sequence.in_order(weights.offsets) == weights.offsets and weights.offsets[-1] == (0, 0, -1)


@pytest.mark.parametrize("size", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("limit", [0, 1, 255, 4095, 65535])
def test_backends_equal_the_reference(size: float, limit: int) -> None:
    weights = made(size=size)
    ranks = np.random.default_rng(1).integers(0, limit + 1, (300, len(SMALL)))
    ranks[:50] = np.random.default_rng(2).choice([0, limit], (50, len(SMALL)))
    expected = reference.ReferencePaperLstm(weights).predict(ranks, limit)
    assert expected.min() >= 0 and expected.max() <= limit
    for make in makers():
        assert np.array_equal(cpu.CpuPaperLstm(weights, make).predict(ranks, limit), expected)


def test_batches_change_nothing() -> None:
    weights = PAPER.load(models.RELEASED[NUMBER])
    ranks = np.random.default_rng(3).integers(0, 3000, (600, len(weights.offsets)))
    network = cpu.CpuPaperLstm(weights)
    expected = network.predict(ranks, 2999)
    for size in (1, 7, 256, 257):
        parts = [network.predict(ranks[a : a + size], 2999) for a in range(0, 600, size)]
        assert np.array_equal(np.concatenate(parts), expected)


def test_a_backend_that_is_not_exact_is_refused() -> None:
    def wrong(weights: np.ndarray) -> object:
        right = float_product(weights)

        def product(x: np.ndarray, out: np.ndarray) -> None:
            right(x, out)
            out += 256  # a few units in the last place of a gate

        return product

    with pytest.warns(RuntimeWarning, match="left aside"), pytest.raises(UnsupportedError, match="no matrix product"):
        cpu.CpuPaperLstm(made(), wrong)


def test_integers_are_close_to_the_network_that_they_round() -> None:
    torch = pytest.importorskip("torch")
    from volcomp.training import paper

    neighbourhood = paper.neighbourhood_of("pyramid:5,3,1")
    predictor = paper.FloatPredictor(1)
    ranks = np.random.default_rng(4).integers(0, 4096, (500, len(neighbourhood)))
    with torch.no_grad():
        values = torch.from_numpy((ranks.T * (2 / 4095) - 1).astype(np.float32))
        real = (predictor(values).double().numpy() + 1) * (4095 / 2)
    found = cpu.CpuPaperLstm(predictor.integers("made", neighbourhood)).predict(ranks, 4095)
    assert np.abs(found - real.clip(0, 4095)).mean() < 0.6  # rounding to whole ranks alone makes 0.25


@pytest.mark.parametrize("shape", [(5, 14, 17), (1, 1, 1), (1, 9, 1), (3, 1, 8), (7, 2, 2)])
@pytest.mark.parametrize("left", [True, False])
def test_three_decoders_give_the_same_voxels(shape: tuple[int, int, int], left: bool) -> None:
    """One voxel after the other, all rows that are ready (without the voxels to the left), and the hyperplanes."""
    ranks = scan(shape)
    network = cpu.CpuPaperLstm(made(SMALL if left else LEFT_FREE))
    smallest = slab.schedule_of(network.weights)
    assert (smallest.a == 0) == (not left)
    for schedule in (smallest, Schedule(1, shape[2], shape[1] * shape[2]), Schedule(1, 5, 30)):
        data = slab.encode(ranks, 900, network, schedule=schedule)
        back = slab.decode(Cursor(data, "a slab"), shape, 900, network, schedule=schedule)
        assert np.array_equal(back, ranks)


def test_the_left_free_decoder_takes_rows_of_all_slices_that_are_ready() -> None:
    schedule = slab.schedule_of(made(LEFT_FREE))
    z, y, _ = max(schedule.walk((6, 8, 5)), key=lambda front: front[0].size)
    rows = set(zip(z.tolist(), y.tolist(), strict=True))
    assert len(rows) > 1 and len({row[0] for row in rows}) == len(rows) and z.size == 5 * len(rows)


def test_nothing_is_read_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder works in a buffer whose unknown voxels are noise."""
    ranks, network = scan(), cpu.CpuPaperLstm(made())
    data = slab.encode(ranks, 900, network)
    right = sequence.padded

    def poisoned(zeros: np.ndarray, neighbourhood: tuple[tuple[int, int, int], ...], limit: int) -> np.ndarray:
        known = right(zeros, neighbourhood, limit)
        before, radius = margins(neighbourhood)
        inner = known[before:, radius : radius + zeros.shape[1], radius : radius + zeros.shape[2]]
        inner[:] = np.random.default_rng(9).integers(-3000, 3000, zeros.shape)
        return known

    monkeypatch.setattr(slab, "padded", poisoned)
    assert np.array_equal(slab.decode(Cursor(data, "a slab"), ranks.shape, 900, network), ranks)


def test_borders_read_the_least() -> None:
    """As published, on all sides; not the rule of the other models, which carries rows on."""
    known = sequence.padded(np.full((2, 3, 4), 7), SMALL, 9)
    assert known.sum() == 7 * 24 and known.shape == (3, 5, 6)


@pytest.mark.parametrize("limit", [0, 1, 3000, 65535])
def test_adaptive_tables_are_whole(limit: int) -> None:
    counts = adaptive.Counts(limit)
    random = np.random.default_rng(5)
    for size in (1, 3, 500, 4000):
        assert counts.table.sum() == 1 << adaptive.TABLE_BITS and counts.table.min() >= 1
        counts.add(random.integers(0, counts.escape + 1, size))


def test_adaptive_coding_comes_near_the_entropy() -> None:
    random = np.random.default_rng(6)
    token = random.normal(1024, 6, 60_000).round().astype(np.int32)
    words = adaptive.encode(token, np.full(60, 1000), adaptive.Counts(4095))
    share = np.bincount(token) / token.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert 32 * words.size / token.size < entropy * 1.01 + 0.02


def test_escapes_come_back() -> None:
    ranks = np.random.default_rng(7).integers(0, 65536, (2, 9, 11)).astype(np.int32)
    network = cpu.CpuPaperLstm(made())
    data = slab.encode(ranks, 65535, network)
    assert np.array_equal(slab.decode(Cursor(data, "a slab"), ranks.shape, 65535, network), ranks)


def test_a_slice_decodes_alone(low_slabs: None) -> None:
    voxels = (scan((41, 9, 8)) - 500).astype(np.int16)
    data = volcomp.compress(voxels, model="paper")
    assert volcomp.inspect(data).volumes[0].model == "paper-1" and volcomp.inspect(data).volumes[0].slabs == 3
    assert np.array_equal(volcomp.decompress(data, slices=slice(20, 24)), voxels[20:24])


def test_a_flat_volume_is_small() -> None:
    assert len(volcomp.compress(np.full((4, 30, 30), 5, np.uint8), model="paper")) < 500


def test_any_flipped_bit_is_noticed() -> None:
    voxels = scan((2, 6, 7)).astype("<u2")
    header, (payload,) = encode(voxels, EncodeOptions("paper"))
    for k in range(8 * len(header)):
        flipped = bytearray(header)
        flipped[k // 8] ^= 1 << k % 8
        with pytest.raises((DamagedError, UnsupportedError)):
            _decoded(bytes(flipped), payload)
    for k in range(len(payload)):
        flipped = bytearray(payload)
        flipped[k] ^= 1 << k % 8
        with pytest.raises(DamagedError, match=r"slab 0 \(slices 0 to 1\) is damaged"):
            _decoded(header, bytes(flipped))
        with pytest.raises(DamagedError):
            _decoded(header, payload[:k])


def test_words_beyond_the_voxels_are_damage() -> None:
    ranks, network = scan((1, 5, 6)), cpu.CpuPaperLstm(made())
    data = slab.encode(ranks, 900, network)
    for more in (b"\0", b"\1"):
        with pytest.raises(DamagedError, match="raw bits"):
            slab.decode(Cursor(data + more, "a slab"), (1, 5, 6), 900, network)
    with pytest.raises(DamagedError):
        slab.decode(Cursor(data, "a slab"), (1, 5, 5), 900, network)
    words = adaptive.encode(np.full(9, 1, np.int32), np.array([9]), adaptive.Counts(9))
    decoder = adaptive.Decoder(words, adaptive.Counts(9))
    decoder.pop(8)
    with pytest.raises(DamagedError, match="more than its voxels"):
        decoder.finish()


def test_it_cannot_be_fitted() -> None:
    with pytest.raises(UnsupportedError, match="cannot be fine-tuned"):
        encode(scan().astype("<u2"), EncodeOptions("paper", effort=9))
    header, (payload,) = encode(scan((1, 3, 3)).astype("<u2"), EncodeOptions("paper"))
    with pytest.raises(DamagedError, match="has none"):
        _decoded(bytes([NUMBER + models.FINE_TUNED]) + header[1:10] + b"\1x" + header[10:], payload)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("recurrent", np.full((UNITS, 4 * UNITS), 65, np.int8), "within ±64"),
        ("shift", np.full(4 * UNITS, 12, np.int32), "shifts"),
        ("shift", np.full(4 * UNITS, -1, np.int32), "shifts"),
        ("bias", np.full(4 * UNITS, (1 << 30) + 1, np.int32), "biases within"),
        ("neighbourhood", np.array([[0, 0, 1]], np.int8), "not known yet"),
        ("neighbourhood", np.array([[0, 0, -1], [0, 0, -1]], np.int8), "twice"),
        ("neighbourhood", np.zeros((0, 3), np.int8), "shapes or types"),
        ("head", np.zeros(UNITS, np.int32), "shapes or types"),
        ("sigmoid", np.zeros(8192, np.int16), "rising function"),
    ],
)
def test_unsound_models_are_refused(field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        replace(made(), **{field: value})


def test_models_are_written_whole_and_read_back(tmp_path: Path) -> None:
    weights = made()
    weights.save(tmp_path / "m.npz")
    assert load(tmp_path / "m.npz", "made").digest() == weights.digest()
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "m.npz").write_bytes(b"no model")
    with pytest.raises(DamagedError, match="cannot be read"):
        load(tmp_path / "m.npz", "made")


def _decoded(header: bytes, payload: bytes) -> np.ndarray:
    ((_, part),) = decode_slabs(header, {0: payload})
    if isinstance(part, DamagedError):
        raise part
    return part
