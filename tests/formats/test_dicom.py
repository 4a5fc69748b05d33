"""What is recognised as native greyscale, where its pixels are, and which images make a volume in which order."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from tests.helpers import image, noise
from volcomp.archive.stack import kind_of
from volcomp.formats import series
from volcomp.formats.dicom import DICOM
from volcomp.formats.protocol import Image
from volcomp.formats.registry import read_image

PIXELS = noise((4, 6))


def read(path):
    return read_image(path, path.name)


def pixels_of(found):
    data = found.path.read_bytes()[found.start : found.start + found.pixel_bytes]
    dtype = np.dtype(f"{'>' if found.big_endian else '<'}{'i' if found.signed else 'u'}{found.bits // 8}")
    return np.frombuffer(data, dtype).reshape(-1, found.rows, found.columns)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_native_greyscale_is_found(tmp_path, syntax, preamble, dtype):
    pixels = noise((5, 3), dtype, 0, 100)
    found = read(image(tmp_path / "a", pixels, syntax=syntax, preamble=preamble))
    assert np.array_equal(pixels_of(found)[0], pixels)
    assert (found.position, found.series, found.frames) == ((0, 0, 0), "1.2.3.4", 1)


def test_multi_frame_and_trailing_padding(tmp_path):
    pixels = noise((3, 5, 7), "u1", 0, 200)  # 105 bytes: an odd number, which the standard pads
    assert np.array_equal(pixels_of(read(image(tmp_path / "a", pixels))), pixels)
    padded = read(image(tmp_path / "b", PIXELS, raw=PIXELS.tobytes() + b"padding!" * 9))
    assert np.array_equal(pixels_of(padded)[0], PIXELS)


@pytest.mark.parametrize(
    "options",
    [
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"BitsAllocated": 1},
        {"BitsAllocated": 32},
        {"BitsAllocated": 12},
        {"Rows": 0},
        {"Rows": 5},
        {"NumberOfFrames": 2},
        {"syntax": DeflatedExplicitVRLittleEndian},
        {"syntax": "1.2.3.4.5"},
        {"raw": b""},
    ],
)
def test_all_else_is_not(tmp_path, options):
    """Colour, other depths, fewer pixels than announced, other transfer syntaxes."""
    assert read(image(tmp_path / "a", PIXELS, **options)) is None


def test_encapsulated_pixels_are_not_native(tmp_path):
    dataset = pydicom.dcmread(image(tmp_path / "a", PIXELS))
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + b"x" * 100])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "b")
    assert read(tmp_path / "b") is None
    # The same, but the header claims that the pixels are native.
    native = ExplicitVRLittleEndian.encode().ljust(len(JPEGLSLossless), b"\0")
    (tmp_path / "c").write_bytes((tmp_path / "b").read_bytes().replace(JPEGLSLossless.encode(), native))
    assert read(tmp_path / "c") is None


def test_files_that_are_no_dicom(tmp_path):
    sound = image(tmp_path / "sound", PIXELS).read_bytes()
    for name, data in {
        "empty": b"",
        "text": b"hello\n" * 100,
        "zeros": bytes(1000),
        "magic": bytes(128) + b"DICM",
        "junk": bytes(128) + b"DICM" + b"\xff" * 500,
        "group": b"\x08\0" * 300,
    }.items():
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name) is None
    pixels = len(PIXELS.tobytes())
    for end in range(0, len(sound), 7):
        (tmp_path / "cut").write_bytes(sound[:end])
        assert read(tmp_path / "cut") is None or end >= len(sound) - pixels
    for i in range(0, len(sound) - pixels):  # a changed byte may change what is understood, but never be an error
        (tmp_path / "changed").write_bytes(sound[:i] + bytes([sound[i] ^ 0xFF]) + sound[i + 1 :])
        found = read(tmp_path / "changed")
        assert found is None or found.start + found.pixel_bytes <= found.size


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("preamble", [True, False])
def test_headers_are_cut_at_their_elements(tmp_path, syntax, preamble):
    sequence = pydicom.Sequence([pydicom.Dataset()])
    sequence[0].CodeValue = "T-1"
    found = read(image(tmp_path / "a", PIXELS, syntax=syntax, preamble=preamble, AnatomicRegionSequence=sequence))
    header = found.path.read_bytes()[: found.start]
    cuts = DICOM.cut(header)
    assert [tag for tag, _, _ in cuts] == sorted({tag for tag, _, _ in cuts})
    dataset = pydicom.dcmread(found.path, force=True)
    tags = [int(element.tag) for element in [*dataset.file_meta, *dataset]]
    assert [tag for tag, _, _ in cuts] == tags
    assert all(start <= value <= len(header) for _, start, value in cuts)
    for end in range(len(header)):  # any bytes can be cut
        starts = [start for _, start, _ in DICOM.cut(header[:end])]
        assert starts == sorted(starts) and all(start <= end for start in starts)


def slice_at(z, *, name="", orientation=(1, 0, 0, 0, 1, 0), kind=("",), order=(0,), rows=4, size=32, signed=True):
    return Image(
        DICOM,
        None,
        name or str(z),
        size,
        0,
        rows,
        4,
        1,
        16,
        signed,
        False,
        "1.2",
        (0.0, 0.0, z) if z is not None else None,
        orientation,
        kind,
        order,
    )


def places(volume):
    return [image.position[2] for image in volume]


def test_slices_are_ordered_along_the_normal():
    (volume,) = series.volumes([slice_at(z) for z in (3, 1, 2.5, -7)])
    assert places(volume) == [-7, 1, 2.5, 3]


def test_a_time_series_is_ordered_by_time():
    (volume,) = series.volumes([slice_at(0, order=(t,)) for t in (3, 1, 2)])
    assert [image.order for image in volume] == [(1,), (2,), (3,)]


def test_without_geometry_the_numbers_decide():
    images = [slice_at(None, order=(0, n), orientation=None) for n in (2, 10, 1)]
    (volume,) = series.volumes(images)
    assert [image.order[-1] for image in volume] == [1, 2, 10]


def test_one_odd_slice_splits_off():
    volumes = series.volumes([slice_at(z, rows=5 if z == 3 else 4) for z in range(6)])
    assert [places(volume) for volume in volumes] == [[0, 1, 2, 4, 5], [3]]


def test_reconstructions_are_kept_apart():
    """In one volume, one after the other, while they are small; as volumes where each fills a slab."""
    small = [slice_at(z, kind=kind) for z in range(5) for kind in (("A",), ("B",))]
    (volume,) = series.volumes(small)
    assert places(volume) == [*range(5), *range(5)]
    large = [slice_at(z, kind=kind) for z in range(40) for kind in (("A",), ("B",))]
    assert [places(volume) for volume in series.volumes(large)] == [[*range(40)]] * 2


def test_a_changing_tilt_does_not_shatter_a_series():
    tilts = [(1, 0, 0, 0, np.cos(a), np.sin(a)) for a in np.linspace(0, 0.5, 20)]
    (volume,) = series.volumes([slice_at(z, orientation=tilt) for z, tilt in enumerate(tilts)])
    assert places(volume) == [*range(20)]


def test_long_series_are_cut(monkeypatch):
    monkeypatch.setattr(series, "MAX_VOLUME_BYTES", 100)
    volumes = series.volumes([slice_at(z) for z in range(8)])  # 32 bytes each
    assert [len(volume) for volume in volumes] == [3, 3, 2]


@pytest.mark.parametrize(
    ("words", "signed", "kind"),
    [
        ([0, 1, 4095], True, "i"),  # the same range either way: as the header says
        ([0, 1, 4095], False, "u"),
        ([0, 0xFFFF, 5], False, "i"),  # signed values in an unsigned type
        ([0x7FFF, 0x8000], True, "u"),  # unsigned values in a signed type
        ([0xF000, 0x0FFF], True, "i"),  # rubbish above bit 12
    ],
)
def test_words_are_taken_for_the_type_of_the_smaller_range(words, signed, kind):
    array = np.array(words, "<u2")
    found, low, counts = kind_of(np.bincount(array, minlength=1 << 16), signed)
    assert found == kind
    assert (low + np.flatnonzero(counts)).tolist() == sorted(array.view(f"<{kind}2").tolist())
