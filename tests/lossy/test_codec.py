"""The codec with loss: budgets kept, the same bits as in plain numpy, sizes and types, damage."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest

from volcomp import lossy
from volcomp.errors import DamagedError, UnsupportedError, VolcompError
from volcomp.lossy import bands, codec, header, postfilter, reference, weights
from volcomp.wire.cursor import Cursor

from .golden import GOLDEN


def picture(height: int, width: int, dtype: str = "uint8", seed: int = 3) -> np.ndarray:
    """Make a smooth image with an edge and a little noise, which fills the type's range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.sin(5 * y + 2 * x) + (x > 0.6) + 0.5 * np.cos(9 * x * y) + 0.05 * rng.standard_normal((height, width))
    image = (image - image.min()) / max(float(np.ptp(image)), 1e-9)
    info = np.iinfo(dtype)
    return np.round(info.min + image * (info.max - info.min)).astype(dtype)


@cache
def _payload(height: int, width: int, dtype: str, ratio: int) -> bytes:
    return lossy.encode(picture(height, width, dtype), ratio=ratio)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("ratio", [4, 16])
@pytest.mark.parametrize("shape", [(64, 64), (37, 83)])
def test_numpy_decodes_the_same_bits(shape: tuple[int, int], dtype: str, ratio: int) -> None:
    payload = _payload(*shape, dtype, ratio)
    image, plain = lossy.decode(payload), reference.decode(payload)
    assert image.dtype == plain.dtype == dtype and image.shape == shape
    assert np.array_equal(image, plain)


@pytest.mark.parametrize("filtered", [False, True])
def test_the_filter_is_the_same_in_numpy(filtered: bool) -> None:
    """Whatever the encoder chose: the flag is turned over by hand."""
    payload = bytearray(_payload(37, 83, "uint8", 16))
    payload[0] = payload[0] & ~header.FILTERED | header.FILTERED * filtered
    assert np.array_equal(lossy.decode(bytes(payload)), reference.decode(bytes(payload)))


@pytest.mark.parametrize("scale", [1, 30_000])
def test_a_filter_saturates_alike(scale: int) -> None:
    """Random weights with large sums, of images in and far outside the range of real ones."""
    rng = np.random.default_rng(4)
    inputs = 8
    first = rng.integers(-900, 900, (36, inputs))
    first[-1] -= first.sum(axis=0)
    made = postfilter.Filter(
        first.astype(np.int32),
        rng.integers(-9000, 9000, inputs).astype(np.int32),
        rng.integers(-900, 900, inputs).astype(np.int32),
        rng.integers(-900, 900, (2, 9 * inputs, inputs)).astype(np.int32),
        rng.integers(-90_000, 90_000, (2, inputs)).astype(np.int32),
        rng.integers(-900, 900, (9 * inputs, 4)).astype(np.int32),
        rng.integers(-90_000, 90_000, 4).astype(np.int32),
    )
    postfilter.check(made)
    plane = rng.integers(-scale * 500, scale * 500, (13, 22)).astype(np.int32)
    for code in (0, 20_000, 40_000):
        assert np.array_equal(postfilter.improve(plane, made, code), reference.improve(plane, made, code))
    strips = postfilter.improve(np.tile(plane, (60, 60)), made, 20_000)  # made in several strips
    assert np.array_equal(strips[26 * 10 : 26 * 20, :44], strips[26 * 12 : 26 * 22, :44])
    with pytest.raises(DamagedError, match="too large"):
        postfilter.check(made._replace(middle=made.middle * 900))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (1, 300), (200, 1), (2, 2), (5, 7), (31, 64), (129, 65)])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_every_size(shape: tuple[int, int], dtype: str) -> None:
    image = picture(*shape, dtype)
    budget = 24 + image.nbytes // 8
    payload = lossy.encode(image, budget)
    back = lossy.decode(payload)
    assert len(payload) <= budget and back.shape == shape and back.dtype == dtype
    assert np.array_equal(back, reference.decode(payload))


@pytest.mark.parametrize("ratio", [8, 16, 32])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_budget_is_filled(ratio: int, dtype: str) -> None:
    image = picture(150, 170, dtype)
    payload = lossy.encode(image, ratio=ratio)
    budget = image.nbytes // ratio
    assert 0.98 * budget <= len(payload) <= budget


def test_more_bytes_are_never_worse() -> None:
    image = picture(96, 96)
    decoded = [lossy.decode(lossy.encode(image, budget)) for budget in (200, 600, 2000, 9000)]
    errors = [((back - image.astype(float)) ** 2).mean() for back in decoded]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1 < 3 < errors[0]


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_image_takes_a_few_bytes(value: int) -> None:
    image = np.full((90, 500), value, np.uint8)
    payload = lossy.encode(image, 5000)
    assert len(payload) < 40 and np.array_equal(lossy.decode(payload), image)


def test_noise_fills_any_budget() -> None:
    noise = np.random.default_rng(6).integers(0, 65536, (40, 50)).astype(np.uint16)
    for budget in (40, 300, 2000):
        assert len(lossy.encode(noise, budget)) <= budget
    assert np.array_equal(lossy.decode(lossy.encode(noise, 9000)), noise)


def test_levels_of_few_bits_stay_within_their_limits() -> None:
    image = (picture(60, 60, "uint8") >> 4).astype(np.int16) - 1024
    back = lossy.decode(lossy.encode(image, ratio=16))
    assert back.min() >= image.min() and back.max() <= image.max()
    assert np.abs(back - image).mean() < 1


@pytest.mark.parametrize("reduce", [1, 2, 3, 99])
def test_smaller_images(reduce: int) -> None:
    image = picture(128, 192)
    small = lossy.decode(lossy.encode(image, ratio=4), reduce=reduce)
    k = min(reduce, bands.levels_of(128, 192))
    assert small.shape == (128 >> k, 192 >> k)
    if reduce < 4:
        means = image.reshape(128 >> k, 1 << k, 192 >> k, 1 << k).mean(axis=(1, 3))
        assert np.abs(small - means).mean() < 8


def test_foreign_byte_orders_are_images_too() -> None:
    image = picture(40, 40, "uint16")
    assert lossy.encode(image.astype(">u2"), 300) == lossy.encode(image, 300)


@pytest.mark.parametrize(
    ("image", "budget", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), 100, "two axes"),
        (np.zeros((3, 4), np.float32), 100, "8 or 16 bits"),
        (np.zeros((3, 4), np.int32), 100, "8 or 16 bits"),
        (np.zeros((0, 4), np.uint8), 100, "pixels"),
        (picture(100, 100), 5, "does not fit"),
        (picture(100, 100), None, "either a budget"),
    ],
)
def test_what_cannot_be_encoded(image: np.ndarray, budget: int | None, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        lossy.encode(image, budget)


def test_ratios_are_above_zero() -> None:
    for ratio in (0.0, -3.0, float("nan")):
        with pytest.raises(UnsupportedError, match="above 0"):
            lossy.encode(picture(9, 9), ratio=ratio)


def test_a_cut_payload_is_an_error_or_an_image() -> None:
    payload = _payload(64, 64, "uint8", 4)
    for length in range(8):
        with pytest.raises(DamagedError):
            lossy.decode(payload[:length])
    # Zeros follow the end, so a cut by a few bytes shows only in the image; most cuts by more are seen.
    with pytest.raises(DamagedError, match="coefficients"):
        lossy.decode(payload[:300])
    with pytest.raises(DamagedError, match="coefficients"):
        lossy.decode(payload + b"appended!")


def test_damage_is_one_error_or_an_image() -> None:
    payload = _payload(37, 83, "int16", 16)
    rng = np.random.default_rng(8)
    for _ in range(300):
        bad = bytearray(payload)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(0, len(bad) if rng.random() < 0.5 else 14)] = rng.integers(256)
        try:
            image = lossy.decode(bytes(bad), most_pixels=1 << 16)
        except VolcompError:
            continue
        assert image.ndim == 2 and image.size <= 1 << 16


def test_memory_is_bounded_before_it_is_taken() -> None:
    head = header.read(Cursor(_payload(64, 64, "uint8", 4), "it"))
    large = head._replace(shape=(1 << 20, 1 << 20)).to_bytes()
    with pytest.raises(DamagedError, match="pixels"):
        lossy.decode(large)
    with pytest.raises(UnsupportedError, match="allowed are 4096"):
        lossy.decode(head._replace(shape=(64, 65)).to_bytes(), most_pixels=4096)
    with pytest.raises(UnsupportedError, match="version 9"):
        lossy.decode(bytes([9]) + head.to_bytes()[1:])


def test_weights_are_the_released_ones() -> None:
    assert weights.digest(weights._arrays()) == weights.DIGEST


@pytest.mark.parametrize(("dtype", "ratio"), GOLDEN)
def test_golden_payloads(dtype: str, ratio: int) -> None:
    """A stored payload decodes to the stored image, on every machine and in every later version."""
    payload, image = GOLDEN[dtype, ratio]
    assert hashlib.sha256(lossy.decode(bytes.fromhex(payload)).tobytes()).hexdigest() == image


def test_names_of_the_package() -> None:
    assert lossy.encode is codec.encode and lossy.decode is codec.decode
