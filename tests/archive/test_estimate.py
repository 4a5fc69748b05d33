"""Whether frames are graphics is told from the middle of large ones."""

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian

from tests.helpers import image, noise
from volcomp.archive import estimate
from volcomp.formats.registry import read_image


def frame(rows, columns, middle, dtype="u2"):
    """Noise around a middle of `middle` rows and columns of a pattern that repeats."""
    pixels = noise((rows, columns), dtype, 0, 200)
    top, left = (rows - middle) // 2, (columns - middle) // 2
    pattern = np.random.default_rng(2).choice(np.array([0, 255], dtype), (16, 16))
    pixels[top : top + middle, left : left + middle] = np.tile(pattern, (middle // 16, middle // 16))
    return pixels


def seen(path):
    return estimate._some_frame(read_image(path, path.name))


@pytest.mark.parametrize("syntax", [None, ExplicitVRBigEndian])
def test_the_middle_of_a_native_frame(tmp_path, monkeypatch, syntax):
    options = {"syntax": syntax} if syntax else {}
    pixels = np.stack([frame(224, 192, 192), frame(224, 192, 192) + np.uint16(1), frame(224, 192, 192)])
    path = image(tmp_path / "a", pixels, **options)
    assert np.array_equal(seen(path), pixels[1])
    monkeypatch.setattr(estimate, "_LOOKED_AT", 192 * 192 + 100)
    assert np.array_equal(seen(path), pixels[1, 16:208])
    monkeypatch.setattr(estimate, "_LOOKED_AT", 100)  # part of a row
    assert np.array_equal(seen(path), pixels[1, 111:112, 46:146])


def test_the_middle_of_a_plane(tmp_path, monkeypatch):
    pixels = frame(224, 192, 192)
    path = image(tmp_path / "a", pixels, raw=pixels.astype("<u4").tobytes(), BitsAllocated=32, BitsStored=32)
    monkeypatch.setattr(estimate, "_LOOKED_AT", 192 * 10)
    assert np.array_equal(seen(path), np.zeros((10, 192), "u2"))  # the high halves


def test_the_middle_decides(tmp_path, monkeypatch):
    image_of = {size: image(tmp_path / str(size), frame(448, 448, size, "u1")) for size in (192, 448)}
    images = {size: [read_image(path, "a")] for size, path in image_of.items()}
    assert estimate.is_graphics(images[448]) and not estimate.is_graphics(images[192])
    monkeypatch.setattr(estimate, "_LOOKED_AT", 448 * 192)
    assert estimate.is_graphics(images[448]) and not estimate.is_graphics(images[192])
