"""Arrays in, bytes out, and the same arrays back; anything else is refused with a sentence."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import volcomp
from tests.helpers import noise
from volcomp import DamagedError, UnsupportedError, VerificationError, VolcompError
from volcomp.codec.encode import ArraySource
from volcomp.container.sections import SLAB, Reader, SectionId

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9)
DTYPES = st.sampled_from(["u1", "i1", "<u2", "<i2", ">u2", ">i2"])


def same(a, b):
    return a.shape == b.shape and a.dtype.newbyteorder("<") == b.dtype and np.array_equal(a, b)


@settings(max_examples=40)
@given(SHAPES.flatmap(lambda shape: DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, shape))))
def test_any_array_comes_back(array):
    assert same(array, volcomp.decompress(volcomp.compress(array, threads=1, verify=False), threads=1))


@settings(max_examples=20)
@given(st.permutations(range(3)), st.lists(st.sampled_from([-2, -1, 1, 2]), min_size=3, max_size=3), DTYPES)
def test_any_strides_come_back(axes, steps, dtype):
    array = noise((5, 6, 7), "i2", 0, 100).astype(dtype).transpose(axes)[tuple(slice(None, None, s) for s in steps)]
    assert same(array, volcomp.decompress(volcomp.compress(array, threads=1, verify=False), threads=1))


@pytest.mark.parametrize("array", [np.zeros((1, 1, 1), "u2"), np.full((1, 1), -128, "i1")])
def test_a_single_voxel_costs_less_than_200_bytes(array):
    data = volcomp.compress(array)
    assert len(data) < 200
    assert same(array, volcomp.decompress(data))


@pytest.fixture(scope="module")
def two_slabs(low_slabs):
    array = noise((40, 6, 5))
    return array, volcomp.compress(array, threads=1)


@pytest.mark.parametrize(
    "slices",
    [
        slice(30, 35),
        slice(0, 1),
        slice(-3, None),
        slice(None, None, -1),
        slice(35, 2, -7),
        slice(50, 60),
        slice(5, 5),
        slice(1, 40, 3),
        slice(None),
    ],
)
def test_slices_are_those_of_the_array(two_slabs, slices):
    array, data = two_slabs
    assert same(array[slices], volcomp.decompress(data, slices=slices, threads=1))


def test_slices_touch_only_their_slabs(two_slabs):
    array, data = two_slabs
    at = data.index(b"SLAB") + 30
    damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert same(array[35:40], volcomp.decompress(damaged, slices=slice(35, 40), threads=1))
    with pytest.raises(DamagedError, match="slab 0 of volume 0"):
        volcomp.decompress(damaged, slices=slice(0, 1), threads=1)
    with pytest.raises(DamagedError, match="slab 0 of volume 0"):
        volcomp.decompress(damaged, threads=1)


def test_a_cut_file_is_salvaged(two_slabs, tmp_path):
    """Wherever it is cut: all voxels where only the index is, and the first slab where the second one is."""
    array, data = two_slabs
    places = Reader(io.BytesIO(data)).places
    ends = [place.offset + place.length for place in places.values()]
    assert [section.tag for section in places] == [b"VHDR", b"SLAB", b"SLAB"]
    for end in range(0, len(data), 7):
        (tmp_path / "x.vcz").write_bytes(data[:end])
        for cut in (data[:end], tmp_path / "x.vcz"):
            with pytest.raises(DamagedError):
                volcomp.decompress(cut, threads=1)
        if end >= ends[2]:
            assert same(array, volcomp.decompress(cut, salvage=True, threads=1))
            continue
        with pytest.raises(DamagedError) as error:
            volcomp.decompress(cut, salvage=True, threads=1)
        if end >= ends[1]:
            assert str(error.value).startswith("slices 20 to 39 of volume 0 are lost: slab 1 of volume 0 is missing")
            assert same(array[:20], volcomp.decompress(cut, slice(0, 20), salvage=True, threads=1))
        elif end >= ends[0]:
            assert str(error.value).startswith("slices 0 to 19, 20 to 39 of volume 0 are lost")


def test_an_overwritten_file_is_salvaged(two_slabs):
    """With the index and without: the slab that is sound comes back."""
    array, data = two_slabs
    place = Reader(io.BytesIO(data)).places[SectionId(SLAB, 0, 0)]
    at = place.offset + 40
    damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    for found in (damaged, damaged[:-1]):
        with pytest.raises(DamagedError, match="slices 0 to 19 of volume 0 are lost"):
            volcomp.decompress(found, salvage=True, threads=1)
        assert same(array[20:], volcomp.decompress(found, slice(20, None), salvage=True, threads=1))
    assert same(array, volcomp.decompress(data, salvage=True, threads=1))


def test_a_path_does_as_well(two_slabs, tmp_path):
    array, data = two_slabs
    (tmp_path / "a.vcz").write_bytes(data)
    assert same(array, volcomp.decompress(tmp_path / "a.vcz", threads=1))
    assert volcomp.inspect(tmp_path / "a.vcz") == volcomp.inspect(data)


def test_inspect(two_slabs):
    array, data = two_slabs
    report = volcomp.inspect(data)
    assert report.promise == "voxel-exact"
    assert report.size == len(data) == sum(report.sections.values())
    (volume,) = report.volumes
    assert (volume.shape, volume.dtype, volume.slabs) == ((40, 6, 5), "i2", 2)
    assert volume.bits_per_voxel == 8 * volume.bytes / array.size
    assert volcomp.inspect(volcomp.compress(array[0], threads=1)).volumes[0].shape == (6, 5)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 2, 2), "f4"), "float32"),
        (np.zeros((2, 2, 2), "i4"), "int32"),
        (np.zeros((2, 2), "?"), "bool"),
        (np.zeros(5, "u2"), "1 dimensions"),
        (np.zeros((1, 1, 2, 3, 4), "u2"), "5 dimensions"),
        (np.zeros((3, 0, 3), "u2"), "no voxels"),
        (np.ma.masked_array(np.zeros((2, 2), "u2")), "mask"),
    ],
)
def test_other_arrays_are_refused(array, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        volcomp.compress(array)


def test_other_requests_are_refused(two_slabs):
    array, data = two_slabs
    with pytest.raises(UnsupportedError, match="model 'huge' is not known"):
        volcomp.compress(array, model="huge")
    with pytest.raises(UnsupportedError, match="volumes 0 to 0"):
        volcomp.decompress(data, volume=1)
    with pytest.raises(UnsupportedError, match="two-dimensional"):
        volcomp.decompress(volcomp.compress(array[0], threads=1), slices=slice(0, 1))
    with pytest.raises(AttributeError):
        _ = volcomp.nothing


def outcome(data):
    try:
        return volcomp.decompress(data, threads=1)
    except VolcompError as error:
        assert str(error) and "\n" not in str(error)
        return None


def test_every_cut_and_every_changed_byte_is_noticed():
    data = volcomp.compress(noise((2, 3, 4)), threads=1)
    assert outcome(data) is not None
    for i in range(len(data)):
        assert outcome(data[:i]) is None
        for change in (1, 0x80, 0xFF):
            assert outcome(data[:i] + bytes([data[i] ^ change]) + data[i + 1 :]) is None


def test_a_codec_that_errs_is_noticed(monkeypatch):
    slices = ArraySource.slices
    monkeypatch.setattr(ArraySource, "slices", lambda source, first, end: slices(source, first, end)[::-1].copy())
    with pytest.raises(VerificationError, match="SHA-256"):
        volcomp.compress(noise((2, 3, 4)), threads=1)
