"""docs/format.md is enough for previews: the conformance decoder restores lossy layers, and slabs over them."""

from collections import Counter

import numpy as np
import pytest

import volcomp
from tests.codec.test_layer import smooth
from tests.conformance import decoder, decoder_lossy
from tests.stages.test_near_factors import drifting
from volcomp import lossy


@pytest.mark.parametrize(
    ("shape", "kind", "budget"),
    [
        ((1, 1), "u1", 60),  # no level, no coefficient but one
        ((64, 64), "u1", 300),
        ((37, 50), "u2", 400),  # odd sides, limits
        ((5, 70), "i2", 200),  # a side that is halved to nothing
        ((48, 33), "i1", 900),
        ((90, 7), "u2", 3000),  # large magnitudes
    ],
)
def test_it_restores_a_lossy_layer(shape: tuple[int, int], kind: str, budget: int) -> None:
    image = smooth((1, *shape), kind, 100)[0]
    payload = lossy.encode(image, budget)
    back = decoder_lossy.image(payload)
    assert back.dtype == image.dtype and np.array_equal(back, lossy.decode(payload))


@pytest.mark.parametrize("shape", [(40, 48), (33, 31)])
def test_it_restores_with_the_filter_and_without(shape: tuple[int, int]) -> None:
    """Which one is the encoder's choice; bit 4 of the first byte states it."""
    payload = lossy.encode(smooth((1, *shape), "u1", 200)[0], 300)
    restored = []
    for first in (payload[0] & ~16, payload[0] | 16):
        stated = bytes([first]) + payload[1:]
        restored.append(decoder_lossy.image(stated))
        assert np.array_equal(restored[-1], lossy.decode(stated))
    assert not np.array_equal(*restored)


@pytest.mark.parametrize("change", ["cut", "longer"])
def test_it_refuses_a_damaged_layer(change: str) -> None:
    payload = lossy.encode(smooth((1, 40, 40), "u1", 200)[0], 200)
    with pytest.raises(ValueError, match=r"too short|are left|magnitude"):
        decoder_lossy.image(payload[:60] if change == "cut" else payload + bytes(9))


@pytest.mark.parametrize("shape", [(3, 40, 36), (40, 12, 12)])
def test_it_decodes_slabs_over_a_layer(shape: tuple[int, int, int], low_slabs: None) -> None:
    voxels, seen = smooth(shape, "u2", 900), Counter[str]()
    data = volcomp.compress(voxels, "fast", preview=4, threads=1)
    assert np.array_equal(decoder.decode(data, seen), voxels)
    assert seen["preview"] == seen["slab"] == (1 if len(voxels) < 32 else 2) and seen["reference"]


def test_it_decodes_slices_with_a_model_that_sees_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcomp.codec.encode.FEWEST", 1)  # voxels of a slice that has a model for slices
    voxels, seen = smooth((1, 40, 36), "u1", 90)[0], Counter[str]()
    data = volcomp.compress(voxels, "fast", preview=8, threads=1)
    assert np.array_equal(decoder.decode(data, seen), voxels)
    assert seen["sees"] == voxels.size and seen["preview"] == 1


def test_it_decodes_near_factors_over_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcomp.codec.encode.FEWEST", 1)
    voxels, seen = drifting(40, 60)[0], Counter[str]()
    data = volcomp.compress(voxels, "fast", preview=8, threads=1)
    assert np.array_equal(decoder.decode(data, seen), voxels)
    assert seen["sees"] == voxels.size and seen["near"]


def test_a_model_that_sees_the_layer_decodes_later_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders take it for single slices; the format has it for others as well."""
    monkeypatch.setattr("volcomp.codec.encode.FEWEST", 1)
    monkeypatch.setattr("volcomp.codec.encode._slab_count", lambda depth, voxels, effort: depth)
    monkeypatch.setattr("volcomp.codec.encode.slab_ranges", lambda depth, count: [(0, depth)])
    voxels, seen = smooth((3, 30, 26), "u2", 900), Counter[str]()
    data = volcomp.compress(voxels, "fast", preview=4, threads=1)
    assert np.array_equal(decoder.decode(data, seen), voxels)
    assert seen["sees"] == voxels.size and seen["slab"] == 1
