"""Factors by the levels of neighbours: as bytes, when the encoder states them, and through the whole codec."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import models
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.errors import DamagedError
from volcomp.options import EncodeOptions
from volcomp.pipelines.row.pipeline import ROW
from volcomp.stages import near_factors, payload
from volcomp.wire import rice

FAST = models.chosen("fast")
WEIGHTS = ROW.load(FAST)
NEAR = replace(FAST, search=replace(FAST.search, near=True)).trial(WEIGHTS, WEIGHTS.digest())


def drifting(height: int, width: int, step: int = 3, noise: float = 1.2) -> np.ndarray:
    """A picture of few levels, stretched by `step`, with a smooth brightness added afterwards: [1, Y, X]."""
    y, x = np.indices((height, width))
    levels = np.rint(20 + 4 * np.sin(x / 11) + np.random.default_rng(1).normal(0, noise, y.shape))
    return (step * levels + np.rint(y / 9 + x / 14)).astype(np.uint8)[None]


def coded(voxels: np.ndarray, model: models.Model = NEAR) -> tuple[bytes, bytes]:
    header, (data,) = encode(voxels, EncodeOptions(model, threads=1))
    ((_, back),) = decode_slabs(header, {0: data}, trial=model)
    assert np.array_equal(back, voxels)
    return header, data


@given(st.lists(st.integers(-64, 31), min_size=1, max_size=near_factors.MOST))
def test_exponents_come_back(listed: list[int]) -> None:
    exponents = np.array(listed, np.int64)
    assert np.array_equal(near_factors.from_bytes(near_factors.to_bytes(exponents)), exponents)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"\x11" + rice.encode(np.zeros(17)), b"\2" + b"\0", b"\1" + rice.encode(np.array([32])),
        b"\1" + rice.encode(np.array([-65])),
    ],
)  # fmt: skip
def test_what_no_encoder_states_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        near_factors.from_bytes(data)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (40, 60), (90, 7)])
def test_a_drifting_comb_comes_back(shape: tuple[int, int]) -> None:
    coded(drifting(*shape))


def test_a_drifting_comb_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = drifting(100, 120)
    _, data = coded(voxels)
    monkeypatch.setattr(near_factors, "find", lambda *_: None)
    assert len(data) < 0.85 * len(coded(voxels)[1])


def test_exponents_tell_the_comb(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    find = near_factors.find
    monkeypatch.setattr(near_factors, "find", lambda *given: found.append(find(*given)) or found[-1])
    coded(drifting(100, 120))
    (exponents,) = found
    assert min(exponents[[0, 3, 6]]) > max(exponents[[1, 2, 4, 5]])


def test_nothing_is_stated_for_noise_for_a_volume_or_by_older_models(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    find = near_factors.find
    monkeypatch.setattr(near_factors, "find", lambda *given: found.append(find(*given)) or found[-1])
    comb = drifting(60, 80)
    coded(np.random.default_rng(2).normal(90, 5, comb.shape).astype(np.uint8))
    assert found == [None]
    coded(np.concatenate([comb, comb + 7]))
    coded(comb, FAST)
    assert found == [None]


def test_it_works_beside_level_factors_peak_and_escapes() -> None:
    """Two of three levels never occur together, a tenth of the picture is one value, and some voxels are far off."""
    random = np.random.default_rng(3)
    voxels = 2 * drifting(90, 100).astype(np.uint16) + 500
    voxels[:, 20:50, 30:60] = 0
    voxels[random.random(voxels.shape) < 0.003] = 60_000
    voxels[random.random(voxels.shape) < 0.05] += 1
    _, data = coded(voxels)
    assert data.index(payload.WITH_NEAR, 8)


def test_a_damaged_list_is_refused_with_a_sentence() -> None:
    voxels = drifting(60, 60)
    header, data = coded(voxels)
    at = data.index(payload.WITH_NEAR, 8)
    for k in range(at, at + 40):
        hurt = data[:k] + bytes([data[k] ^ 0x55]) + data[k + 1 :]
        ((_, back),) = decode_slabs(header, {0: hurt}, trial=NEAR)
        assert isinstance(back, DamagedError) or np.array_equal(back, voxels)


def test_a_slab_of_several_slices_cannot_have_them() -> None:
    voxels = np.concatenate([drifting(40, 50), drifting(40, 50) + 5])
    header, (data,) = encode((2 * (voxels // 2) + (voxels % 7 == 0)).astype("u2") * 2, EncodeOptions("fast", threads=1))
    at = data.index(payload.WITH_FACTORS, 8)
    ((_, back),) = decode_slabs(header, {0: data[:at] + payload.WITH_NEAR + data[at + 1 :]})
    assert isinstance(back, DamagedError) and "one slice" in str(back)
