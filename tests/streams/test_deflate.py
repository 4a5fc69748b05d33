"""Deflate streams of zlib, with all its settings, come back from the settings alone; others from few differences."""

import csv
import hashlib
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from volcomp.errors import DamagedError
from volcomp.streams import deflate, deflate_apart, deflate_side, deflate_tables
from volcomp.streams.deflate_model import FAST, FIRST, GREEDY, LAZY, LONG, MEDIUM, NEXT, PAIRS, QUICK, SECOND
from volcomp.streams.protocol import FrameInfo, NotReproducible
from volcomp.streams.registry import BY_NUMBER, trial

GOLDEN = Path(__file__).parent / "golden" / "deflate"
with (GOLDEN / "zlib.csv").open(newline="") as file:
    OF_ZLIB = list(csv.DictReader(file))
with (GOLDEN / "models.csv").open(newline="") as file:
    OF_MODELS = list(csv.DictReader(file))
OTHERS = sorted(path.stem for path in GOLDEN.glob("*.deflate"))
LIMIT = 1 << 20
# Builds that replace zlib, such as zlib-ng, state another version and choose other matches.
genuine = pytest.mark.skipif(
    not re.fullmatch(r"1\.[23](\.\d+)*", zlib.ZLIB_RUNTIME_VERSION), reason="Python was built with another zlib"
)


def numbers(seed: int) -> Iterator[int]:
    """Random numbers of 16 bits that no release of any library changes."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
        yield seed >> 48


@lru_cache(maxsize=8)
def source(name: str) -> bytes:
    """Bytes of a kind. The golden digests belong to them."""
    random = numbers(len(name))
    if name == "empty":
        return b""
    if name == "zeros":
        return bytes(70000)
    if name == "noise":
        return bytes(next(random) >> 8 for _ in range(50000))
    if name == "words":
        words = [bytes(97 + next(random) % 26 for _ in range(2 + next(random) % 8)) for _ in range(400)]
        return b" ".join(words[next(random) * next(random) % 400] for _ in range(20000))
    if name == "samples":
        at, out = 1000, bytearray()
        for n in range(45000):
            at += next(random) % 9 + next(random) % 9 - 8
            at = at % 4096 if n % 1000 < 700 else 0
            out += at.to_bytes(2, "little")
        return bytes(out)
    assert name == "mixed"
    return source("words")[:30000] + source("noise")[:40000] + source("samples")[:30000] + bytes(30000)


def compressed(raw: bytes, level: int, memory: int = 8, window: int = 15, strategy: int = 0) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    return machine.compress(raw) + machine.flush()


@pytest.mark.parametrize("row", OF_ZLIB, ids=lambda row: "-".join(list(row.values())[:-1]))
def test_zlib_comes_from_its_settings(row: dict[str, str]) -> None:
    """As zlib 1.2.13 wrote it, whatever zlib is installed."""
    level, memory, window, strategy = (int(row[name]) for name in ("level", "memory", "window", "strategy"))
    made = deflate.make(source(row["source"]), bytes([1, level << 4 | memory, window << 4 | strategy, 0]))
    assert hashlib.sha256(made).hexdigest()[:16] == row["sha256"]


@pytest.mark.parametrize("row", OF_MODELS, ids=lambda row: f"{row['source']}-{row['side'][:60]}")
def test_what_models_make_never_changes(row: dict[str, str]) -> None:
    made = deflate.make(source(row["source"]), bytes.fromhex(row["side"]))
    assert hashlib.sha256(made).hexdigest()[:16] == row["sha256"]
    assert zlib.decompress(made, -15) == source(row["source"])


# By encoder: the way of its search, and bytes of side information: 15 to 20 for the numbers, and headers of blocks
FOUND = {
    "zlib_ng_1": (QUICK, 30), "zlib_ng_2": (FAST, 24), "zlib_ng_4": (MEDIUM, 24), "zlib_ng_6": (MEDIUM, 64),
    "zlib_ng_8": (LAZY, 24), "libdeflate_mixed_1": (PAIRS, 40), "libdeflate_3": (FIRST, 40),
    "libdeflate_mixed_5": (NEXT, 40), "libdeflate_6": (NEXT, 40), "libdeflate_9": (SECOND, 40),
    "isal_0": (LONG, 180), "isal_2": (LONG, 60), "pigz_1": (GREEDY, 52),
    "pigz_6": (LAZY, 52), "gzip_6": (LAZY, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_encoders_are_recognised(name: str) -> None:
    """What is kept beyond the numbers of the search is little, so that the model is that of the encoder."""
    data = (GOLDEN / f"{name}.deflate").read_bytes()
    raw, side = deflate.take_apart(data, LIMIT)
    plan = deflate_side.read(side, len(raw))
    assert (plan.model.way, len(side) <= FOUND[name][1]) == (FOUND[name][0], True), len(side)
    assert (plan.segments is not None) == name.startswith("pigz")


@pytest.mark.parametrize("name", OTHERS)
def test_other_encoders_come_from_few_differences(name: str) -> None:
    data = (GOLDEN / f"{name}.deflate").read_bytes()
    raw, side = deflate.take_apart(data, LIMIT)
    assert raw == zlib.decompressobj(-15).decompress(data)
    assert deflate.make(raw, side) == data
    assert len(side) <= len(raw) // 50 + 256


def test_a_real_data_set_comes_back() -> None:
    whole = Path(str(get_testdata_file("image_dfl.dcm"))).read_bytes()
    data = whole[144 + int.from_bytes(whole[140:144], "little") :]
    raw, side = deflate.take_apart(data, LIMIT)
    assert deflate.make(raw, side) == data
    assert len(side) < 16


@genuine
@pytest.mark.parametrize("level", range(10))
def test_the_installed_zlib_is_recognised(level: int) -> None:
    for name in ("empty", "mixed"):
        data = compressed(source(name), level)
        raw, side = deflate.take_apart(data, LIMIT)
        assert raw == source(name) and deflate.make(raw, side) == data
        assert len(side) == 4 or (level == 0 and len(side) < 24), "blocks of level 0 depend on the calls"


@genuine
@given(st.data())
def test_any_settings_are_found(data: st.DataObject) -> None:
    """Pieces of all kinds, fed and flushed in parts, and bytes after the stream."""
    pieces = data.draw(
        st.lists(st.tuples(st.sampled_from(["words", "noise", "samples", "zeros"]), st.integers(0, 3000)))
    )
    raw = b"".join(source(name)[len(source(name)) // 3 :][:size] for name, size in pieces)
    level, memory = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 9))
    machine = zlib.compressobj(level, 8, -data.draw(st.integers(9, 15)), memory, data.draw(st.integers(0, 4)))
    cut = data.draw(st.integers(0, len(raw)))
    stream = machine.compress(raw[:cut])
    if data.draw(st.booleans()):
        stream += machine.flush(data.draw(st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH])))
    stream += machine.compress(raw[cut:]) + machine.flush() + data.draw(st.sampled_from([b"", b"\0", b"more"]))
    found, side = deflate.take_apart(stream, len(raw))
    assert found == raw
    assert deflate.make(raw, side) == stream


def bits(*fields: tuple[int, int]) -> bytes:
    """Bytes of fields of value and width, the first one lowest."""
    value = at = 0
    for field, width in fields:
        value |= field << at
        at += width
    return value.to_bytes((at + 7) // 8, "little")


def test_what_no_encoder_should_write_comes_back() -> None:
    """Unused bits that are ones, empty blocks, and a length of 258 in two ways, of which one is refused."""
    raw, side = deflate.take_apart(bits((3, 3), (0, 7), (63, 6)), 0)
    assert (raw, deflate.make(raw, side)) == (b"", bits((3, 3), (0, 7), (63, 6)))
    many = b"\0\0\0\xff\xff" * 80 + b"\3\0"
    raw, side = deflate.take_apart(many, 0)
    assert deflate.make(raw, side) == many and len(side) > 160
    # 0x30 is the literal 0, then lengths 285 and 284 + 31, each at distance 1; codes come with their first bit lowest
    usual = bits((3, 3), (0b00001100, 8), (0b10100011, 8), (0, 5), (0, 7))
    odd = bits((3, 3), (0b00001100, 8), (0b00100011, 8), (31, 5), (0, 5), (0, 7))
    assert zlib.decompress(usual, -15) == zlib.decompress(odd, -15) == bytes(259)
    assert deflate.take_apart(usual, 999)[0] == bytes(259)
    with pytest.raises(NotReproducible, match="identical"):
        deflate.take_apart(odd, 999)


def test_streams_are_taken_apart_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the pieces end, with blocks larger than one, and stored ones: the same comes out."""
    golden = {name: (GOLDEN / f"{name}.deflate").read_bytes() for name in FOUND}
    golden["stored"] = compressed(source("mixed"), 6, memory=2)
    golden["one block"] = compressed(source("samples"), 4, memory=9)
    usual = {name: deflate.take_apart(data, LIMIT) for name, data in golden.items()}
    monkeypatch.setattr(deflate_apart, "PIECE", 1000)
    for name, data in golden.items():
        assert deflate.take_apart(data, LIMIT) == usual[name], name
        assert deflate.make(*usual[name]) == data


def test_many_differences_are_coded() -> None:
    """Matches that zlib would not choose, one in twenty: a list of them would be three times as large."""
    random = numbers(3)
    raw = source("samples")[:60000]
    machine = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = b""
    for at in range(0, len(raw), 300):  # flushed often: matches end there, of which zlib's model knows nothing
        data += machine.compress(raw[at : at + 300]) + machine.flush(zlib.Z_PARTIAL_FLUSH if next(random) % 3 else 0)
    data += machine.flush()
    found, side = deflate.take_apart(data, len(raw))
    assert found == raw and deflate.make(raw, side) == data


def test_a_bomb_is_refused() -> None:
    bomb = compressed(bytes(1 << 24), 9)
    with pytest.raises(NotReproducible, match="more bytes than are allowed"):
        deflate.take_apart(bomb, 1 << 16)
    assert len(deflate.take_apart(compressed(bytes(1000), 9), 1000)[0]) == 1000


def test_an_encoder_unlike_zlib_is_refused() -> None:
    """Literals and matches at random, of which zlib would choose none."""
    random = numbers(7)
    fields, raw = [(3, 3)], bytearray(b"")
    for _ in range(6000):
        literal = next(random) % 4
        fields.append((int(f"{48 + literal:08b}"[::-1], 2), 8))
        raw.append(literal)
        if len(raw) > 8 and next(random) % 2:
            fields += [(0b1000000, 7), (0b00100, 5), (0, 1)]  # three bytes from five or six back
            for _ in range(3):
                raw.append(raw[-5])
    data = bits(*fields, (0, 7))
    assert zlib.decompress(data, -15) == bytes(raw)
    with pytest.raises(NotReproducible, match="unlike"):
        deflate.take_apart(data, LIMIT)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Flip bits, cut, repeat or overwrite some bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(changed)))
        kind = random.integers(4)
        if kind <= 1:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 2 and len(changed) > 4:
            del changed[at : at + int(random.integers(1, 4))]
        else:
            changed[at:at] = changed[: int(random.integers(8))]
    return bytes(changed)


@pytest.mark.parametrize("name", OTHERS)
def test_damage_has_one_error(name: str) -> None:
    data = (GOLDEN / f"{name}.deflate").read_bytes()
    raw, side = deflate.take_apart(data, LIMIT)
    random = np.random.default_rng(len(data))
    for _ in range(70):
        try:
            bytes_, kept = deflate.take_apart(changed := mutated(data, random), 1 << 16)
        except NotReproducible:
            continue
        assert deflate.make(bytes_, kept) == changed
    for _ in range(70):
        changed = mutated(side, random)
        for content in (raw, raw[: len(raw) // 2], b""):
            try:
                deflate.make(content, changed)
            except DamagedError:
                continue


NUMBERS = bytes([2, 0, 1, 0, 15, 15, 0x80, 2, 8, 16, 32, 32, 64, 2, 0x7F])  # of lazy search, with blocks of 127


def test_numbers_are_read() -> None:
    made = deflate.make(b"abcd", NUMBERS)
    assert zlib.decompress(made, -15) == b"abcd"
    assert deflate.make(b"abcd", NUMBERS.replace(b"\0\1\0", b"\x80\1\0")) == made


@pytest.mark.parametrize(
    "side",
    [
        b"", b"\1\x68\xf0", b"\2\x68\xf0\0", b"\1\xa8\xf0\0", b"\1\x60\xf0\0", b"\1\x68\x80\0", b"\1\x68\xf5\0",
        b"\1\x68\xf0\x10", b"\1\x68\xf0\1\1\3\1", b"\1\x68\xf0\1\1\0\xff\xff\xff\xff\x7f", b"\1\x68\xf0\1\0",
        b"\1\x68\xf0\2\1\0\1\0", b"\1\x68\xf0\2\1\1\2\0", b"\1\x68\xf0\2\1\1\2\5", b"\1\x68\xf0\4\1\0\4",
        b"\2", b"\2\0", NUMBERS[:-1], b"\3" + NUMBERS[1:], NUMBERS.replace(b"\0\1\0", b"\0\x0c\0"),
        NUMBERS.replace(b"\0\1\0", b"\0\1\3"), NUMBERS.replace(b"\0\1\0", b"\0\4\0"),
        NUMBERS.replace(b"\0\1\0", b"\1\1\0"), NUMBERS.replace(b"\0\1\0", b"\x10\1\0") + b"\1\3\1",
        NUMBERS.replace(b"\0\1\0", b"\2\1\0") + b"\x05abc",
        b"\1\x68\xf0\4\1\0\3\x10\xff\xff", b"\1\x68\xf0\4\1\0\3\x11\0\0\0",
    ],
)  # fmt: skip
def test_a_side_that_makes_no_sense_is_refused(side: bytes) -> None:
    with pytest.raises(DamagedError):
        deflate.make(b"abcd", side)


@pytest.mark.parametrize("bits_of_a_sample, components", [(8, 1), (16, 1), (8, 3), (16, 3)])
def test_frames_come_back(bits_of_a_sample: int, components: int) -> None:
    frame = FrameInfo(20, 30, components, bits_of_a_sample)
    raw = source("samples")[: 600 * components * bits_of_a_sample // 8]
    data = compressed(raw, 6) + b"\0"
    parts = trial(deflate.Deflate(), data, frame)
    assert parts.samples.shape == (components, 20, 30) and parts.samples.itemsize == bits_of_a_sample // 8
    first = np.frombuffer(raw, f"<u{bits_of_a_sample // 8}")[:components]
    assert parts.samples[:, 0, 0].tolist() == first.tolist()
    for wrong in (frame._replace(rows=19), frame._replace(rows=21), frame._replace(bits=32), frame._replace(bits=1)):
        with pytest.raises(NotReproducible):
            deflate.Deflate().take_apart(data, wrong)
    with pytest.raises(DamagedError):
        deflate.Deflate().make(parts.samples[0], parts.side)
    with pytest.raises(DamagedError):
        deflate.Deflate().make(parts.samples.astype(np.float32), parts.side)


def test_the_registry_has_it() -> None:
    assert isinstance(BY_NUMBER[4], deflate.Deflate)


def test_alphabets() -> None:
    """RFC 1951, 3.2.5."""
    assert deflate_tables.LENGTH_BASE.tolist()[:12] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17]
    assert deflate_tables.LENGTH_BASE.tolist()[-3:] == [195, 227, 258]
    assert deflate_tables.DISTANCE_BASE.tolist()[-2:] == [16385, 24577]
    assert [deflate_tables.LENGTH_CODE[n] for n in (3, 10, 11, 12, 257, 258)] == [0, 7, 8, 8, 27, 28]
    assert [deflate_tables.DISTANCE_CODE[n] for n in (1, 4, 5, 6, 7, 24576, 24577, 32768)] == [
        0,
        3,
        4,
        4,
        5,
        28,
        29,
        29,
    ]
