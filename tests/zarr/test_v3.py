"""Arrays of Zarr format 3: what is written is read, by whatever way, and the metadata name the codec."""

import json

import numpy as np
import pytest

zarr = pytest.importorskip("zarr", minversion="3")

import volcomp  # noqa: E402
from tests.helpers import noise  # noqa: E402
from volcomp import DamagedError, UnsupportedError  # noqa: E402
from volcomp.codec import encode as encoding  # noqa: E402
from volcomp.zarr import VolcompCodec  # noqa: E402

QUICK = VolcompCodec("turbo", effort=1)
IMAGE = noise((10, 40, 36))


def stored(data, chunks, store=None, **options):
    """Write an array, forget it, and open it again."""
    store = zarr.storage.MemoryStore() if store is None else store
    array = zarr.create_array(
        store, shape=data.shape, chunks=chunks, dtype=data.dtype,
        **({"serializer": QUICK, "compressors": None} | options),
    )  # fmt: skip
    array[...] = data
    return zarr.open_array(store, mode="r+")


def payload(array, *place):
    """The bytes of a chunk."""
    key = array.metadata.encode_chunk_key(place)
    return array.store_path.store._store_dict[key].to_bytes()


SHAPES = [((), ()), ((300,), (128,)), ((40, 36), (32, 32)), ((10, 40, 36), (8, 32, 32))]
OF_OME = ((1, 2, 9, 33, 32), (1, 1, 8, 32, 32))


@pytest.mark.parametrize(
    ("dtype", "shape", "chunks"),
    [
        *((dtype, *SHAPES[2]) for dtype in ("u1", "i1", "u2", "<i2", "?", ">u4", "i8", "f2", "<f4", ">f8", "c8")),
        *((dtype, *one) for dtype in (">i2", "f4") for one in (*SHAPES, OF_OME)),
    ],
    ids=str,
)
def test_types_and_shapes_with_edges(dtype, shape, chunks):
    data = (np.resize(IMAGE, shape) % 100).astype(dtype)
    array = stored(data, chunks)
    assert array.shape == shape and array.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(array[...], data)


def test_a_chunk_is_a_file_of_volcomp_and_at_an_edge_it_is_filled_up():
    array = stored(IMAGE, (8, 32, 32), fill_value=-7)
    assert np.array_equal(volcomp.decompress(payload(array, 0, 0, 0)), IMAGE[:8, :32, :32])
    assert payload(array, 0, 0, 0) == volcomp.compress(IMAGE[:8, :32, :32], "turbo", effort=1)
    edge = volcomp.decompress(payload(array, 1, 1, 1))
    assert edge.shape == (8, 32, 32)
    assert np.array_equal(edge[:2, :8, :4], IMAGE[8:, 32:, 32:])
    assert (edge[2:] == -7).all() and (edge[:, 8:] == -7).all()


def test_the_dimensions_of_ome_zarr_make_no_difference_to_a_chunk():
    array = stored(IMAGE[None, None], (1, 1, 10, 40, 36))
    assert payload(array, 0, 0, 0, 0, 0) == volcomp.compress(IMAGE, "turbo", effort=1)


def test_the_order_in_memory_makes_no_difference():
    flat, turned = stored(IMAGE, (8, 32, 32)), stored(np.asfortranarray(IMAGE), (8, 32, 32), config={"order": "F"})
    assert payload(flat, 1, 0, 0) == payload(turned, 1, 0, 0)
    assert np.array_equal(turned[:], IMAGE)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4"])
def test_the_byte_order_in_memory_makes_no_difference(dtype):
    array = stored(IMAGE.astype(dtype), (10, 40, 36))
    assert payload(array, 0, 0, 0) == payload(stored(IMAGE.astype(dtype).astype(dtype[1:]), (10, 40, 36)), 0, 0, 0)
    assert np.array_equal(array[:], IMAGE)


@pytest.mark.parametrize("write", [False, True])
def test_empty_chunks(write):
    data = np.full((8, 32, 64), 5, "i2")
    data[:, :, 32:] = IMAGE[:8, :32, :32]
    array = stored(data, (8, 32, 32), fill_value=5, config={"write_empty_chunks": write})
    assert (array.metadata.encode_chunk_key((0, 0, 0)) in array.store_path.store._store_dict) == write
    assert np.array_equal(array[:], data)
    array[:] = 5
    assert (array[:] == 5).all()


def test_an_empty_array():
    array = stored(np.zeros((0, 40, 36), "i2"), (8, 32, 32))
    assert array[:].shape == (0, 40, 36)


def test_parts_are_written_and_read():
    array, data = stored(IMAGE, (8, 32, 32)), IMAGE.copy()
    for there in ((slice(3, 9), slice(30, 35), 7), (slice(None, None, 3), 0, slice(5, 36, 4)), (9, 39, 35)):
        array[there] = data[there] = 77
        assert np.array_equal(array[there], data[there])
    array.oindex[[1, 9], :, [2, 35]] = 8
    data[np.ix_([1, 9], range(40), [2, 35])] = 8
    assert np.array_equal(array.oindex[[9, 0], 3:34, [35]], data[np.ix_([9, 0], range(3, 34), [35])])
    assert np.array_equal(array.vindex[[0, 9, 5], [39, 1, 33], [35, 0, 2]], data[[0, 9, 5], [39, 1, 33], [35, 0, 2]])
    assert np.array_equal(array[data > 2000], data[data > 2000])
    assert np.array_equal(array[:], data)
    array.append(IMAGE[:3])
    assert np.array_equal(array[8:], np.concatenate([data[8:], IMAGE[:3]]))


@pytest.mark.parametrize("dtype", ["i2", ">f4"])
def test_sharding(dtype):
    data = IMAGE.astype(dtype)
    array = stored(data, (4, 16, 16), shards=(8, 32, 48))
    codecs = json.loads(array.store_path.store._store_dict["zarr.json"].to_bytes())["codecs"]
    assert [codec["name"] for codec in codecs] == ["sharding_indexed"]
    assert codecs[0]["configuration"]["codecs"] == [QUICK.to_dict()]
    assert np.array_equal(array[:], data)
    assert np.array_equal(array[3:6, 17, ::5], data[3:6, 17, ::5])
    array[2, 3:20, 4] = 9
    assert (array[2, 3:20, 4] == 9).all() and np.array_equal(array[3:], data[3:])


def test_a_transposition_before_it():
    array = stored(IMAGE, (8, 32, 32), filters=[zarr.codecs.TransposeCodec(order=(2, 0, 1))])
    assert np.array_equal(array[:], IMAGE) and np.array_equal(array[3:5, 1], IMAGE[3:5, 1])
    assert volcomp.inspect(payload(array, 0, 0, 0)).volumes[0].shape == (32, 8, 32)


def test_zarr_compresses_again_unless_it_is_told_not_to():
    """What `compressors=None` is for: the default of Zarr stands behind any serializer."""
    store = zarr.storage.MemoryStore()
    twice = zarr.create_array(store, shape=IMAGE.shape, chunks=IMAGE.shape, dtype=IMAGE.dtype, serializer=QUICK)
    twice[:] = IMAGE
    assert [type(codec).__name__ for codec in twice.metadata.codecs] == ["VolcompCodec", "ZstdCodec"]
    assert np.array_equal(zarr.open_array(store)[2:5], IMAGE[2:5])
    once = stored(IMAGE, IMAGE.shape)
    assert [type(codec).__name__ for codec in once.metadata.codecs] == ["VolcompCodec"]
    assert len(payload(once, 0, 0, 0)) < len(payload(twice, 0, 0, 0))


def test_a_slice_of_an_array_decodes_the_slabs_that_it_needs(low_slabs, monkeypatch):
    from volcomp.codec import decode

    image = noise((40, 16, 16))
    array = stored(image, (40, 16, 16))
    asked = []
    genuine = decode.decode_slabs

    def watched(section, payloads, *rest, **named):
        asked.extend(payloads)
        return genuine(section, payloads, *rest, **named)

    monkeypatch.setattr(decode, "decode_slabs", watched)
    assert np.array_equal(array[30:33, 4:9], image[30:33, 4:9])
    assert asked == [1]


def test_the_codec_keeps_to_one_thread(monkeypatch):
    """Zarr and Dask decode several chunks at a time."""
    asked = set()

    class Watched(encoding.Workers):
        def __init__(self, threads, slabs):
            asked.add(threads)
            super().__init__(threads, slabs)

    from volcomp.codec import decode

    monkeypatch.setattr(encoding, "Workers", Watched)
    monkeypatch.setattr(decode, "Workers", Watched)
    assert np.array_equal(stored(IMAGE, (8, 32, 32))[:], IMAGE)
    assert asked == {1}


@pytest.mark.parametrize("codec", [VolcompCodec(), QUICK, VolcompCodec("base", effort=9, verify=False)], ids=repr)
def test_the_metadata_come_back(codec):
    assert VolcompCodec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec
    array = stored(IMAGE[:1], (1, 40, 36), serializer=VolcompCodec("turbo", 1))
    found = json.loads(array.store_path.store._store_dict["zarr.json"].to_bytes())["codecs"]
    assert found == [{"name": "volcomp", "configuration": {"model": "turbo", "effort": 1, "verify": True}}]


def test_the_codec_may_be_given_as_json():
    array = stored(IMAGE, (8, 32, 32), serializer={"name": "volcomp", "configuration": {"model": "turbo"}})
    assert array.metadata.codecs == (VolcompCodec("turbo"),)
    assert VolcompCodec.from_dict({"name": "volcomp"}) == VolcompCodec()


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "volcomp", "configuration": {"model": "huge"}},
        {"name": "volcomp", "configuration": {"threads": 4}},
        {"name": "volcomp", "effort": 5},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused_when_an_array_is_opened(entry):
    array = stored(IMAGE[:1], (1, 40, 36))
    found = array.store_path.store._store_dict
    metadata = json.loads(found["zarr.json"].to_bytes()) | {"codecs": [entry]}
    found["zarr.json"] = found["zarr.json"].from_bytes(json.dumps(metadata).encode())
    with pytest.raises(UnsupportedError):
        zarr.open_array(array.store_path.store, mode="r")


@pytest.mark.parametrize("entry", [{"name": "volcomp", "configuration": None}, {"name": "other"}, {}], ids=str)
def test_what_is_no_entry_of_this_codec_is_refused(entry):
    with pytest.raises(UnsupportedError):
        VolcompCodec.from_dict(entry)


@pytest.mark.parametrize(
    "options", [{"model": "huge"}, {"effort": 0}, {"verify": None}, {"model": "paper", "effort": 7}]
)
def test_a_codec_that_makes_no_sense_is_refused_when_it_is_made(options):
    with pytest.raises(UnsupportedError):
        VolcompCodec(**options)


@pytest.mark.filterwarnings("ignore")  # that the type is not in the specification
def test_elements_of_variable_size_are_refused_when_the_array_is_made():
    store = zarr.storage.MemoryStore()
    with pytest.raises(UnsupportedError, match="elements of variable size"):
        zarr.create_array(store, shape=(4,), dtype="variable_length_bytes", serializer=QUICK, compressors=None)
    assert not store._store_dict


def test_the_size_of_a_payload_is_not_known_beforehand():
    assert not VolcompCodec.is_fixed_size
    with pytest.raises(NotImplementedError):
        QUICK.compute_encoded_size(1000, None)


def damaged(array, key, change):
    store = array.store_path.store._store_dict
    data = bytearray(store[key].to_bytes())
    change(data)
    store[key] = store[key].from_bytes(bytes(data))


def flip(data):
    data[len(data) // 2] ^= 4


def cut(data):
    del data[-20:]


@pytest.mark.parametrize("change", [flip, cut])
@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_a_damaged_chunk_is_named_and_the_others_are_read(change, dtype):
    array = stored(IMAGE.astype(dtype), (8, 32, 32))
    damaged(array, "c/1/0/1", change)
    with pytest.raises(DamagedError, match="c/1/0/1: "):
        array[:]
    with pytest.raises(DamagedError, match="c/1/0/1: "):
        array[9, 3, 35]
    assert np.array_equal(array[:8], IMAGE[:8])


def test_a_damaged_chunk_of_a_shard_is_named():
    array = stored(IMAGE, (4, 16, 16), shards=(8, 32, 48))
    damaged(array, "c/0/0/0", lambda data: data.__setitem__(slice(40, 60), bytes(20)))
    with pytest.raises(DamagedError, match=r"chunk \(0, 0, 0\) of its shard: "):
        array[:]


def test_a_damaged_chunk_is_never_written_over_in_part():
    array = stored(IMAGE, (8, 32, 32))
    damaged(array, "c/0/0/0", flip)
    with pytest.raises(DamagedError):
        array[0, 0, 0] = 1
    array[:8, :32, :32] = 1
    assert (array[:8, :32, :32] == 1).all()


def test_a_group_of_arrays_and_consolidated_metadata(tmp_path):
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    for k in range(3):
        array = group.create_array(
            f"level/{k}", data=IMAGE[:, :: 2**k, :: 2**k], chunks=(8, 32, 32), serializer=QUICK, compressors=None
        )
    with pytest.warns(zarr.errors.ZarrUserWarning if hasattr(zarr.errors, "ZarrUserWarning") else UserWarning):
        zarr.consolidate_metadata(tmp_path / "x.zarr")
    found = zarr.open_consolidated(tmp_path / "x.zarr")
    for k in range(3):
        assert np.array_equal(found[f"level/{k}"][:], IMAGE[:, :: 2**k, :: 2**k])
    copy = zarr.from_array(tmp_path / "copy.zarr", data=array)
    assert copy.metadata.codecs == array.metadata.codecs and np.array_equal(copy[:], array[:])
