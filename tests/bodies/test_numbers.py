"""Numbers of every type come back bit by bit, whatever their bits mean, into whatever slabs the voxels were cut."""

import hashlib
import io
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcomp import DamagedError
from volcomp.bodies import number_choice
from volcomp.bodies.byte_streams import Packer, Unpacker
from volcomp.bodies.keys import TYPES, from_keys, key_type, to_keys
from volcomp.bodies.number_choice import reading_for
from volcomp.bodies.number_codes import LEVELS, Split, Table, Tables, decoded
from volcomp.bodies.numbers import Numbers, NumbersReading, Place, Words
from volcomp.bodies.protocol import Kept
from volcomp.wire.cursor import Cursor

GOLDEN = Path(__file__).parent / "golden"
WIDE = [t for t in TYPES if t.itemsize > 1]
ODD = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -5e-324, 1.5, 65504.0, 1e300]


def odd_bits(kind, seed=0):
    """Zeros of both signs, infinities, subnormal numbers, and NaN with every kind of payload."""
    with np.errstate(all="ignore"):
        words = np.array(ODD).astype(kind).view(key_type(kind))
    top = 1 << (8 * kind.itemsize - 1)
    infinity = int(np.array(math.inf, kind).view(key_type(kind)))
    payloads = [infinity + 1, infinity | (infinity >> 1), top | infinity | 5, 2 * top - 1, top - 1]
    return np.concatenate([words, np.array(payloads, key_type(kind))]).view(kind)


def coded(reading, data, cuts=()):
    """Read a file, and write it again from planes that are cut elsewhere."""
    blocks = list(reading.read(io.BytesIO(data)))
    assert all(len(block) == reading.planes for block in blocks)
    assert all(8 * plane.dtype.itemsize == reading.bits for block in blocks for plane in block)
    whole = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    frames = len(whole[0])
    edges = [0, *(edge for edge in np.cumsum(cuts).tolist() if edge < frames), frames]
    again = ([plane[a:b] for plane in whole] for a, b in pairwise(edges))
    return b"".join(Numbers().write(reading.kept, again))


def codes_for(kind, samples):
    """Codes of each kind that can have these numbers, by Words.to_keys."""
    keys = to_keys(samples)
    distinct = np.unique(keys)
    yield number_choice._table(kind, distinct)
    yield Table(kind, distinct, np.arange(len(distinct)).astype("<u2") * 3 + 1, None, 17)
    stretches = np.zeros(LEVELS, np.bool_)
    if kind.kind == "f":
        stretches[distinct >> key_type(kind).type(number_choice.MANTISSA[kind.itemsize])] = True
    found = number_choice._Found(distinct, int(distinct[0]), int(distinct[-1]), stretches)
    yield number_choice._split(kind, found, keys)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_keys_have_the_order_of_the_numbers(kind):
    random = np.random.default_rng(0)
    words = np.frombuffer(random.bytes(4000 * kind.itemsize), key_type(kind)).view(kind)
    if kind.kind == "f":
        words = np.concatenate([words, odd_bits(kind)])
    keys = to_keys(words)
    assert from_keys(keys, kind).tobytes() == words.tobytes()
    regular = words[np.isfinite(words)] if kind.kind == "f" else words
    in_order = regular[np.argsort(to_keys(regular), kind="stable")]
    assert (in_order[1:] >= in_order[:-1]).all()
    if kind.kind == "f":
        assert to_keys(np.array([-0.0, 0.0], kind))[0] + 1 == to_keys(np.array([0.0], kind))[0]


@settings(deadline=None)
@given(
    st.sampled_from(WIDE), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(1, 5), st.integers(1, 4),
    st.integers(1, 5), st.integers(0, 2), st.lists(st.integers(1, 4), min_size=8, max_size=8), st.integers(0, 9),
)  # fmt: skip
def test_files_come_back(kind, components, slices, big_endian, frames, rows, columns, source, cuts, seed):
    """Of random bits, of odd ones, and of few values."""
    random = np.random.default_rng(seed)
    count = frames * rows * columns * components
    if source == 0:
        numbers = np.frombuffer(random.bytes(count * kind.itemsize), kind)
    elif source == 1 and kind.kind == "f":
        numbers = random.choice(odd_bits(kind), count)
    else:
        numbers = (random.integers(0, 40, count) * 3).astype(kind)
    slices |= components > 4
    words = Words(kind, components, big_endian, slices)
    data = b"head" + numbers.astype(words.stored).tobytes() + b"tail"
    keys = words.to_keys(data[4:-4], rows, columns)
    for code in codes_for(kind, numbers):
        again = decoded(Cursor(code.encoded(), "a code"), kind)
        parts = code.forward(keys)
        assert (again.inverse(parts.levels, parts.low) == keys).all()
        for low_planes in {False, code.shift > 0 and not components > 1}:
            stored = () if low_planes else tuple(bool(i % 2) for i in range(-(-code.shift // 8)))
            reading = NumbersReading(words, code, Place(4, rows, columns, frames), low_planes=low_planes, stored=stored)
            if reading.planes <= 8:
                assert coded(reading, data, cuts) == data


def smooth(shape=(12, 40, 36), seed=0):
    """A round thing with noise on it."""
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    radius = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    return 1000 * np.exp(-2 * radius) + np.random.default_rng(seed).normal(0, 4, shape)


def chosen(numbers, big_endian=False, components=1):
    """Return the reading that is chosen for numbers [z, y, x] or [z, y, x, c], and the file that they make."""
    words = Words(numbers.dtype.newbyteorder("<"), components, big_endian)
    data = b"head" + numbers.astype(words.stored).tobytes() + b"tail"
    frames, rows, columns = numbers.shape[:3]
    return reading_for(io.BytesIO(data), words, Place(4, rows, columns, frames)), data


@pytest.mark.parametrize("kind", [t for t in TYPES if t.itemsize > 2], ids=str)
def test_integers_in_wide_words_are_one_plane_of_the_same_words(kind):
    """Scaled or not: the levels are as far apart as the numbers."""
    integers = np.maximum(smooth().astype("i4"), 0)
    for scaled in (integers, integers * 7 + 3) if kind.kind in "iu" else (integers, integers * 0.37 - 11.5):
        reading, data = chosen(scaled.astype(kind))
        blocks = list(reading.read(io.BytesIO(data)))
        assert reading.planes == 1 and reading.bits == 16
        assert (blocks[0][0] == integers - integers.min()).all()
        assert len(reading_side(reading, data)) < 2000 + 3 * kind.itemsize * len(np.unique(integers))
        assert coded(reading, data) == data


def test_a_table_of_scaled_integers_hardly_misses():
    values = (np.arange(5000) * np.float32(0.0123) + np.float32(-7)).astype("<f4")
    table = number_choice._table(np.dtype("<f4"), to_keys(values))
    assert table.line and table.levels == 5000
    missed = np.frombuffer(table.encoded()[-4 * 5000 :], np.uint8).reshape(4, -1)
    assert (
        np.count_nonzero(missed[1:]) < 250 and np.median(missed[0]) < 3
    )  # near zero, where the steps are rounded ones


def reading_side(reading, data):
    """Return what is kept at the side of a file."""
    for _ in reading.read(io.BytesIO(data)):
        pass
    return reading.kept.side


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i4", "<u8"])
def test_noise_below_a_picture_stays_beside_it(kind):
    picture = np.abs(smooth((20, 64, 60)))
    numbers = (picture if kind[1] == "f" else picture * 3e5).astype(kind)
    reading, data = chosen(numbers)
    assert reading.planes == 1 and reading.bits == 16 and 0 < len(reading_side(reading, data)) < len(data)
    assert coded(reading, data, [3, 5, 1]) == data


def scaled_slices(shape=(8, 40, 36)):
    """Integers that every slice scales in another way, as those of PET."""
    integers = np.maximum(smooth(shape), 0).astype("i4")
    integers[:, 0, :2] = 0, 1
    scales = np.random.default_rng(1).uniform(0.1, 2, (len(integers), 1, 1))
    return integers, integers * scales


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_slices_that_are_scaled_in_their_own_way_have_tables(kind):
    integers, numbers = scaled_slices((30, 60, 56))
    reading, data = chosen(numbers.astype(kind), big_endian=kind == "<f8")
    blocks = list(reading.read(io.BytesIO(data)))
    assert reading.planes == 1 and (blocks[0][0] == integers).all()
    assert coded(reading, data, [7, 1, 9, 4]) == data


def test_more_slices_than_tables():
    _, numbers = scaled_slices()
    kind = np.dtype("<f4")
    keys = to_keys(numbers.astype(kind))
    code = Tables(tuple(number_choice._table(kind, np.unique(one)) for one in keys))
    reading = NumbersReading(Words(kind), code, Place(0, 40, 36, 8))
    blocks = list(reading.read(io.BytesIO(numbers.astype(kind).tobytes())))
    with pytest.raises(DamagedError, match="more slices than tables"):
        list(Numbers().write(reading.kept, iter([blocks[0], blocks[0]])))
    with pytest.raises(DamagedError):
        decoded(Cursor(b"\2\0", "x"), kind)
    with pytest.raises(DamagedError):
        decoded(Cursor(b"\2\1" + Split(kind, 0, 0, (), 9, 0).encoded(), "x"), kind)


def test_frequent_numbers_have_levels_of_their_own():
    """Background that lies among noise costs no lower bits."""
    numbers = smooth((20, 64, 60)).astype("<f4")
    numbers[np.random.default_rng(1).random(numbers.shape) < 0.05] = 0
    numbers[:, :, 30:] = 0
    numbers[:, :5] = np.nan
    reading, data = chosen(numbers)
    assert coded(reading, data) == data
    noise = np.count_nonzero((numbers != 0) & ~np.isnan(numbers))
    assert len(reading_side(reading, data)) < 2.05 * noise


def test_what_a_general_codec_makes_smaller():
    random = np.random.default_rng(0)
    assert chosen(np.frombuffer(random.bytes(4 * 6400), "<u4").reshape(4, 40, 40))[0] is None
    repeated = np.tile(np.frombuffer(random.bytes(4 * 640), "<i4").reshape(1, 16, 40), (40, 1, 1))
    assert chosen(repeated)[0] is None


def test_gaps_between_numbers():
    """As the directories of a TIFF file: anywhere, several at one place, before the first number and after the last."""
    numbers = smooth((6, 24, 20)).astype("<i2")
    raw, random = numbers.tobytes(), np.random.default_rng(0)
    for places in ([960, 1920, 2880, 3840, 4800], [0, 1, 1, 7, 959, 5759, 5760], [5760], []):
        gaps = tuple((at, int(random.integers(0, 30))) for at in places)
        data, last = b"head", 0
        for at, length in gaps:
            data, last = data + raw[last:at] + random.bytes(length), at
        data += raw[last:] + b"tail"
        place = Place(4, 24, 20, 6, gaps)
        assert all(place.read(io.BytesIO(data), at, 300) == raw[at : at + 300] for at in range(0, 5460, 77))
        reading = reading_for(io.BytesIO(data), Words(numbers.dtype), place)
        assert (np.concatenate([block[0] for block in reading.read(io.BytesIO(data))]) == numbers - numbers.min()).all()
        assert coded(reading, data) == data and coded(reading, data, [1, 2, 2]) == data
        if gaps:
            for _ in reading.read(io.BytesIO(data)):
                pass
            with pytest.raises(DamagedError, match="too many bytes between"):
                list(Numbers().write(reading.kept, iter([[np.zeros((4, 24, 20), "<u2")]])))


def test_slices_of_several_files_have_levels_of_one_meaning():
    pictures = [smooth((1, 40, 36), seed).astype("<f4") * (seed + 1) for seed in range(2)]
    found = []
    for numbers in pictures:
        data = numbers.tobytes()
        reading = reading_for(io.BytesIO(data), Words(numbers.dtype), Place(0, 40, 36, 1), alike=True)
        found += [block[0] for block in reading.read(io.BytesIO(data))]
        assert coded(reading, data) == data
    assert (found[0] == to_keys(pictures[0]) >> 16).all() and (found[1] == to_keys(pictures[1]) >> 16).all()


@pytest.mark.parametrize("stored", [False, True])
def test_streams_come_back_in_any_pieces(stored):
    data = bytes(2000) + np.random.default_rng(0).bytes(3000)
    packer = Packer(stored=stored)
    for at in range(0, 5000, 700):
        packer.add(data[at : at + 700])
    packed = packer.finish()
    unpacker, pieces = Unpacker(packed), []
    for size in (0, 1, 1999, 0, 1500, 1500):
        pieces.append(unpacker.take(size))
    unpacker.finish()
    assert b"".join(pieces) == data
    with pytest.raises(DamagedError, match="too few"):
        Unpacker(packed).take(5001)
    for more in (b"\0", b"more"):
        unpacker = Unpacker(packed + more)
        with pytest.raises(DamagedError):
            unpacker.take(5000)
            unpacker.finish()
    shorter = Unpacker(packed[:-1])
    with pytest.raises(DamagedError):
        shorter.take(5000)
        shorter.finish()
    unpacker = Unpacker(packed)
    unpacker.take(4999)
    with pytest.raises(DamagedError, match="too many"):
        unpacker.finish()
    with pytest.raises(DamagedError):
        Unpacker(b"\7")


def sides():
    """Kept bytes of every form, with the planes they belong to, and the file."""
    picture = smooth((4, 12, 10)).astype(">f4")
    place = Place(0, 12, 10, 4, ((480, 3), (490, 2), (1920, 1)))
    data = picture.tobytes()
    data = data[:480] + b"gap" + data[480:490] + b"ga" + data[490:] + b"p"
    for code in codes_for(np.dtype("<f4"), picture.astype("<f4").reshape(-1)):
        reading = NumbersReading(Words(np.dtype("<f4"), 1, True), code, place, stored=(True,) * -(-code.shift // 8))
        blocks = list(reading.read(io.BytesIO(data)))
        yield reading.kept.side, blocks, data
    scaled = scaled_slices((3, 10, 9))[1].astype("<f4")
    tables = Tables(tuple(number_choice._table(scaled.dtype, np.unique(to_keys(one))) for one in scaled))
    reading = NumbersReading(Words(scaled.dtype), tables, Place(0, 10, 9, 3))
    blocks = list(reading.read(io.BytesIO(scaled.tobytes())))
    yield reading.kept.side, blocks, scaled.tobytes()
    odd = np.resize(odd_bits(np.dtype("<f8")), 2 * 9 * 8).reshape(2, 9, 8)
    for numbers, components in (
        (odd, 1),
        (smooth((3, 12, 10)).astype("<f4"), 1),
        (smooth((3, 12, 10)).astype("i2").astype("<f8"), 1),
        ((smooth((3, 12, 10)) * 1e6).astype("<i8"), 1),
        (np.repeat(smooth((2, 9, 8)).astype("<u2")[..., None], 6, axis=-1), 6),
    ):
        kind = numbers.dtype
        words = Words(kind, components, slices=components > 4)
        data = numbers.tobytes()
        frames, rows, columns = numbers.shape[:3]
        for code in codes_for(kind, numbers.reshape(-1)):
            for low_planes in (False, True) if code.shift else (False,):
                stored = () if low_planes else (False, True, False, True, True, False)[: -(-code.shift // 8)]
                reading = NumbersReading(
                    words, code, Place(0, rows, columns, frames), low_planes=low_planes, stored=stored
                )
                blocks = list(reading.read(io.BytesIO(data)))
                yield reading.kept.side, blocks, data


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_golden_kept_bytes(golden):
    """What was written when the body was new makes the same files for ever."""
    with np.load(golden) as arrays:
        count = sum(name.startswith("side") for name in arrays)
        assert count > 5
        for number in range(count):
            side, planes = arrays[f"side{number}"].tobytes(), list(arrays[f"planes{number}"])
            for blocks in ([planes], [[plane[:1] for plane in planes], [plane[1:] for plane in planes]]):
                data = b"".join(Numbers().write(Kept(b"", side, b""), iter(blocks)))
                assert hashlib.sha256(data).digest() == arrays[f"sha{number}"].tobytes()


def test_damaged_kept_bytes_are_refused_or_give_other_bytes():
    """Cut anywhere, or with any byte changed: never another error."""
    random = np.random.default_rng(0)
    refused = 0
    for side, blocks, data in sides():
        assert b"".join(Numbers().write(Kept(b"", side, b""), iter(blocks))) == data
        places = sorted({*range(min(len(side), 60)), *random.integers(0, len(side), 40).tolist()})
        for at in places:
            for changed in (side[:at], side[:at] + bytes([side[at] ^ (1 << (at % 8))]) + side[at + 1 :]):
                try:
                    size = sum(len(piece) for piece in Numbers().write(Kept(b"", changed, b""), iter(blocks)))
                except DamagedError:
                    refused += 1
                else:
                    assert size <= 8 * len(data)
    assert refused > 300


def test_planes_that_do_not_belong_to_the_kept_bytes():
    side, blocks, _ = next(sides())
    for wrong in ([blocks[0] * 2], [[blocks[0][0].astype("u1")]], [[np.full_like(blocks[0][0], 65535)]]):
        with pytest.raises(DamagedError):
            b"".join(Numbers().write(Kept(b"", side, b""), iter(wrong)))


def test_hostile_splits():
    """Widths beyond the type, limits that no key has, specials out of order."""
    kind = np.dtype("<f4")
    good = Split(kind, 0, 23, (100, 101), 2 << 23, 9, (5, 9))
    assert decoded(Cursor(good.encoded(), "x"), kind).encoded() == good.encoded()
    for changed in (
        Split(kind, 0, 40, (100, 101), 2 << 23, 9, (5, 9)),
        Split(kind, 0, 23, (100, 65535), 2 << 23, 9, (5, 9)),
        Split(kind, 1 << 40, 23, (100, 101), 2 << 23, 9, (5, 9)),
        Split(kind, 0, 23, (100, 101), 3 << 23, 9, (5, 9)),
        Split(kind, 0, 23, (100, 101), 2 << 23, 32, (5, 9)),
        Split(kind, 0, 23, (100, 101), 2 << 23, 9, (9, 5)),
        Split(kind, 0, 23, (100, 101), 2 << 23, 9, (5, 2 << 23)),
        Split(kind, 0, 23, (100, 101), 2 << 23, 1, (5, 9)),
        Split(kind, 0, 23, (100, 101), 0, 8, ()),
    ):
        with pytest.raises(DamagedError):
            decoded(Cursor(changed.encoded(), "x"), kind)
