"""docs/format.md is enough: a decoder that was written from it alone (`decoder.py`) reads what the package writes."""

import json
from collections import Counter

import numpy as np
import pytest

import volcomp
from tests.conformance import decoder
from tests.conformance.golden import FOLDER, INDEX, digest, series, slices, volumes

GOLDEN = json.loads(INDEX.read_text()) if INDEX.exists() else {}  # that it must exist is for test_golden.py
SMALL = 4000  # voxels; the conformance decoder takes about a second for them


def noisy(shape: tuple[int, int, int], swing: float, noise: float) -> np.ndarray:
    z, y, x = np.indices(shape)
    return 1000 + swing * np.sin(x / 4 + z / 7) * np.cos(y / 5) + np.random.default_rng(1).normal(0, noise, shape)


def echo(shape: tuple[int, int, int], offset: tuple[int, int, int]) -> np.ndarray:
    """Noise that repeats itself some voxels on: only a support with that offset predicts it."""
    random = np.random.default_rng(1)
    voxels = random.integers(0, 4000, shape)
    for place in np.ndindex(shape):
        source = tuple(i + d for i, d in zip(place, offset, strict=True))
        if all(0 <= i < n for i, n in zip(source, shape, strict=True)):
            voxels[place] = (voxels[source] + random.integers(-3, 4)).clip(0, 4000)
    return voxels.astype("u2")


def comb(shape: tuple[int, int, int], noise: float) -> np.ndarray:
    """Rescaled noise, of which every second value hardly occurs, clipped below."""
    even = (noisy(shape, 60, noise) / 2).round() * 2
    return (even + (np.random.default_rng(3).random(shape) < 0.05) - 1000).clip(0, None).astype("u2")


def drifting(shape: tuple[int, int]) -> np.ndarray:
    """Few levels, stretched, with a smooth brightness added afterwards, and voxels that are far off; below strong
    noise, whose tokens stand for several levels."""
    y, x = np.indices(shape)
    random = np.random.default_rng(4)
    few = 3 * np.rint(300 + 4 * np.sin(x / 9) + random.normal(0, 1.2, shape)) + y // 5 + x // 7
    wild = np.where(random.random(shape) < 0.01, 9000, few)
    return np.where(y < 3 * shape[0] // 4, wild, random.normal(1000, 150, shape)).astype("u2")


def halves(shape: tuple[int, int, int]) -> np.ndarray:
    """Weak noise that repeats itself along x, below it strong noise that does along y: each needs its own weights."""
    random = np.random.default_rng(2)
    half = shape[1] // 2
    voxels = random.integers(2000, 2100, shape)
    voxels[:, half:] = random.integers(0, 4000, (shape[0], shape[1] - half, shape[2]))
    for x in range(2, shape[2]):
        voxels[:, :half, x] = voxels[:, :half, x - 2] + random.integers(-2, 3, voxels[:, :half, x].shape)
    for y in range(half + 2, shape[1]):
        voxels[:, y] = voxels[:, y - 2] + random.integers(-2, 3, voxels[:, y].shape)
    return voxels.clip(0, 4100).astype("u2")


def cases() -> dict[str, tuple[np.ndarray, set[str]]]:
    """Arrays, and what of the format each is there for."""
    random = np.random.default_rng(1)
    padded = noisy((4, 11, 12), 300, 5).round().astype("i2") - 1000
    padded[:, :, :3] = -2000
    masked = noisy((6, 16, 16), 30, 30).round().astype("u2")
    masked[random.random(masked.shape) < 0.3] = 0
    spot = np.zeros((3, 5, 6), "u2")
    spot[1, 2, 3] = 9999
    wild = 30000 + 300 * random.standard_cauchy((4, 14, 15))
    extremes = random.choice(np.array([-128, 127], "i1"), (3, 6, 7))
    return {
        "one": (np.full((1, 1, 1), 7, "u1"), set()),
        "smooth": (noisy((5, 12, 14), 300, 5).round().astype("u2"), {"corrections"}),
        "padded": (padded, set()),
        "masked": (masked, {"flag", "spike"}),
        "zeros": (np.zeros((3, 5, 6), "u2"), set()),
        "spot": (spot, set()),
        "extremes": (extremes, set()),
        "image": (noisy((1, 20, 25), 300, 5)[0].round().astype(">i2"), set()),
        "row": (noisy((5, 1, 30), 300, 5).round().astype("u2"), set()),
        "column": (noisy((5, 30, 1), 300, 5).round().astype("u2"), set()),
        "slabs": (noisy((40, 4, 5), 100, 3).round().astype("u2"), {"slab"}),
        "wild": (wild.clip(0, 60000).astype("u2"), {"escape", "low bits"}),
        "sparse": (random.choice(np.array([0, 3, 17, 900, 901, 905, 60000], "u2"), (4, 9, 10)), set()),
        "rescaled": (noisy((4, 9, 10), 300, 5).round().astype("i2") * 7 - 2000, set()),
        "classes": (halves((4, 20, 50)), {"classes"}),
        "comb": (comb((5, 20, 30), 12), {"factors", "flag"}),
        "narrow": (echo((12, 16, 16), (-2, 0, 1)), {"support 1", "shifts"}),
    }


CASES = cases()


def decoded_alike(voxels: np.ndarray, model: str) -> Counter:
    seen: Counter = Counter()
    back = decoder.decode(volcomp.compress(voxels, model=model, threads=1), seen)
    assert back.dtype == voxels.dtype.newbyteorder("<") and np.array_equal(back, voxels)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_the_conformance_decoder_decodes(name: str, low_slabs: None) -> None:
    voxels, needed = CASES[name]
    seen = decoded_alike(voxels, "fast")
    assert needed <= {means for means, times in seen.items() if times}
    assert (seen["slab"] == 2) == (name == "slabs")


@pytest.mark.long
def test_the_conformance_decoder_decodes_a_chosen_support() -> None:
    """Its farthest slices have groups of their own."""
    seen = decoded_alike(echo((26, 28, 32), (-5, 0, 1)), "fast")
    assert seen["support 5"] == 1 and seen["shifts"] and seen["later groups"] == 2


def test_the_conformance_decoder_decodes_low_bits_and_escapes_with_factors() -> None:
    voxels = comb((5, 20, 30), 40)
    voxels[np.random.default_rng(4).random(voxels.shape) < 0.005] = 60000
    seen = decoded_alike(voxels, "fast")
    assert seen["factors"] and seen["low bits"] and seen["escape"]


@pytest.mark.parametrize("model", ["fast", "base"])
def test_the_conformance_decoder_decodes_near_factors(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small slice too, with the model that only large ones are given."""
    monkeypatch.setattr("volcomp.codec.encode.FEWEST", 1)
    seen = decoded_alike(drifting((32, 50)), model)
    assert seen["near"] and seen["escape"] and seen["low bits"]


@pytest.mark.parametrize("name", ["series", "steps", "point"])
def test_the_conformance_decoder_decodes_a_series(name: str) -> None:
    voxels = series()[name][:3, :4, :14, :14]
    seen = decoded_alike(voxels, "fast")
    assert seen["reference"] >= (0 if name == "point" else 1) and seen["slab"] == len(voxels)


def test_the_conformance_decoder_decodes_several_slabs_of_a_series(low_slabs: None) -> None:
    """A slab refers to the same slab of its key, and a neighbour in the reference to no slice beyond it."""
    still = np.random.default_rng(1).integers(0, 900, (1, 40, 4, 5))
    moving = np.random.default_rng(2).integers(0, 9, (3, 40, 4, 5))
    seen = decoded_alike((still + moving).astype("i2"), "fast")
    assert seen["slab"] == 6 and seen["reference"] == 4


@pytest.mark.parametrize("name", ["smooth", "padded", "masked", "image", "comb"])
def test_the_conformance_decoder_decodes_the_base_model(name: str) -> None:
    assert decoded_alike(CASES[name][0], "base")["passed"]


@pytest.mark.parametrize("name", ["one", "smooth", "zeros", "extremes", "image", "row", "column", "sparse"])
def test_the_conformance_decoder_decodes_the_published_model(name: str) -> None:
    decoded_alike(CASES[name][0], "paper")


def test_the_conformance_decoder_decodes_escapes_of_the_published_model() -> None:
    seen = decoded_alike(np.random.default_rng(1).integers(0, 60000, (2, 8, 9)).astype("u2"), "paper")
    assert seen["paper escape"] > 20 and seen["paper table"] > 0


def test_the_conformance_decoder_decodes_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small slabs have one group of weights after the first slice's; the format allows more."""
    monkeypatch.setattr("volcomp.encoder.linear_fit._group_height", lambda shape, support: 3)
    assert decoded_alike(noisy((8, 10, 12), 300, 5).round().astype("u2"), "fast")["later groups"] == 3


HELD = volumes() | slices() | series()


@pytest.mark.parametrize("file", [f for f, entry in GOLDEN.items() if HELD[entry["volume"]].size <= SMALL])
def test_the_conformance_decoder_decodes_a_golden_file(file: str) -> None:
    assert digest(decoder.decode((FOLDER / file).read_bytes())) == GOLDEN[file]["sha256"]
