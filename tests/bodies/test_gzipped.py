"""Gzipped files and zlib data come back byte for byte, whatever their headers, members, checksums and tails."""

import gzip
import io
import zlib

import numpy as np
import pytest

from volcomp.bodies import gzipped
from volcomp.bodies.gzipped import Gzipped, GzippedReading, NativeReading, member_start
from volcomp.bodies.planes import Kind, Map
from volcomp.bodies.protocol import Kept
from volcomp.bodies.samples import Order, SamplesReading
from volcomp.errors import DamagedError
from volcomp.streams.protocol import NotReproducible
from volcomp.wire.cursor import string, varint

FRAMES, ROWS, COLUMNS = 5, 9, 14
VOXELS = np.cumsum(np.random.default_rng(5).integers(-9, 10, (FRAMES, ROWS, COLUMNS)), axis=2).astype("<i2") + 500
BEFORE, AFTER = b"the header of an image", b"what follows"
INFLATED = BEFORE + VOXELS.tobytes() + AFTER


def raw_deflate(data: bytes, level: int = 6) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, -15)
    return machine.compress(data) + machine.flush()


def member(data: bytes, level: int = 6, flags: int = 0, fields: bytes = b"") -> bytes:
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\x12\x34\x56\x78\x00\x03" + fields
    return head + raw_deflate(data, level) + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def native(start: int = len(BEFORE), **changed: object) -> NativeReading:
    shape = {"rows": ROWS, "columns": COLUMNS, "frames": FRAMES, "bits": 16, "big_endian": False, **changed}
    return NativeReading(start=start, **shape)  # type: ignore[arg-type]


def again(reading: GzippedReading, data: bytes, frames: int = 2) -> bytes:
    """Read a file, and write it from planes that are cut in another way."""
    blocks = list(reading.read(io.BytesIO(data)))
    planes = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    assert len(planes) == reading.planes and 8 * planes[0].itemsize == reading.bits
    cut = ([plane[z : z + frames] for plane in planes] for z in range(0, len(planes[0]), frames))
    return b"".join(map(bytes, Gzipped().write(reading.kept, cut)))


ALL = b"\4\0abcd" + b"name.nii\0" + b"a comment\0" + b"\1\2"
FILES = {
    "plain": member(INFLATED),
    "all fields of the header": member(INFLATED, 9, 31, ALL),
    "name": member(INFLATED, 1, 8, b"scan.nii\0"),
    "members": member(INFLATED[:1000], 1) + member(b"") + member(INFLATED[1000:], 6, 8, b"b\0"),
    "zeros behind": member(INFLATED) + bytes(512),
    "another magic behind": member(INFLATED) + b"\x1f\x8b\x08" + bytes(30),
    "a wrong checksum": member(INFLATED[:700])[:-8] + b"12345678",
    "no checksum": member(INFLATED)[:-8],
    "half a checksum": member(INFLATED)[:-3],
    "zlib": zlib.compress(INFLATED, 6),
    "zlib with a wrong checksum": zlib.compress(INFLATED, 1)[:-4] + b"....more",
}
# With a wrong checksum the next member is not looked for.
FILES["a wrong checksum"] = member(INFLATED)[:-8] + b"12345678" + b"\x1f\x8b\x08"


@pytest.mark.parametrize("name", FILES)
def test_files_come_back(name: str) -> None:
    reading = GzippedReading(native(), 0)
    assert again(reading, FILES[name]) == FILES[name]
    assert (reading.kept.before, reading.kept.after) == (BEFORE, AFTER)
    assert len(reading.kept.side) < 160 + 512 * (name == "zeros behind")


@pytest.mark.parametrize("name", ["plain", "zlib", "members"])
def test_a_plain_header_before_compressed_data(name: str) -> None:
    reading = GzippedReading(native(start=7 + len(BEFORE)), 7)
    assert again(reading, b"plain\r\n" + FILES[name]) == b"plain\r\n" + FILES[name]
    assert reading.kept.before == b"plain\r\n" + BEFORE


def test_big_endian_and_bytes() -> None:
    swapped = BEFORE + VOXELS.byteswap().tobytes() + AFTER
    reading = GzippedReading(native(big_endian=True), 0)
    data = gzip.compress(swapped)
    assert again(reading, data) == data
    blocks = list(GzippedReading(native(big_endian=True), 0).read(io.BytesIO(data)))
    assert np.array_equal(np.concatenate([block[0] for block in blocks]).view("<i2"), VOXELS)
    reading = GzippedReading(native(bits=8, columns=2 * COLUMNS, big_endian=True), 0)
    assert again(reading, data) == data and reading.kept.side[1] == 0


def test_samples_within() -> None:
    order = Order(Map(Kind.COLOUR, np.dtype("<u2"), 3), big_endian=True)
    colours = np.arange(2 * 4 * 5 * 3, dtype=">u2").tobytes()
    data = gzip.compress(BEFORE + colours + AFTER)
    reading = GzippedReading(SamplesReading(order, start=len(BEFORE), rows=4, columns=5, frames=2), 0)
    assert again(reading, data, 1) == data and reading.planes == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no member at all", "no gzip member"),
        (member(INFLATED)[:60], "cut short"),
        (member(INFLATED)[:20] + b"\xff" * 60, "damaged"),
        (member(INFLATED[:300]), "shorter than its header says"),
        (b"", "no gzip member"),
    ],
)
def test_what_cannot_be_read_has_one_error(data: bytes, reason: str) -> None:
    with pytest.raises(NotReproducible, match=reason):
        list(GzippedReading(native(), 0).read(io.BytesIO(data)))


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not fit into memory is refused, with a reason, before it is inflated."""
    bomb = member(bytes(1 << 25))
    monkeypatch.setattr(gzipped, "available", lambda: 300 << 20)
    with pytest.raises(NotReproducible, match="more bytes than are allowed"):
        list(GzippedReading(native(), 0).read(io.BytesIO(bomb)))
    monkeypatch.setattr(gzipped, "available", lambda: None)
    reading = GzippedReading(native(start=0, rows=1 << 10, columns=1 << 10, frames=16), 0)
    assert again(reading, bomb) == bomb


def kept_side(start: bytes = varint(0), number: int = 0, members: bytes = b"") -> bytes:
    return start + bytes([number]) + string(b"") + members


def test_what_is_kept_is_checked() -> None:
    reading = GzippedReading(native(), 0)
    blocks = list(reading.read(io.BytesIO(FILES["members"])))
    kept = reading.kept

    def write(side: bytes, planes: list[list[np.ndarray]] = blocks) -> bytes:
        return b"".join(map(bytes, Gzipped().write(Kept(BEFORE, side, AFTER), iter(planes))))

    assert write(kept.side) == FILES["members"]
    for cut in range(len(kept.side)):
        try:
            write(kept.side[:cut])
        except DamagedError:
            continue
        raise AssertionError(f"{cut} bytes are enough")
    one = varint(1) + string(b"head") + b"\1" + varint(len(INFLATED)) + string(b"\1\x68\xf0\0")
    assert write(kept_side(members=one))[:4] == b"head"
    for side in (
        kept_side(number=4, members=one), kept_side(number=8, members=one), kept_side(start=varint(1), members=one),
        kept_side(members=one.replace(b"\1\x68", b"\2\x68")), kept_side(members=varint(1 << 40)),
        kept_side(members=one.replace(b"head\1", b"head\3")), kept_side(members=varint(0)),
    ):  # fmt: skip
        with pytest.raises(DamagedError):
            write(side)
    with pytest.raises(DamagedError, match="shorter"):
        write(kept.side, blocks * 2)
    with pytest.raises(DamagedError, match="longer"):
        write(kept.side, [[block[0][:1]] for block in blocks])


def test_headers_of_members() -> None:
    assert member_start(member(b"")) == (10, gzipped.GZIP)
    assert member_start(member(b"", 1, 31, ALL)) == (10 + len(ALL), gzipped.GZIP)
    assert member_start(zlib.compress(b"")) == (2, gzipped.ZLIB)
    gzip_flags = b"\x1f\x8b\x08"
    for data in (b"", b"\x1f\x8b", b"\x78", b"\x78\x9d", b"\x88\x1c", b"\x79\x9b", b"\x78\xbb",
                 gzip_flags + bytes([32]) + bytes(20), gzip_flags + b"\x08" + b"a" * 40,
                 gzip_flags + b"\x04" + b"\xff" * 40):  # fmt: skip
        assert member_start(data) is None
