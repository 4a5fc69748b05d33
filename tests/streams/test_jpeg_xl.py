"""JPEG frames come back from JPEG XL byte for byte, also from what an earlier libjxl packed; bad ones are refused."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from volcomp.errors import DamagedError, UnsupportedError
from volcomp.streams import jpeg_xl
from volcomp.streams.protocol import NotReproducible

GOLDEN = Path(__file__).parent / "golden" / "jpeg_xl"
JPEG = (GOLDEN / "waves.jpg").read_bytes()
PACKED = (GOLDEN / "waves.packed").read_bytes()
needed = pytest.mark.skipif(jpeg_xl._library() is None, reason="imagecodecs with libjxl is not installed")


@needed
def test_what_was_packed_once_comes_back() -> None:
    assert jpeg_xl.make(PACKED) == JPEG


@needed
@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "examples_ybr_color.dcm"])
def test_frames_of_files_come_back(name: str) -> None:
    """Colour with and without subsampling; some frames are followed by a zero byte."""
    dataset = dcmread(str(get_testdata_file(name)))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1))))
    for data in frames[:3]:
        packed = jpeg_xl.take_apart(data)
        assert jpeg_xl.make(packed) == data
        assert len(packed) < 0.95 * len(data)


@needed
@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "does not begin"), (JPEG[:40], "damaged"), (b"\xff\xd8\xff\xd9\0\0", "lacks a frame header"),
        (JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"), "not one of 8 bits"),
        (JPEG.replace(b"\xff\xc0\0\x0b\x08\0", b"\xff\xc0\0\x0b\x08\xff"), "too short"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "not one of 8 bits"), (JPEG[: len(JPEG) // 2], "libjxl"),
    ],
)  # fmt: skip
def test_what_is_not_packed_is_refused(data: bytes, reason: str) -> None:
    assert data != JPEG
    with pytest.raises(NotReproducible, match=reason):
        jpeg_xl.take_apart(data)


@needed
def test_damage_has_one_error() -> None:
    random = np.random.default_rng(1)
    for _ in range(500):
        for good, change, error in ((JPEG, jpeg_xl.take_apart, NotReproducible), (PACKED, jpeg_xl.make, DamagedError)):
            bad = bytearray(good)
            for _ in range(2):
                bad[int(random.integers(len(bad)))] ^= 1 << int(random.integers(8))
            bad = bad[: int(random.integers(len(bad)))] if random.random() < 0.3 else bad
            try:
                change(bytes(bad))
            except error:
                continue
    for wrong in (b"", b"\1", b"\2" + PACKED[1:], PACKED[:1] + b"\7" + PACKED[3:], PACKED[:-9]):
        with pytest.raises(DamagedError):
            jpeg_xl.make(wrong)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing leaves frames as they are; restoring says what to install."""
    monkeypatch.setattr(jpeg_xl, "_library", lambda: None)
    with pytest.raises(NotReproducible, match="not installed"):
        jpeg_xl.take_apart(JPEG)
    with pytest.raises(UnsupportedError, match=r"volcomp\[jpeg\]"):
        jpeg_xl.make(PACKED)
