"""The spike: contexts against their description, and what the flags save."""

from fractions import Fraction

import numpy as np
import pytest

from neighbourhoods import pad
from tests.codec.test_codec import decode
from tests.stages.test_linear import some_levels
from volcomp.codec.encode import encode
from volcomp.constants import CLASSES, RADIUS, TABLE_BITS
from volcomp.options import EncodeOptions
from volcomp.stages import ans, peak, symbols
from volcomp.stages.grid import flat, padded


def slow_context(levels: np.ndarray, value: int, mean: int, c: int, z: int, y: int, x: int) -> int:
    """One voxel's context as docs/format.md says it."""
    known = pad(levels, 0, RADIUS)
    offsets = peak.NEIGHBOURS if z else peak.NEIGHBOURS[:4]
    same = sum(known[max(z + dz, 0), RADIUS + y + dy, RADIUS + x + dx] == value for dz, dy, dx in offsets)
    scale = Fraction(int(peak.QUARTERS[c % 4]) * 2 ** (c // 4), 4096)  # in sixteenths of a grey level
    quarters = Fraction(4 * abs(mean - 16 * value)) / scale
    return int(same) * 10 + sum(quarters >= step for step in peak.STEPS.tolist())


def test_contexts_are_those_of_the_description() -> None:
    random = np.random.default_rng(6)
    levels = np.where(random.random((4, 9, 10)) < 0.5, 7, some_levels((4, 9, 10)))
    known, index, strides = padded(levels)
    mean = np.clip(16 * 7 + random.normal(0, 300, levels.size), 0, None).astype(np.int32)
    classes = random.integers(0, CLASSES, levels.size).astype(np.uint8)
    depth = np.minimum(np.indices(levels.shape)[0], 2).astype(np.uint8).ravel()
    context = np.empty(levels.size, np.uint8)
    candidate = peak.Candidate(7, flat(peak.NEIGHBOURS, strides))
    peak.contexts(known, index.ravel(), depth, candidate, mean, classes, context)
    for v, place in enumerate(np.ndindex(levels.shape)):
        assert context[v] == slow_context(levels, 7, int(mean[v]), int(classes[v]), *place)
    assert len(set(context.tolist())) > 20 and context.max() < peak.CONTEXTS


def test_the_scales_are_those_of_the_classes() -> None:
    for c in range(CLASSES):
        scale = int(peak.QUARTERS[c % 4]) * 2 ** (c // 4) / 4096 / 16
        assert abs(np.log2(scale) - symbols.class_log_scale(c)) < 0.001


@pytest.mark.parametrize("code", range(1, 256))
def test_flag_counts_are_odds(code: int) -> None:
    no, yes = ans.flag_counts(code).tolist()
    assert no >= 1 and yes >= 1 and no + yes == 1 << TABLE_BITS
    odds = 1.125 ** (code - 128)
    assert abs(yes - (1 << TABLE_BITS) * odds / (1 + odds)) <= 1


def masked_noise() -> np.ndarray:
    """Noise about 500, every third voxel of which a fit that failed has left at 0."""
    random = np.random.default_rng(8)
    noise = random.normal(500, 60, (6, 48, 48)).round()
    return np.where(random.random(noise.shape) < 0.3, 0, noise).astype("<u2")


def test_a_spike_is_found_and_paid_for_by_its_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = masked_noise()
    header, payloads = encode(voxels, EncodeOptions("fast"))
    assert np.array_equal(decode(header, payloads), voxels)
    monkeypatch.setattr(peak, "candidate", lambda levels, limit: None)
    without = encode(voxels, EncodeOptions("fast"))
    assert np.array_equal(decode(*without), voxels)
    saved = len(without[1][0]) - len(payloads[0])
    assert saved > 0.05 * len(payloads[0]), f"{saved} of {len(payloads[0])} bytes"


def test_clipped_air_is_tried_before_padding() -> None:
    """As in many a CT: padding around the circle is the most frequent level, but its voxels are among their like."""
    random = np.random.default_rng(3)
    z, y, x = np.indices((4, 64, 64))
    air = random.normal(4, 8, z.shape).round().clip(1, None)
    levels = np.where(
        (y - 32) ** 2 + (x - 32) ** 2 > 700, 0, np.where(x < 32, air, 500 + random.integers(0, 60, z.shape))
    )
    counts = np.bincount(levels.astype(int).ravel())
    assert counts.argmax() == 0 and peak.candidate(levels.astype(np.int32), int(levels.max())) == 1


def test_a_peak_is_no_spike() -> None:
    random = np.random.default_rng(1)
    bell = random.normal(40, 3, (4, 60, 60)).round().astype(np.int32)
    assert peak.candidate(bell, 80) is None
    levels = np.where(random.random(bell.shape) < 0.05, 52, bell).astype(np.int32)
    assert peak.candidate(levels, 80) == 52
    assert peak.candidate(np.full((3, 9, 9), 7, np.int32), 9) is None, "among its like alone"


def test_no_flags_where_they_do_not_pay() -> None:
    total, spikes, saved = np.zeros((3, peak.CONTEXTS))
    total[0], spikes[0], saved[0] = 4000, 2000, 2000 * 0.01
    assert peak.choose(0, peak.FlagTotals(total, spikes, saved), ans.flag_bits()) is None
    saved[0] = 2000 * 4
    assert peak.choose(0, peak.FlagTotals(total, spikes, saved), ans.flag_bits()) is not None
