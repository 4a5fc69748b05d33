"""Arrays of Zarr format 2: byte order and memory order are those of the array, and the metadata name the codec."""

import json

import numpy as np
import pytest

zarr = pytest.importorskip("zarr", minversion="3")
numcodecs = pytest.importorskip("numcodecs")

import volcomp  # noqa: E402
from tests.helpers import noise  # noqa: E402
from volcomp import DamagedError, UnsupportedError  # noqa: E402
from volcomp.zarr import Volcomp, chunks, wrapped  # noqa: E402

QUICK = Volcomp("turbo", effort=1)
IMAGE = noise((10, 40, 36))


def stored(data, chunks, **options):
    """Write an array, forget it, and open it again."""
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, shape=data.shape, chunks=chunks, dtype=data.dtype, zarr_format=2, **({"compressors": QUICK} | options)
    )
    array[...] = data
    return zarr.open_array(store, mode="r+")


def payload(array, key):
    """The bytes of a chunk."""
    return array.store_path.store._store_dict[key].to_bytes()


RECORD = np.dtype([("a", ">i2"), ("b", "<f4")])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "dtype",
    ["u1", "i1", "<u2", "<i2", ">i2", "?", "<u4", ">u4", ">i8", ">f2", "<f4", ">f8", ">c8", ">c16", ">M8[s]", RECORD],
    ids=str,
)
def test_types_and_orders(dtype, order):
    data = np.resize(IMAGE, (40, 36)) % 100
    data = data.astype("i8").astype(dtype) if dtype is not RECORD else np.resize(data.view("V6"), (40, 36)).view(RECORD)
    array = stored(data, (32, 32), order=order)
    found = array[...]
    assert array.dtype == found.dtype == data.dtype
    assert found.tobytes() == data.tobytes()
    assert np.array_equal(array[33:, 2:5], data[33:, 2:5])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4"])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((), ()), ((300,), (128,)), ((10, 40, 36), (8, 32, 32)), ((1, 2, 9, 33, 32), (1, 1, 8, 32, 32))],
    ids=str,
)
def test_shapes_with_edges(dtype, order, shape, chunks):
    data = np.resize(IMAGE, shape).astype(dtype)
    array = stored(data, chunks, order=order)
    assert array.dtype == data.dtype
    assert np.array_equal(array[...], data)


def test_a_chunk_is_a_file_of_volcomp():
    assert payload(stored(IMAGE, IMAGE.shape), "0.0.0") == volcomp.compress(IMAGE, "turbo", effort=1)


def test_of_fortran_order_the_axes_are_reversed():
    array = stored(IMAGE, IMAGE.shape, order="F")
    assert payload(array, "0.0.0") == volcomp.compress(IMAGE.T, "turbo", effort=1)
    assert np.array_equal(array[:], IMAGE)


def test_big_endian_chunks_are_marked():
    little, big = (payload(stored(IMAGE.astype(dtype), IMAGE.shape), "0.0.0") for dtype in ("<i2", ">i2"))
    assert big == wrapped.SIGNATURE + bytes([wrapped.SWAPPED]) + little
    assert np.array_equal(chunks.decode_memory(little).view("<i2"), chunks.decode_memory(big).view(">i2"))


def test_both_formats_have_the_same_chunks():
    from volcomp.zarr import VolcompCodec

    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, data=IMAGE, chunks=(8, 32, 32), serializer=VolcompCodec("turbo", 1), compressors=None, fill_value=0
    )
    assert array.shape == IMAGE.shape
    assert store._store_dict["c/1/0/1"].to_bytes() == payload(stored(IMAGE, (8, 32, 32), fill_value=0), "1.0.1")


def test_the_metadata_come_back():
    array = stored(IMAGE, (8, 32, 32), compressors=Volcomp("turbo", effort=1, verify=False))
    found = json.loads(payload(array, ".zarray"))["compressor"]
    assert found == {"id": "volcomp", "model": "turbo", "effort": 1, "verify": False}
    assert numcodecs.get_codec(found) == Volcomp("turbo", effort=1, verify=False) != QUICK
    assert repr(QUICK) == "Volcomp(model='turbo', effort=1, verify=True)"
    assert numcodecs.get_codec({"id": "volcomp"}) == Volcomp()


@pytest.mark.parametrize("entry", [{"model": "huge"}, {"effort": 11}, {"level": 3}, {"dtype": "u2"}], ids=str)
def test_what_is_not_known_is_refused(entry):
    with pytest.raises(UnsupportedError):
        numcodecs.get_codec({"id": "volcomp", **entry})
    array = stored(IMAGE, IMAGE.shape)
    found = array.store_path.store._store_dict
    metadata = json.loads(payload(array, ".zarray"))
    metadata["compressor"] = {"id": "volcomp", **entry}
    found[".zarray"] = found[".zarray"].from_bytes(json.dumps(metadata).encode())
    with pytest.raises(UnsupportedError):
        zarr.open_array(array.store_path.store, mode="r")


def test_behind_a_filter_it_codes_bytes():
    data = (IMAGE % 100).astype("i4")
    array = stored(data, (8, 32, 32), filters=[numcodecs.Delta("i4")])
    assert np.array_equal(array[:], data)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 40, bytearray(b"abc"), memoryview(b"abcd")])
def test_it_is_a_codec_of_bytes_as_well(data):
    assert QUICK.decode(QUICK.encode(data)).tobytes() == bytes(data)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_decodes_into_what_it_is_given(dtype, order):
    data = np.asarray(IMAGE[0].astype(dtype), order=order)
    out = np.empty_like(data)
    QUICK.decode(QUICK.encode(data), out=out)
    assert np.array_equal(out, data)


def test_objects_are_refused():
    with pytest.raises(UnsupportedError, match="array of objects"):
        QUICK.encode(np.array(["a", None], object))


def test_damage_is_an_error_and_the_other_chunks_are_read():
    array = stored(IMAGE.astype(">i2"), (8, 32, 32))
    found = array.store_path.store._store_dict
    data = bytearray(payload(array, "1.0.1"))
    data[len(data) // 2] ^= 4
    found["1.0.1"] = found["1.0.1"].from_bytes(bytes(data))
    with pytest.raises(DamagedError):
        array[:]
    assert np.array_equal(array[:8], IMAGE[:8])


@pytest.mark.parametrize("write", [False, True])
def test_empty_chunks(write):
    data = np.full((8, 32, 64), 5, ">i2")
    data[:, :, 32:] = IMAGE[:8, :32, :32]
    array = stored(data, (8, 32, 32), fill_value=5, config={"write_empty_chunks": write})
    assert ("0.0.0" in array.store_path.store._store_dict) == write
    assert np.array_equal(array[:], data)
