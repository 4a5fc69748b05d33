"""What is recognised as an image, how its pixels are read, and which images make a volume in which order."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from tests.helpers import image, noise
from volcomp.archive.stack import kind_of
from volcomp.bodies.registry import body
from volcomp.formats import series
from volcomp.formats.dicom import DICOM
from volcomp.formats.protocol import Image, NotCoded
from volcomp.formats.registry import read_image
from volcomp.streams.protocol import NotReproducible

PIXELS = noise((4, 6))
FLOAT = "FloatPixelData"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"


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
    ("options", "reason"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "it has fewer pixels than its header states"),
        ({"SamplesPerPixel": 5}, "its header states no image"),
        ({"BitsAllocated": 0}, "it has 0 bits allocated for a sample"),
        ({"BitsAllocated": 17}, "it has 17 bits allocated for a sample"),
        ({"BitsAllocated": 64}, "it has fewer pixels than its header states"),
        ({"Rows": 0}, "its header states no image"),
        ({"Rows": 9}, "it has fewer pixels than its header states"),
        ({"raw": b""}, "it has fewer pixels than its header states"),
    ],
)
def test_what_cannot_be_coded_says_why(tmp_path, options, reason):
    with pytest.raises(NotCoded) as refused:
        read(image(tmp_path / "a", PIXELS, **options))
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "options",
    [
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PhotometricInterpretation": None},
        {"syntax": "1.2.3.4.5"},  # a vendor's
        {"NumberOfFrames": 2},  # and there is one
    ],
)
def test_an_untidy_header_is_no_obstacle(tmp_path, options):
    found = read(image(tmp_path / "a", PIXELS, **options))
    assert found.reading is None and np.array_equal(pixels_of(found)[0], PIXELS)


def test_a_preamble_without_its_mark(tmp_path):
    data = image(tmp_path / "a", PIXELS).read_bytes()
    (tmp_path / "b").write_bytes(data[:128] + bytes(4) + data[132:])
    assert np.array_equal(pixels_of(read(tmp_path / "b"))[0], PIXELS)


def test_implicit_said_and_explicit_meant(tmp_path):
    meant, said = (uid.encode().ljust(20, b"\0") for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
    data = image(tmp_path / "a", PIXELS).read_bytes()
    assert meant in data
    (tmp_path / "b").write_bytes(data.replace(meant, said, 1))
    assert pydicom.filereader.read_file_meta_info(tmp_path / "b").TransferSyntaxUID == ImplicitVRLittleEndian
    found = read(tmp_path / "b")
    assert np.array_equal(pixels_of(found)[0], PIXELS)
    assert DICOM.cut((tmp_path / "b").read_bytes()[: found.start]) == DICOM.cut(data[: found.start])


def planes_of(found):
    with found.path.open("rb") as file:
        blocks = list(found.reading.read(file))
    planes = [np.concatenate(plane) for plane in zip(*blocks, strict=True)]
    kept = found.reading.kept
    written = b"".join(bytes(piece) for piece in body(found.reading.number).write(kept, iter(blocks)))
    assert written == found.path.read_bytes()
    return planes


RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_are_planes(tmp_path, planar, dtype):
    samples = noise((3, 5, 7), dtype, 0, 200)
    raw = (samples if planar else np.moveaxis(samples, 0, -1)).tobytes()
    found = read(image(tmp_path / "a", samples[0], raw=raw, PlanarConfiguration=planar, **RGB))
    green, red, blue = (plane[0] for plane in planes_of(found))
    middle = 1 << (8 * samples.itemsize - 1)
    assert np.array_equal(green, samples[1])
    assert np.array_equal((red.astype(int) - middle + green) % (2 * middle), samples[0])
    assert np.array_equal((blue.astype(int) - middle + green) % (2 * middle), samples[2])


def comes_back(found):
    """Return whether the body codec makes the file again."""
    with found.path.open("rb") as file:
        blocks = list(found.reading.read(file))
    made = b"".join(body(found.reading.number).write(found.reading.kept, iter(blocks)))
    return made == found.path.read_bytes()


def test_wide_words_by_plane_are_halves(tmp_path):
    words = np.random.default_rng(0).integers(0, 1 << 32, (3, 5, 7), "<u4")
    stated = {"BitsAllocated": 32, "BitsStored": 32, "SamplesPerPixel": 3, "PlanarConfiguration": 1}
    found = read(image(tmp_path / "a", PIXELS, raw=words.tobytes(), Rows=5, Columns=7, **stated))
    planes = planes_of(found)
    assert len(planes) == 6 and np.array_equal(planes[2][0].astype(np.uint32) << 16 | planes[3][0], words[1])
    with pytest.raises(NotCoded, match="64 bits allocated for a sample, in an order"):
        wide = {**stated, "BitsAllocated": 64}
        read(image(tmp_path / "b", PIXELS, raw=bytes(840), Rows=5, Columns=7, **wide))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("bits", "frames", "signed"), [(32, 1, 0), (32, 4, 1), (64, 3, 0)])
def test_wide_words_are_numbers(tmp_path, bits, frames, signed, syntax):
    words = noise((frames, 40, 50), "i4", -1000, 3000).astype(f"i{bits // 8}") * 1_000_003
    raw = words.astype(words.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    stated = {"BitsAllocated": bits, "BitsStored": bits, "NumberOfFrames": frames, "PixelRepresentation": signed}
    found = read(image(tmp_path / "a", words[0].astype("i2"), raw=raw, syntax=syntax, **stated))
    assert found.reading.number == (5 if frames > 1 else 2)
    assert (found.frames, found.rows, found.columns) == (frames, 40, 50) and comes_back(found)


def test_pixels_that_end_too_early(tmp_path):
    (plane,) = planes_of(read(image(tmp_path / "a", PIXELS, raw=PIXELS.tobytes()[:-2])))
    assert np.array_equal(plane.view("<i2").reshape(-1)[:-1], PIXELS.reshape(-1)[:-1])


def test_bytes_that_are_swapped_in_pairs(tmp_path):
    pixels = noise((4, 6), "u1", 0, 200)
    data = image(tmp_path / "a", pixels, syntax=ExplicitVRBigEndian, raw=pixels.reshape(-1, 2)[:, ::-1].tobytes())
    at = data.read_bytes().rindex(b"\x7f\xe0\x00\x10OB") + 4
    data.write_bytes(data.read_bytes()[:at] + b"OW" + data.read_bytes()[at + 2 :])
    assert np.array_equal(planes_of(read(data))[0][0], pixels)


def test_a_deflated_data_set(tmp_path):
    path = image(tmp_path / "a", PIXELS, syntax=DeflatedExplicitVRLittleEndian)
    dataset = pydicom.dcmread(path)
    dataset.save_as(path)
    found = read(path)
    assert found.reading.number == 4 and np.array_equal(planes_of(found)[0].view("<i2")[0], PIXELS)


def encapsulated(path, frames, syntax, *, table=False, **elements):
    """Write frames in items."""
    dataset = pydicom.dcmread(image(path, PIXELS, **elements))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate(frames, has_bot=table)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    return path


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_frames_in_items(tmp_path, table, count):
    frames = [(PIXELS + i).tobytes() for i in range(count)]
    path = encapsulated(tmp_path / "a", frames, ENCAPSULATED_UNCOMPRESSED, table=table, NumberOfFrames=count)
    assert np.array_equal(planes_of(read(path))[0].view("<i2"), [PIXELS + i for i in range(count)])


def test_damaged_streams_are_not_reproducible(tmp_path):
    path = encapsulated(tmp_path / "b", [b"\xff\xd8" + b"x" * 100], JPEGLSLossless)
    with path.open("rb") as file, pytest.raises(NotReproducible):
        list(read(path).reading.read(file))
    # The same, but the header claims that the pixels are native.
    native = ExplicitVRLittleEndian.encode().ljust(len(JPEGLSLossless), b"\0")
    (tmp_path / "c").write_bytes(path.read_bytes().replace(JPEGLSLossless.encode(), native))
    with pytest.raises(NotCoded, match="no codec makes its transfer syntax again: Explicit VR Little Endian"):
        read(tmp_path / "c")


def test_lossy_jpeg_says_where_its_frames_are(tmp_path):
    frames = [b"\xff\xd8" + bytes([n]) * 2 * n for n in (5, 9)]
    path = encapsulated(tmp_path / "a", frames, JPEGBaseline8Bit, NumberOfFrames=2)
    with pytest.raises(NotCoded, match="JPEG frames are lossy") as refused:
        read(path)
    data = path.read_bytes()
    assert [data[start : start + length] for start, length in refused.value.jpeg] == frames


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
        assert found_in(tmp_path / name) is None
    pixels = len(PIXELS.tobytes())
    for end in range(0, len(sound), 7):
        (tmp_path / "cut").write_bytes(sound[:end])
        assert found_in(tmp_path / "cut") is None or end >= len(sound) - pixels // 2
    for i in range(0, len(sound) - pixels):  # a changed byte may change what is understood, but never be an error
        (tmp_path / "changed").write_bytes(sound[:i] + bytes([sound[i] ^ 0xFF]) + sound[i + 1 :])
        found = found_in(tmp_path / "changed")
        assert found is None or found.reading or found.start + found.pixel_bytes <= found.size


def found_in(path):
    try:
        return read(path)
    except NotCoded:
        return None


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


def slice_at(
    z, *, name="", orientation=(1, 0, 0, 0, 1, 0), kind=("",), order=(0,), rows=4, size=32, signed=True,
    uid="1.2", folder="a",
):  # fmt: skip
    return Image(
        format=DICOM,
        path=None,
        name=name or f"{folder}/{z}",
        size=size,
        start=0,
        rows=rows,
        columns=4,
        frames=1,
        bits=16,
        signed=signed,
        big_endian=False,
        series=uid,
        position=(0.0, 0.0, z) if z is not None else None,
        orientation=orientation,
        kind=kind,
        order=order,
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


def test_a_series_for_each_slice_is_one_volume():
    alone = [slice_at(z, uid=f"1.{z}") for z in (3, 1, 2)]
    others = [slice_at(z, uid=f"1.{z}", folder="b") for z in (5, 4)]
    assert [places(volume) for volume in series.volumes([*alone, *others])] == [[1, 2, 3], [4, 5]]


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


def test_a_sequence_that_is_cut_is_a_header_that_cannot_be_read(tmp_path):
    """Pydicom raises an OSError there, which is none of the system."""
    path = image(tmp_path / "a", PIXELS)
    data = path.read_bytes()
    head = data[: data.index(b"\x28\0\x10\0US")]
    path.write_bytes(head + b"\x28\0\x03\0SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff")
    with pytest.raises(NotCoded, match="its header cannot be read"):
        read(path)


def test_frames_without_number_are_not_made_of_a_few_pixels(tmp_path):
    """Each slice costs milliseconds, so that a file of 200 kB would take minutes."""
    path = image(tmp_path / "a", noise((1, 1), "u1", 0, 200), raw=bytes(200_000))
    with pytest.raises(NotCoded, match="more than 1024 frames"):
        read(path)
    few = image(tmp_path / "b", noise((1, 1), "u1", 0, 200), raw=bytes(1000))
    assert read(few).frames == 1000


@pytest.mark.parametrize(
    ("frames", "rows", "columns", "expected"),
    [
        (20_000, 4, 8, (8, 10_000, 8)),  # 2048 frames are a slice at least, and 2500 divide 20000
        (1024, 4, 8, (1024, 4, 8)),
        (1025, 4, 8, (1, 4100, 8)),
        (1025, 32, 32, (1025, 32, 32)),
        (20_011, 4, 8, (1, 80_044, 8)),  # a prime
        (200_000, 1, 1, (2, 100_000, 1)),
    ],
)
def test_many_tiny_frames_are_slices_together(tmp_path, frames, rows, columns, expected):
    pixels = np.arange(frames * rows * columns).reshape(frames, rows, columns).astype("u2")
    found = read(image(tmp_path / "a", pixels))
    assert (found.frames, found.rows, found.columns) == expected
    assert np.array_equal(pixels_of(found).reshape(-1), pixels.reshape(-1))


def test_many_tiny_frames_of_colours(tmp_path):
    """Of components side by side only, and not of encapsulated frames."""
    raw = np.random.default_rng(0).bytes(1200 * 4 * 5 * 3)
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "NumberOfFrames": 1200}
    flat = np.zeros((4, 5), "u1")
    found = read(image(tmp_path / "a", flat, raw=raw, PlanarConfiguration=0, **colours))
    assert (found.frames, found.rows, found.columns) == (1, 4800, 5)
    path = image(tmp_path / "b", flat, raw=raw, PlanarConfiguration=1, **colours)
    with pytest.raises(NotCoded, match="more than 1024 frames"):
        read(path)


def packed(samples, bits, high_first=False):
    """Pack samples end to end."""
    wide = np.unpackbits(samples.reshape(-1, 1).astype("<u2").view("u1"), axis=1, bitorder="little")[:, :bits]
    data = np.packbits(wide[:, ::-1] if high_first else wide, bitorder="big" if high_first else "little").tobytes()
    return data + bytes(len(data) % 2)


@pytest.mark.parametrize("high_first", [False, True])
@pytest.mark.parametrize(("bits", "frames"), [(1, 1), (1, 3), (12, 1), (12, 5), (10, 2), (4, 3)])
def test_packed_samples(tmp_path, bits, frames, high_first):
    """By the standard, or the other way round."""
    y, x = np.mgrid[:16, :23]
    picture = (np.hypot(y - 8, x - 11) * (1 << bits) / 16).clip(0, (1 << bits) - 1).astype("u2")
    samples = np.stack([np.roll(picture, n) for n in range(frames)])
    stated = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "NumberOfFrames": frames}
    found = read(image(tmp_path / "a", np.zeros((16, 23), "u1"), raw=packed(samples, bits, high_first), **stated))
    (plane,) = planes_of(found)
    assert (found.bits, found.frames) == (8 if bits <= 8 else 16, frames)
    assert np.array_equal(plane, samples)


def test_packed_frames_that_begin_at_bytes(tmp_path):
    samples = np.random.default_rng(0).integers(0, 2, (40, 3, 5)).astype("u2")
    raw = b"".join(np.packbits(frame.reshape(-1).astype("u1"), bitorder="little").tobytes() for frame in samples)
    stated = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    found = read(image(tmp_path / "a", np.zeros((3, 5), "u1"), raw=raw, NumberOfFrames=40, **stated))
    assert np.array_equal(planes_of(found)[0], samples)
    raw = packed(samples[:9], 1)  # as many bytes, of which the last is padding, as frames of two bytes would have
    nine = read(image(tmp_path / "e", np.zeros((3, 5), "u1"), raw=raw, NumberOfFrames=9, **stated))
    assert len(raw) == 18 and np.array_equal(planes_of(nine)[0], samples[:9])
    few = read(image(tmp_path / "b", np.zeros((3, 5), "u1"), raw=packed(samples, 1)[:8], NumberOfFrames=40, **stated))
    assert np.array_equal(planes_of(few)[0], samples[:4])  # as many as are there; they begin anywhere
    with pytest.raises(NotCoded, match="fewer pixels"):
        read(image(tmp_path / "c", np.zeros((3, 50), "u1"), raw=bytes(2), **stated))
    with pytest.raises(NotCoded, match="big-endian words"):
        path = image(tmp_path / "d", np.zeros((3, 5), "u1"), raw=bytes(2), syntax=ExplicitVRBigEndian, **stated)
        path.write_bytes(path.read_bytes().replace(b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW"))
        read(path)


@pytest.mark.parametrize(("bits", "dtype"), [(1, "u1"), (12, "u2"), (10, "i2")])
def test_samples_of_bytes_of_their_own(tmp_path, bits, dtype):
    """Whatever the header states of their bits."""
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (3, 5, 7)).astype(dtype)
    found = read(image(tmp_path / "a", pixels, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1))
    assert found.reading is None and (found.stored, found.bits) == (bits, 8 * pixels.itemsize)
    assert np.array_equal(pixels_of(found), pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("name", "frames"), [(FLOAT, 1), (FLOAT, 3), ("DoubleFloatPixelData", 3)])
def test_floating_point_numbers(tmp_path, syntax, name, frames):
    numbers = np.random.default_rng(0).normal(0, 1, (frames, 40, 50))
    path = image(tmp_path / "a", PIXELS, syntax=syntax, Rows=40, Columns=50, NumberOfFrames=frames)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData, dataset.BitsAllocated
    big = syntax == ExplicitVRBigEndian
    kind = np.dtype("f4" if name == "FloatPixelData" else "f8").newbyteorder(">" if big else "<")
    setattr(dataset, name, numbers.astype(kind).tobytes())
    dataset.save_as(path, implicit_vr=False, little_endian=not big)
    found = read(path)
    assert found.reading.number == (5 if frames > 1 else 2)
    assert (found.frames, found.rows, found.columns) == (frames, 40, 50) and comes_back(found)
    if frames == 1:
        return
    setattr(dataset, name, np.zeros((frames, 40, 50), kind).tobytes())
    dataset.save_as(path, implicit_vr=False, little_endian=not big)
    with pytest.raises(NotCoded, match="a general codec makes its numbers smaller"):
        read(path)
