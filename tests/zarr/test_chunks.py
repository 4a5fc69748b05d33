"""A chunk of any type and shape comes back bit for bit, and a volume's is what `volcomp.compress` makes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import volcomp
from tests.helpers import noise
from volcomp import DamagedError, UnsupportedError, VolcompError
from volcomp.codec import decode as decoding
from volcomp.zarr import chunks, wrapped
from volcomp.zarr.settings import Settings, from_json

QUICK = Settings("turbo", effort=1, verify=False)
NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]
TYPES = [
    "?", *("<" + one for one in NUMBERS), *(">" + one for one in NUMBERS), "<M8[s]", ">m8[D]", "S3", "<U2", ">U2", "V5",
    np.dtype([("a", ">i2"), ("b", "<f4"), ("c", "?")]),
]  # fmt: skip
SHAPES = [
    (),
    (1,),
    (7,),
    (5000,),
    (4097, 1, 1),
    (40, 50),
    (1, 1, 6, 40, 30),
    (2, 1, 3, 20, 33),
    (3, 2, 2, 2),
    (0,),
    (4, 0),
]


def filled(shape, dtype, seed=0):
    """Random bits of a type: every number is a NaN, an infinity or a subnormal at times."""
    dtype = np.dtype(dtype)
    bits = np.random.default_rng(seed).integers(0, 256, (math.prod(shape), dtype.itemsize), np.uint8)
    if dtype.kind == "b":
        bits &= 1
    if dtype.kind == "U":
        bits.view(dtype.newbyteorder("<").str[:2] + "1").view("<u4")[...] %= 0x2000
        return bits.reshape(-1).view(dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    if dtype.names:  # and a truth value is 0 or 1
        bits[:, -1] &= 1
    return bits.reshape(-1).view(dtype).reshape(shape)


def back(array, options=QUICK):
    return chunks.decode(chunks.encode(array, options), array.shape, array.dtype)


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_comes_back(dtype):
    for shape in ((1, 2, 20, 33), (), (0, 3)):
        array = filled(shape, dtype)
        assert same(back(array), array)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_comes_back(shape):
    for dtype in ("i2", ">f4"):
        array = filled(shape, dtype)
        assert same(back(array), array)


@settings(max_examples=25)
@given(
    hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=5),
    st.sampled_from(["u1", "<i2", ">u2", ">f4", "<i8", "?"]),
    st.integers(0, 99),
)
def test_any_small_chunk_comes_back(shape, dtype, seed):
    array = filled(shape, dtype, seed)
    assert same(back(array), array)


@pytest.mark.parametrize("dtype", ["i2", ">u2", "f4"])
def test_order_and_strides_do_not_count(dtype):
    array = filled((6, 20, 33), dtype).transpose(2, 0, 1)[::-1, :, ::3]
    assert chunks.encode(array, QUICK) == chunks.encode(np.ascontiguousarray(array), QUICK)
    assert same(back(array), np.ascontiguousarray(array))


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        ((64, 256, 256), (64, 256, 256)),
        ((1, 1, 64, 256, 256), (64, 256, 256)),
        ((2, 3, 8, 64, 64), (48, 64, 64)),
        ((64, 1, 256, 256, 1), (64, 256, 256)),
        ((256, 128), (256, 128)),
        ((1, 256, 128), (256, 128)),
        ((9, 9, 9), (9, 9, 9)),  # too small to matter
        ((10_000,), (100, 100)),
        ((1_000_000, 3), (1600, 1875)),
        ((), (1, 1)),
        ((1, 1, 1), (1, 1)),
        ((4093,), (1, 4093)),  # a prime number
        ((104_729,), None),  # a prime number, whose single row would take seconds
        ((1 << 28,), None),  # a slice that no file may have
        ((5, 0, 3), None),
    ],
)
def test_the_volume_of_a_chunk(shape, volume):
    assert chunks.volume_shape(shape) == volume


@settings(max_examples=200)
@given(hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=1 << 12))
def test_a_volume_has_the_elements_of_its_chunk_and_is_one_that_a_file_may_have(shape):
    volume = chunks.volume_shape(shape)
    if volume is not None:
        assert math.prod(volume) == math.prod(shape)
        assert len(volume) in (2, 3) and volume[-1] * volume[-2] <= 1 << 27
        assert len(volume) == 2 or volume[0] <= 1 << 20


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">i2"])
@pytest.mark.parametrize("shape", [(8, 32, 24), (1, 1, 8, 32, 24), (2, 4, 32, 24)], ids=str)
def test_the_payload_is_what_compress_makes(dtype, shape):
    array = noise((8, 32, 24), np.dtype(dtype).newbyteorder("<").str[1:], 0, 100).astype(dtype)
    payload = chunks.encode(array.reshape(shape), Settings("fast", effort=5))
    assert payload == volcomp.compress(array, "fast", effort=5)
    assert np.array_equal(volcomp.decompress(payload), array)


def test_a_plane_is_a_plane():
    array = noise((40, 50))
    assert chunks.encode(array[None, None], QUICK) == volcomp.compress(array, "turbo", effort=1)


def test_truth_values_and_half_floats_are_the_integers_of_their_bits():
    mask = np.add.outer(np.arange(32), np.arange(32)) % 7 > 3
    assert np.array_equal(volcomp.decompress(chunks.encode(mask, QUICK)), mask.view("u1"))
    halves = noise((32, 32)).astype("f2")
    assert np.array_equal(volcomp.decompress(chunks.encode(halves, QUICK)), halves.view("<u2"))


def kind_of(payload):
    return payload[len(wrapped.SIGNATURE)] if payload.startswith(wrapped.SIGNATURE) else None


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i4", ">i8", "<u4", "<M8[s]"])
def test_scaled_images_are_coded_by_a_table(dtype):
    image = noise((8, 64, 64))
    array = (image * np.float32(0.37)).astype(dtype) if "f" in dtype else (image.astype("i8") * 977).astype(dtype)
    payload = chunks.encode(array, QUICK)
    assert kind_of(payload) == wrapped.TABLE
    assert len(payload) < 1.2 * len(volcomp.compress(image, "turbo", effort=1)) + 8 * len(np.unique(array))
    assert same(chunks.decode(payload, array.shape, array.dtype), array)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("<f4", [-np.inf, -3.5, -1e-40, -0.0, 0.0, 1e-40, 2.0, np.inf]),
        ("<i4", [-(1 << 31), -5, 0, 7, (1 << 31) - 1]),
        ("<u8", [0, 7, 1 << 63, (1 << 64) - 1]),
    ],
)
def test_ranks_ascend_with_the_numbers(dtype, values):
    seen = []
    payload = wrapped.table(np.array(values, dtype)[::-1], lambda ranks: seen.append(ranks) or b"")
    assert payload is not None and kind_of(payload) == wrapped.TABLE
    assert seen[0].tolist() == list(range(len(values)))[::-1]


def test_every_nan_and_the_sign_of_zero_come_back():
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FC12345, 0x80000000, 0, 0x7F800000], "<u4")
    for array in (np.tile(bits, (32, 4)).view("<f4"), np.tile(bits, (32, 4)).view("<f4").astype(">f4")):
        bits = array.view(array.dtype.str.replace("f", "u"))
        assert np.array_equal(back(array).view(bits.dtype), bits)


def test_more_values_than_a_table_holds_are_coded_by_planes():
    array = np.arange(70_000, dtype="<i4").reshape(100, 700)
    payload = chunks.encode(array, QUICK)
    assert kind_of(payload) == wrapped.PLANES
    assert len(payload) < array.nbytes / 10
    rare = np.concatenate([np.zeros(1 << 18, "<i4"), array.ravel()])[: 512 * 640].reshape(512, 640)  # not in the sample
    assert same(back(rare), rare)


def test_two_machines_write_the_same():
    """No hash order, no thread and no clock has a part in what is written."""
    array = noise((8, 64, 64)).astype("f4")
    assert chunks.encode(array, QUICK) == chunks.encode(array.copy(), QUICK)


SELECTIONS = [
    (slice(None),) * 3, (5, slice(None), slice(None)), (slice(20, 41), 3, slice(2, 9)), (slice(39, None), 0, 0),
    (slice(0, 40, 7), slice(None), 1), (slice(5, 5), slice(None), slice(None)), (39, 15, 15), (0, 0, 0),
    np.ix_([1, 30], [0, 7], [2]), (np.array([22, 25]), np.array([3, 4]), np.array([5, 6])),
    (slice(None, None, -1), slice(None), slice(None)),
]  # fmt: skip


@pytest.fixture(scope="module")
def volumes(low_slabs):
    """Arrays of two slabs and of four, and their payloads."""
    found = {}
    for lead in ((), (1,), (2,)):
        array = np.concatenate([noise((40, 16, 16), seed=k) for k in range(math.prod(lead))])
        found[lead] = array.reshape(*lead, 40, 16, 16), chunks.encode(array, QUICK)
    return found


@pytest.mark.parametrize("lead", [(), (1,), (2,)], ids=str)
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_a_part_is_what_is_asked_for(volumes, lead, selection):
    array, payload = volumes[lead]
    selection = (*(slice(0, 1) if isinstance(selection[0], slice) else 0 for _ in lead), *selection)
    if any(isinstance(one, np.ndarray) for one in selection):
        selection = tuple(np.zeros(1, int) if isinstance(one, int) else one for one in selection)
    needed = chunks.span(selection, array.shape)
    assert needed is not None
    found = chunks.decode(payload, array.shape, array.dtype, needed)[selection]
    assert np.array_equal(found, array[selection])


@pytest.mark.parametrize(
    ("selection", "slabs"),
    [((slice(0, 5), slice(None), slice(None)), [0]), ((30, 2, 2), [1]), ((slice(19, 21), 0, 0), [0, 1])],
)
def test_no_more_slabs_are_decoded_than_a_part_needs(low_slabs, monkeypatch, selection, slabs):
    array = noise((40, 16, 16))
    payload = chunks.encode(array, QUICK)
    asked = []
    genuine = decoding.decode_slabs

    def watched(section, payloads, *rest, **named):
        asked.extend(payloads)
        return genuine(section, payloads, *rest, **named)

    monkeypatch.setattr(decoding, "decode_slabs", watched)
    chunks.decode(payload, array.shape, array.dtype, chunks.span(selection, array.shape))
    assert asked == slabs


@pytest.mark.parametrize(
    "selection", [(), (..., 1), (np.array([True, False]), 0), (None, 0), (7, 0), (np.array([], int), 0)]
)
def test_of_what_else_is_asked_for_all_is_decoded(selection):
    assert chunks.span(selection, (2, 3)) is None


IMAGE = noise((8, 32, 32))
PAYLOADS = {
    "volume": (IMAGE, chunks.encode(IMAGE, QUICK)),
    "table": ((IMAGE * 0.5).astype("<f4"), chunks.encode((IMAGE * 0.5).astype("<f4"), QUICK)),
    "planes": (filled((20, 20), "f8"), chunks.encode(filled((20, 20), "f8"), QUICK)),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_damage_is_an_error_or_does_not_count(name):
    """Of each payload some hundred bytes are changed, and it is cut at as many places."""
    array, payload = PAYLOADS[name]
    assert same(chunks.decode(payload, array.shape, array.dtype), array)
    random = np.random.default_rng(0)
    places = {*range(30), *random.integers(0, len(payload), 120).tolist()} & set(range(len(payload)))
    refused = 0
    for at in places:
        flipped = payload[:at] + bytes([payload[at] ^ (1 << int(random.integers(8)))]) + payload[at + 1 :]
        for damaged in (flipped, payload[:at], payload[:at] + payload[at + 1 :]):
            try:
                assert same(chunks.decode(damaged, array.shape, array.dtype), array)
            except VolcompError:
                refused += 1
            with pytest.raises(VolcompError) if damaged is not flipped else _either():
                chunks.decode_memory(damaged)
    assert refused > 2.9 * len(places)


class _either:
    """A context in which a typed error may be raised or not."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, VolcompError)


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 32, 31), "i2"), ((8, 32, 32), "u1"), ((8, 32, 32), "u8"), ((), "i2")]
)
def test_a_chunk_of_another_array_is_refused(name, shape, dtype):
    with pytest.raises(DamagedError, match="the array has"):
        chunks.decode(PAYLOADS[name][1], shape, np.dtype(dtype))


def test_signedness_is_compared():
    with pytest.raises(DamagedError, match="type i2, where one of the array has 8192 of u2"):
        chunks.decode(PAYLOADS["volume"][1], IMAGE.shape, np.dtype("u2"))


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\x89VCC\r\n\x1a\n", b"\x89VCC\r\n\x1a\n\0", b"\x89VCC\r\n\x1a\n\0\0\0"]
)
def test_no_chunk_at_all_is_refused(payload):
    with pytest.raises(DamagedError):
        chunks.decode(payload, (2, 2), np.dtype("i4"))
    with pytest.raises(DamagedError):
        chunks.decode_memory(payload)


def test_a_kind_of_a_later_version_is_named():
    with pytest.raises(UnsupportedError, match="unknown kind 77; upgrade volcomp"):
        chunks.decode(wrapped.SIGNATURE + bytes([77, 1, 1]), (2, 2), np.dtype("i4"))


def test_a_file_of_no_volume_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("no image")
    volcomp.compress_files(tmp_path / "note.txt", tmp_path / "x.vcz")
    with pytest.raises(DamagedError, match="holds 0 volumes"):
        chunks.decode((tmp_path / "x.vcz").read_bytes(), (2, 2), np.dtype("u1"))


def test_a_frame_that_states_more_than_it_can_stand_for_takes_no_memory():
    huge = b"\x28\xb5\x2f\xfd\xe0" + (1 << 50).to_bytes(8, "little") + b"\1\0\0"  # a header of zstd, and an empty block
    with pytest.raises(DamagedError, match="states 1125899906842624 bytes"):
        chunks.decode_memory(wrapped.SIGNATURE + bytes([wrapped.PLANES, 1]) + huge)


def test_a_rank_beyond_the_table_is_damage():
    numbers = np.tile(np.arange(4, dtype="<i4"), 1024)
    bad = wrapped.table(numbers, lambda ranks: volcomp.compress((ranks + 1).reshape(64, 64), "turbo", effort=1))
    assert bad is not None
    with pytest.raises(DamagedError, match="a table of 4 values, and asks for number 4"):
        chunks.decode(bad, (64, 64), np.dtype("<i4"))


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        ({"model": "huge"}, "'huge' is not known"),
        ({"model": 3}, "the codec's model is 3"),
        ({"effort": 0}, "effort is 0"),
        ({"effort": 10}, "effort is 10"),
        ({"effort": 5.0}, r"effort is 5\.0"),
        ({"effort": True}, "effort is True"),
        ({"effort": "5"}, "effort is '5'"),
        ({"model": "paper", "effort": 6}, "paper cannot be fine-tuned"),
        ({"verify": 1}, "verify is 1"),
        ({"level": 5, "model": "base"}, "configured with level; known are model, effort, verify"),
        ("base", "must be an object"),
        (None, "must be an object"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(configuration, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        from_json(configuration)


@pytest.mark.parametrize("configuration", [{}, {"model": "base"}, {"effort": 9, "verify": False}])
def test_a_configuration_comes_back(configuration):
    found = from_json(configuration)
    assert from_json(found.to_json()) == found
    assert {name: found.to_json()[name] for name in configuration} == configuration
