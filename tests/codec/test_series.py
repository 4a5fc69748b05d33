"""Series: every time point comes back; referring pays where it should, costs nothing elsewhere, and needs one key."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import volcomp
from tests.helpers import noise
from volcomp import DamagedError, UnsupportedError
from volcomp.codec import decode as codec_decode
from volcomp.codec.decode import Keys, decode_volume
from volcomp.codec.encode import ArraySource, encode_slabs, write_volume
from volcomp.codec.engines import by_reference, on
from volcomp.codec.series import plan
from volcomp.container.sections import SERIES_VERSION, SLAB, VOLUME_HEADER, VOXEL_VERSION, Reader, SectionId, Writer
from volcomp.container.volume import read_volume
from volcomp.encoder import keys
from volcomp.options import DecodeOptions, EncodeOptions

SHAPES = hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=6)
DTYPES = st.sampled_from(["u1", "i1", "<u2", "<i2", ">u2"])
ONE = DecodeOptions(threads=1)


def textured(shape: tuple[int, int, int, int], swing: int = 900, jitter: int = 9, seed: int = 1) -> np.ndarray:
    """A texture that no slice predicts, and that all time points share but for weak noise."""
    random = np.random.default_rng(seed)
    return (random.integers(0, swing, (1, *shape[1:])) + random.integers(0, jitter, shape)).astype("<u2")


def coded(array: np.ndarray, **options: Any) -> bytes:
    return volcomp.compress(array, "fast", threads=1, device="cpu", **options)


def keys_of(data: bytes) -> list[int | None]:
    reader = Reader(io.BytesIO(data))
    return [read_volume(reader, section.major).key for section in reader.places if section.tag == VOLUME_HEADER]


@settings(max_examples=25)
@given(SHAPES.flatmap(lambda shape: DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, shape))))
def test_any_series_comes_back(array: np.ndarray) -> None:
    back = volcomp.decompress(coded(array, verify=False), threads=1)
    assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("<") and np.array_equal(back, array)


@pytest.mark.parametrize("model", ["turbo", "fast", "base", "paper"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_a_series_of_every_type_comes_back(model: str, dtype: str) -> None:
    array = (textured((3, 5, 9, 7), 90, 9) + 20).astype(dtype)
    array[1] -= 3  # time points have histograms of their own
    data = volcomp.compress(array, model, threads=1)
    assert np.array_equal(volcomp.decompress(data), array)
    assert sum(key is not None for key in keys_of(data)) == (0 if model == "paper" else 2)


@pytest.mark.parametrize("swing", [32_000, 65_500])
def test_levels_beyond_15_bits_come_back(swing: int) -> None:
    """They go the way without vector instructions."""
    array = textured((3, 6, 12, 11), swing, 9)
    assert array.max() >= swing - 100
    data = coded(array)
    assert np.array_equal(volcomp.decompress(data), array) and keys_of(data).count(None) == 1
    assert len(data) < 0.75 * sum(len(coded(one)) for one in array)


@pytest.mark.parametrize(
    "shape", [(1, 4, 9, 8), (2, 1, 20, 20), (2, 5, 1, 30), (2, 5, 30, 1), (3, 1, 1, 40), (5, 2, 3, 2)]
)
def test_odd_shapes_come_back(shape: tuple[int, int, int, int]) -> None:
    array = textured(shape)
    assert np.array_equal(volcomp.decompress(coded(array)), array)


@pytest.mark.parametrize("constant", [True, False])
def test_constant_time_points_come_back(constant: bool) -> None:
    array = textured((4, 5, 9, 9))
    array[1:3] = 77
    if constant:
        array[:] = 77
    assert np.array_equal(volcomp.decompress(coded(array)), array)


def test_referring_pays_where_time_points_are_alike() -> None:
    array = textured((6, 8, 24, 24))
    data = coded(array)
    assert len(data) < 0.6 * sum(len(coded(one)) for one in array)
    assert keys_of(data).count(None) == 1


def test_noise_costs_no_more_than_by_itself() -> None:
    array = noise((5, 6, 30, 30, 1), "u2", 0, 4000)[..., 0]
    data = coded(array)
    assert len(data) < 1.002 * sum(len(coded(one)) for one in array)


def test_time_points_refer_to_the_key_that_is_like_them() -> None:
    """Two kinds of time points in turn, as control and label of perfusion."""
    one, other = textured((4, 6, 20, 20), seed=1), textured((4, 6, 20, 20), seed=2)
    array = np.stack([one, other], axis=1).reshape(8, 6, 20, 20)
    found = keys_of(coded(array))
    assert found.count(None) == 2
    assert all(key is None or key % 2 == t % 2 for t, key in enumerate(found))


def test_keys_do_not_refer() -> None:
    costs = np.array([[9, 1, 5, 5], [1, 9, 1, 5], [5, 1, 9, 1], [5, 5, 1, 9]], float)
    found = keys._locate(costs, np.full(4, 6.0))
    assert found[found.index(None)] is None and all(key is None or found[key] is None for key in found)
    assert keys._locate(np.full((4, 4), 7.0), np.full(4, 6.0)) == [None] * 4


def test_a_key_that_others_no_longer_need_is_coded_by_itself() -> None:
    """Where a better key comes later, what referred to the first one may go over."""
    costs = np.full((5, 5), 9.0)
    costs[1:, 0], costs[2:, 1] = 4.0, 1.0
    assert keys._locate(costs, np.full(5, 6.0)) == [None, None, 1, 1, 1]


def test_long_series_compare_some_pairs() -> None:
    pairs = keys._pairs(500)
    assert len(pairs) <= 500 * (2 * keys.NEAR + keys.FAR) and {t for t, _ in pairs} == set(range(500))
    assert all(t != key for t, key in pairs)


def test_the_file_says_that_it_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    array = textured((2, 3, 6, 6))
    data = coded(array)
    assert Reader(io.BytesIO(data)).version == SERIES_VERSION == 5
    assert Reader(io.BytesIO(coded(array[0]))).version == VOXEL_VERSION == 3
    monkeypatch.setattr("volcomp.container.sections.SERIES_VERSION", 4)
    with pytest.raises(UnsupportedError, match="format version 5 exceeds the supported 4; upgrade volcomp"):
        volcomp.decompress(data)


def test_threads_and_engines_write_the_same_bytes(low_slabs: None) -> None:
    array = textured((3, 40, 9, 8))
    data = coded(array)
    assert volcomp.compress(array, "fast", threads=3) == data
    for threads in (1, 3):
        assert np.array_equal(volcomp.decompress(data, threads=threads), array)
    source, key = ArraySource(array[0]), ArraySource(array[1])
    options = EncodeOptions("fast", threads=2)
    expected = [one.payload for one in encode_slabs(source, options, reference=key)[1]]
    for engine in (by_reference, on("cpu", "torch")):
        header, slabs = encode_slabs(source, options, reference=key, engine=engine)
        payloads = [one.payload for one in slabs]
        assert payloads == expected
        parts = codec_decode.decode_slabs(
            header, dict(enumerate(payloads)), engine=engine, key=lambda k: array[1, 20 * k : 20 * k + 20]
        )
        assert np.array_equal(np.concatenate([part for _, part in parts]), array[0])


@pytest.mark.long
def test_fine_tuning_competes_with_referring() -> None:
    """Above effort 5 a time point refers or has a model of its own, whichever is smaller."""
    alike, apart = textured((2, 6, 24, 24)), noise((1, 6, 24, 24), "i2", 0, 900).astype("u2")
    array = np.concatenate([alike, apart])
    data = coded(array, effort=6)
    assert np.array_equal(volcomp.decompress(data), array)
    assert len(data) <= 1.01 * min(len(coded(array)), sum(len(coded(one, effort=6)) for one in array))


# --- reading a part


@pytest.fixture(scope="module")
def series(low_slabs: None) -> tuple[np.ndarray, bytes]:
    array = textured((5, 40, 8, 7))
    return array, coded(array)


@pytest.fixture
def sections_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SectionId]]:
    """The slabs whose sections are read."""
    found: list[SectionId] = []
    read = Reader.read

    def noted(self: Reader, section: SectionId) -> bytes:
        if section.tag == SLAB:
            found.append(section)
        return read(self, section)

    monkeypatch.setattr(Reader, "read", noted)
    yield found


@pytest.mark.parametrize("times", [slice(None), slice(1, 3), slice(None, None, -2), slice(4, 4), 0, 3, -1])
@pytest.mark.parametrize("slices", [None, slice(18, 23), slice(None, None, -9), slice(5, 5)])
def test_parts_come_back(series: tuple[np.ndarray, bytes], times: slice | int, slices: slice | None) -> None:
    array, data = series
    expected = array[times][..., slices or slice(None), :, :]
    found = volcomp.decompress(data, slices, times=times, threads=1)
    assert found.shape == expected.shape and found.dtype == array.dtype and np.array_equal(found, expected)


def test_a_slice_of_one_time_point_takes_two_slabs(
    series: tuple[np.ndarray, bytes], sections_read: list[SectionId]
) -> None:
    array, data = series
    found = keys_of(data)
    key = found.index(None)
    dependent = next(t for t, of in enumerate(found) if of == key)
    assert np.array_equal(volcomp.decompress(data, slice(30, 31), times=dependent, threads=1), array[dependent, 30:31])
    assert sections_read == [SectionId(SLAB, dependent, 1), SectionId(SLAB, key, 1)]
    sections_read.clear()
    assert np.array_equal(volcomp.decompress(data, slice(30, 31), times=key, threads=1), array[key, 30:31])
    assert sections_read == [SectionId(SLAB, key, 1)]


def test_a_whole_series_is_decoded_once(series: tuple[np.ndarray, bytes], sections_read: list[SectionId]) -> None:
    array, data = series
    assert np.array_equal(volcomp.decompress(data, threads=2), array)
    assert sorted(sections_read) == [SectionId(SLAB, t, k) for t in range(5) for k in range(2)]


def test_a_volume_of_a_series_is_one_time_point(series: tuple[np.ndarray, bytes]) -> None:
    array, data = series
    assert all(np.array_equal(volcomp.decompress(data, volume=t), array[t]) for t in range(5))
    assert [report.shape for report in volcomp.inspect(data).volumes] == [(40, 8, 7)] * 5
    assert [report.key for report in volcomp.inspect(data).volumes] == keys_of(data)


def test_one_time_point_stays_a_series() -> None:
    array = textured((1, 3, 6, 5))
    data = coded(array)
    assert volcomp.decompress(data).shape == array.shape and np.array_equal(volcomp.decompress(data, times=0), array[0])


def test_other_requests_are_refused(series: tuple[np.ndarray, bytes]) -> None:
    array, data = series
    for times in (5, -6):
        with pytest.raises(UnsupportedError, match="has 5"):
            volcomp.decompress(data, times=times)
    with pytest.raises(UnsupportedError, match="times were asked"):
        volcomp.decompress(coded(array[0]), times=0)
    with pytest.raises(UnsupportedError, match="one shape"):
        plan([ArraySource(array[0]), ArraySource(array[1, :5])], EncodeOptions("fast"))


# --- damage


def hurt(data: bytes, section: SectionId) -> bytes:
    place = Reader(io.BytesIO(data)).places[section]
    changed = bytearray(data)
    changed[place.offset + place.length // 2] ^= 1
    return bytes(changed)


def test_damage_of_a_key_is_reported_for_those_that_refer_to_it(series: tuple[np.ndarray, bytes]) -> None:
    array, data = series
    found = keys_of(data)
    key = found.index(None)
    dependent = next(t for t, of in enumerate(found) if of == key)
    damaged = hurt(data, SectionId(SLAB, key, 1))
    with pytest.raises(
        DamagedError, match=f"volume {dependent}, slab 1 .*what it refers to is lost: slab 1 of volume {key}"
    ):
        volcomp.decompress(damaged, times=dependent)
    with pytest.raises(DamagedError, match=f"slab 1 of volume {key}"):
        volcomp.decompress(damaged)
    for t in (key, dependent):  # the other slab is whole
        assert np.array_equal(volcomp.decompress(damaged, slice(0, 20), times=t), array[t, :20])


def test_damage_of_what_refers_stays_there(series: tuple[np.ndarray, bytes]) -> None:
    array, data = series
    dependent = next(t for t, key in enumerate(keys_of(data)) if key is not None)
    damaged = hurt(data, SectionId(SLAB, dependent, 0))
    with pytest.raises(DamagedError, match=f"slab 0 of volume {dependent} is damaged"):
        volcomp.decompress(damaged, times=dependent)
    for t in {*range(5)} - {dependent}:
        assert np.array_equal(volcomp.decompress(damaged, times=t), array[t])


def rewritten(data: bytes, change: Any) -> bytes:
    """Write all sections anew, with sound checksums; `change` may alter the payload of a header, or drop it as None."""
    reader, file = Reader(io.BytesIO(data)), io.BytesIO()
    writer = Writer(file, SERIES_VERSION)
    for section in reader.places:
        payload = reader.read(section)
        if section.tag == VOLUME_HEADER:
            payload = change(section.major, payload)
        if payload is not None:
            writer.add(section, payload)
    writer.finish()
    return file.getvalue()


def test_headers_that_no_encoder_writes_are_damage() -> None:
    array = textured((3, 6, 16, 15))
    data = coded(array)
    found = keys_of(data)
    key = found.index(None)
    first, other = (t for t in range(3) if t != key)

    def refers_to(t: int, number: int) -> Any:
        return lambda major, payload: payload[:1] + bytes([number]) + payload[2:] if major == t else payload

    assert np.array_equal(volcomp.decompress(rewritten(data, lambda major, payload: payload)), array)
    with pytest.raises(DamagedError, match="which refers to another one itself"):
        volcomp.decompress(rewritten(data, refers_to(first, other)))
    with pytest.raises(DamagedError, match="which refers to another one itself"):
        volcomp.decompress(rewritten(data, refers_to(first, first)))
    with pytest.raises(DamagedError, match="header of volume 9 is missing"):
        volcomp.decompress(rewritten(data, refers_to(first, 9)))
    with pytest.raises(DamagedError, match="refers to another time point, and its volume to none"):
        forget = rewritten(data, lambda major, payload: b"\4" + payload[2:] if major == first else payload)
        volcomp.decompress(forget)
    with pytest.raises(UnsupportedError, match="unknown flags"):
        volcomp.decompress(rewritten(data, lambda major, payload: bytes([payload[0] | 32]) + payload[1:]))
    with pytest.raises(DamagedError, match="two-dimensional"):
        volcomp.decompress(rewritten(data, lambda major, payload: bytes([payload[0] | 1]) + payload[1:]))


def test_volumes_that_are_not_one_array_are_damage() -> None:
    """Two shapes, and a volume that is no time point."""
    file = io.BytesIO()
    writer = Writer(file, SERIES_VERSION)
    array = textured((2, 4, 8, 7))
    for number, voxels in enumerate((array[0], array[1, :2])):
        for _ in write_volume(writer, number, ArraySource(voxels), EncodeOptions("fast"), time_point=True)[1]:
            pass
    writer.finish()
    with pytest.raises(DamagedError, match="no time point of the same array"):
        volcomp.decompress(file.getvalue())
    data = coded(array)
    plain = rewritten(data, lambda major, payload: bytes([payload[0] & ~4]) + payload[1:] if major else payload)
    with pytest.raises(DamagedError, match="no time point"):
        volcomp.decompress(plain)


def test_any_cut_or_flipped_bit_is_noticed() -> None:
    array = textured((2, 2, 6, 5))
    data = coded(array)
    for at in range(0, len(data), 7):
        with pytest.raises(DamagedError):
            volcomp.decompress(data[:at])
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises((DamagedError, UnsupportedError)):
            volcomp.decompress(bytes(changed))


def test_a_key_of_another_shape_is_damage() -> None:
    """Also where its slabs are at hand."""
    array, file = textured((2, 24, 8, 7)), io.BytesIO()
    writer = Writer(file, SERIES_VERSION)
    options = EncodeOptions("fast", verify=False)
    for number, source, key in ((0, array[0, :5], None), (1, array[1], (0, ArraySource(array[0])))):
        for _ in write_volume(writer, number, ArraySource(source), options, key=key, time_point=True)[1]:
            pass
    writer.finish()
    with pytest.raises(DamagedError, match="what it refers to has another shape"):
        volcomp.decompress(file.getvalue())
    with pytest.raises(DamagedError, match="refers to volume 0, which has another shape"):
        volcomp.decompress(file.getvalue(), times=1)


def test_a_key_may_have_another_shape_or_be_missing() -> None:
    """In an archive, volumes of many series stand in one file."""
    array, file = textured((2, 24, 8, 7)), io.BytesIO()
    writer = Writer(file, SERIES_VERSION)
    options = EncodeOptions("fast", verify=False)
    for number, source, key in (
        (0, array[0], None),
        (1, array[1], (0, ArraySource(array[0]))),
        (2, array[0, :5], None),
    ):
        for _ in write_volume(writer, number, ArraySource(source), options, key=key)[1]:
            pass
    writer.finish()
    reader = Reader(io.BytesIO(file.getvalue()))
    volume = read_volume(reader, 1)
    ((_, found),) = decode_volume(reader, volume, [0], ONE)
    assert np.array_equal(found, array[1])
    shared = Keys(reader)
    for _ in range(2):
        ((_, found),) = decode_volume(reader, volume, [0], ONE, key=shared.of(volume))
        assert np.array_equal(found, array[1])
    for number, sentence in ((2, "has another shape"), (7, "is missing")):
        other = volume.__class__(**{**vars(volume), "key": number})
        ((_, error),) = decode_volume(reader, other, [0], ONE)
        assert isinstance(error, DamagedError) and sentence in str(error)
