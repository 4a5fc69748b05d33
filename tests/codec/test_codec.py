"""The codec: every voxel comes back, whatever the volume, the threads, the backend; damage is always noticed."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neighbourhoods import pad
from volcomp import models
from volcomp.codec.decode import Progress, decode_slabs
from volcomp.codec.encode import _slab_count, encode
from volcomp.codec.engines import EngineChoice, by_device, by_reference
from volcomp.constants import RADIUS
from volcomp.container.volume import DTYPES, read_header
from volcomp.encoder import linear_fit
from volcomp.encoder.normal_equations import on_cpu
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.models import CHOICES
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.pipelines.row import slab, wavefront
from volcomp.pipelines.row.pipeline import ROW
from volcomp.pipelines.row.slab import lay_out
from volcomp.runtime.team import Team
from volcomp.stages import payload, supports
from volcomp.stages.ans import Tables
from volcomp.stages.grid import padded
from volcomp.stages.lstm import cpu
from volcomp.wire.cursor import Cursor

volumes = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
)


def decode(
    header: bytes,
    payloads: list[bytes],
    *,
    engine: EngineChoice = by_device,
    progress: Progress | None = None,
    **options: Any,
) -> np.ndarray:
    given = dict(enumerate(payloads))
    parts = []
    for _, part in decode_slabs(header, given, DecodeOptions(**options), progress=progress, engine=engine):
        if isinstance(part, DamagedError):
            raise part
        parts.append(part)
    return np.concatenate(parts)


def scan(shape: tuple[int, int, int] = (12, 40, 48), seed: int = 0) -> np.ndarray:
    """A noisy ball in air, signed, with padding outside of a circle."""
    random = np.random.default_rng(seed)
    z, y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    inside = x**2 + y**2 + 0.5 * z**2 < 0.6
    image = np.where(inside, 40 + 200 * np.sin(4 * x * y), -1000) + random.normal(0, 9, shape)
    return np.where(x**2 + y**2 < 1, image.round(), -2000).astype("<i2")


@pytest.mark.parametrize("model", CHOICES)
@settings(max_examples=25)
@given(voxels=volumes)
def test_any_volume_comes_back(model: str, voxels: np.ndarray) -> None:
    header, payloads = encode(voxels, EncodeOptions(model))
    back = decode(header, payloads)
    assert back.dtype == voxels.dtype and np.array_equal(back, voxels)


@pytest.mark.parametrize("kind", ["constant", "extremes", "noise", "ramp", "one", "flat but one"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_volumes_come_back(kind: str, dtype: str) -> None:
    info, shape = np.iinfo(dtype), (5, 17, 23)
    random = np.random.default_rng(1)
    spot = np.full(shape, info.min)
    spot[3, 5, 7] = info.max
    voxels = {
        "constant": np.full(shape, info.max),
        "extremes": np.where(random.random(shape) < 0.5, info.min, info.max),
        "noise": random.integers(info.min, info.max + 1, shape),
        "ramp": np.arange(np.prod(shape)).reshape(shape) % 100,
        "one": np.full((1, 1, 1), 7),
        "flat but one": spot,
    }[kind].astype(dtype)
    assert np.array_equal(decode(*encode(voxels, EncodeOptions("fast"))), voxels)


def test_many_slabs_come_back_and_stand_alone() -> None:
    voxels = scan((67, 10, 12))
    header, payloads = encode(voxels, EncodeOptions("fast"))
    assert [b - a for a, b in read_header(header).slabs] == [22, 22, 23]
    assert np.array_equal(decode(header, payloads), voxels)
    ((number, middle),) = decode_slabs(header, {1: payloads[1]})
    assert number == 1 and np.array_equal(middle, voxels[22:44])


@pytest.mark.parametrize("model", CHOICES)
def test_threads_and_backends_give_the_same_bytes(model: str) -> None:
    voxels = scan((4, 20, 24) if model == "paper" else (12, 40, 48))  # its reference takes 22 steps for every voxel
    expected = encode(voxels, EncodeOptions(model, threads=1))
    assert encode(voxels, EncodeOptions(model, threads=1), engine=by_reference) == expected
    for threads in (2, 8):
        assert encode(voxels, EncodeOptions(model, threads=threads)) == expected
        assert np.array_equal(decode(*expected, threads=threads), voxels)
    assert np.array_equal(decode(*expected, engine=by_reference), voxels)


def test_rows_shared_between_threads_give_the_same_bytes() -> None:
    voxels = scan((30, 128, 32))  # fronts of more rows than a team divides
    expected = encode(voxels, EncodeOptions("fast", threads=1))
    assert encode(voxels, EncodeOptions("fast", threads=3)) == expected
    assert np.array_equal(decode(*expected, threads=3), voxels)


def test_nothing_is_read_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poison every voxel and margin that the decoder has not written: it must decode all the same."""
    voxels = scan()
    coded = encode(voxels, EncodeOptions("fast"))

    class Poisoned(slab.RowSlab):
        def __init__(self, *arguments):  # type: ignore[no-untyped-def]
            super().__init__(*arguments)
            unknown = pad(np.ones(self.shape, bool), 0, RADIUS).ravel()
            random = np.random.default_rng(9)
            self.known[unknown] = random.integers(-(1 << 20), 1 << 20, unknown.sum())
            self._arrays.padded.error[unknown] = random.integers(-(1 << 20), 1 << 20, unknown.sum())

    monkeypatch.setattr(wavefront, "RowSlab", Poisoned)
    assert np.array_equal(decode(*coded), voxels)
    assert encode(voxels, EncodeOptions("fast")) == coded


def test_a_flat_background_costs_next_to_nothing() -> None:
    _, payloads = encode(np.zeros((32, 256, 256), "<u2"), EncodeOptions("base"))
    assert 8 * sum(map(len, payloads)) / (32 * 256 * 256) < 0.001


def test_a_tiny_volume_is_small() -> None:
    header, payloads = encode(np.full((1, 1, 1), 1234, "<u2"))
    assert len(header) <= 30 and len(payloads[0]) <= 40


def test_any_flipped_bit_is_noticed() -> None:
    voxels = scan((3, 9, 10))
    header, payloads = encode(voxels, EncodeOptions("fast"))
    for k in range(8 * len(header)):
        flipped = bytearray(header)
        flipped[k // 8] ^= 1 << k % 8
        with pytest.raises((DamagedError, UnsupportedError)):
            decode(bytes(flipped), payloads)
    (payload,) = payloads
    for k in range(len(payload)):
        flipped = bytearray(payload)
        flipped[k] ^= 1 << k % 8
        try:
            again = decode(header, [bytes(flipped)])
        except DamagedError as error:
            assert "slab 0 (slices 0 to 2) is damaged" in str(error)
        else:
            assert np.array_equal(again, voxels), "a bit that is not used, of a weight that no voxel takes"


def test_any_cut_is_noticed() -> None:
    header, (payload,) = encode(scan((3, 9, 10)), EncodeOptions("fast"))
    for size in range(len(payload)):
        with pytest.raises(DamagedError, match="is damaged"):
            decode(header, [payload[:size]])
    for size in range(len(header)):
        with pytest.raises(DamagedError):
            read_header(header[:size])


def test_a_slab_in_anothers_place_is_noticed() -> None:
    voxels = scan((64, 10, 12))
    header, payloads = encode(voxels, EncodeOptions("fast"))
    with pytest.raises(DamagedError):
        decode(header, payloads[::-1])


def test_what_is_not_known_is_refused() -> None:
    voxels = scan((2, 5, 5))
    with pytest.raises(UnsupportedError, match="take auto, cpu or cuda"):
        encode(voxels, EncodeOptions(device="tpu"))
    with pytest.raises(UnsupportedError, match="take one of"):
        encode(voxels, EncodeOptions("best"))
    header, _ = encode(voxels)
    with pytest.raises(UnsupportedError, match="upgrade volcomp"):
        read_header(b"\xf0" + header[1:])
    with pytest.raises(DamagedError, match="not the one that the file was made with"):
        read_header(header[:5] + bytes([header[5] ^ 1]) + header[6:])


def test_progress_adds_up() -> None:
    voxels, done = scan((40, 12, 12)), []
    header, payloads = encode(voxels, EncodeOptions("fast"), progress=done.append)
    assert sum(done) == voxels.size
    done.clear()
    list(decode_slabs(header, dict(enumerate(payloads)), progress=done.append))
    assert sum(done) == voxels.size


def test_a_caller_that_goes_away_stops_the_workers() -> None:
    header, payloads = encode(scan((96, 12, 12)), EncodeOptions("fast"))
    results = decode_slabs(header, dict(enumerate(payloads)), DecodeOptions(threads=1))
    next(results)
    results.close()  # type: ignore[attr-defined]  # must not wait for the slabs that nobody asks for


@pytest.mark.parametrize(
    ("depth", "effort", "count"), [(1, 5, 1), (48, 5, 1), (49, 5, 2), (98, 5, 4), (96, 9, 1), (98, 9, 2)]
)
def test_a_slab_more_only_where_it_is_needed(depth: int, effort: int, count: int) -> None:
    assert _slab_count(depth, depth * 64, effort) == count


def test_products_stay_on_the_threads_of_the_codec() -> None:
    """By what OpenMP itself says in the thread, for torch's own count does not tell. In a process whose OpenMP may have
    four: those of the tests have one."""
    pytest.importorskip("torch")
    program = """
import torch
from threadpoolctl import threadpool_info
from volcomp.codec import engines

torch.ones(500, 500) @ torch.ones(500, 500)  # which has torch start its threads, as a fit would

def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"}

with engines.Workers(2, 2) as workers:
    print(workers.pool.submit(threads).result())
"""
    environment = os.environ | {"OMP_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "{1}"


def test_what_is_read_before_its_time_is_read_alike_both_ways() -> None:
    """In a slab's second slice a neighbour two slices back is read from the first slice, where it may not have been
    coded yet: the encoder, which knows it, must read what the decoder reads."""
    random = np.random.default_rng(5)
    levels = random.integers(0, 1000, (4, 40, 48)).astype(np.int16)
    levels[2:] = np.roll(levels[:-2], (-2, -3), axis=(1, 2))  # so that (-2, 2, 3) tells all
    known, index, strides = padded(levels)
    support = supports.of_runs([*linear_fit.FIRST, (-2, 2, -4)])
    fitted = linear_fit._fitted(known, on_cpu(known), index, strides, support, 1, 1 << 18)
    layout = lay_out(levels.shape, fitted)
    lag = 2 * layout.lags[0] + 3 - layout.lags[1]
    assert lag > 0 and fitted.weights[1:, :, support.offsets.index((-2, 2, 3))].any(), "or it shows nothing"
    weights, team = ROW.load(models.RELEASED[5]), Team()
    network, tables = cpu.CpuLstm(weights), Tables(weights.tables())
    slab_input = wavefront.RowInput(layout, levels, 999, fitted, None, None)
    predictions = wavefront.predict_slab(slab_input, network, team, lambda voxels: None)
    data = Cursor(payload.write(tables, predictions, 999, None, False, 1 / 64), "it")
    longest = max(hi - lo for _, lo, hi in layout.fronts)
    opened = wavefront.RowStream(layout, payload.SymbolReader(tables, data, 999, longest), 999, fitted)
    assert np.array_equal(wavefront.decode_slab(opened, network, team, lambda voxels: None), levels)
