"""The image data of PNG files come back byte for byte, whatever their chunks, zlib streams and filters."""

import io
import struct
import zlib

import numpy as np
import pytest

from volcomp.bodies.planes import Kind, Map
from volcomp.bodies.png import Png, PngReading
from volcomp.bodies.protocol import Kept
from volcomp.errors import DamagedError
from volcomp.streams import png_filters
from volcomp.streams.protocol import NotReproducible
from volcomp.wire.cursor import varint

ROWS, COLUMNS = 24, 37
BEFORE = b"all chunks before"
AFTER = b"\0\0\0\0IEND\xaeB`\x82 and what follows"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pixels(components: int = 1, bits: int = 8, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return samples [y, x, c], smooth with a little noise."""
    y, x, c = np.mgrid[:rows, :columns, :components]
    noise = np.random.default_rng(bits + components).integers(0, 4, y.shape)
    return ((40 + 2 * x + 3 * y + 11 * c) * (1 if bits == 8 else 190) + noise).astype(f">u{bits // 8}")


def filtered(samples: np.ndarray, kinds: np.ndarray | None = None) -> bytes:
    rows = samples.view(np.uint8).reshape(len(samples), -1)
    chosen = np.arange(len(rows), dtype=np.uint8) % 5 if kinds is None else kinds
    return png_filters.filtered(rows, chosen, samples.shape[2] * samples.itemsize).tobytes()


def reading(samples: np.ndarray) -> PngReading:
    components, width = samples.shape[2], samples.itemsize
    kind = Kind.COLOUR if components == 3 else Kind.SAME
    of = Map(kind, np.dtype(f"<u{width}"), components)
    return PngReading(of, rows=samples.shape[0], columns=samples.shape[1], start=len(BEFORE))


def in_chunks(stream: bytes, *sizes: int) -> bytes:
    out, at = b"", 0
    for size in sizes:
        out += chunk(b"IDAT", stream[at : at + size])
        at += size
    return BEFORE + out + chunk(b"IDAT", stream[at:]) + AFTER


def again(of: PngReading, data: bytes) -> bytes:
    blocks = list(of.read(io.BytesIO(data)))
    assert len(blocks) == 1 and len(blocks[0]) == of.planes and 8 * blocks[0][0].itemsize == of.bits
    assert (of.kept.before, of.kept.after) == (BEFORE, AFTER)
    return b"".join(map(bytes, Png().write(of.kept, iter(blocks))))


@pytest.mark.parametrize("components", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_all_kinds_of_samples(components: int, bits: int) -> None:
    samples = pixels(components, bits)
    data = in_chunks(zlib.compress(filtered(samples), 6))
    of = reading(samples)
    assert again(of, data) == data
    (planes,) = of.read(io.BytesIO(data))
    found = Map(Kind.COLOUR if components == 3 else Kind.SAME, np.dtype(f"<u{bits // 8}"), components).inverse(planes)
    assert (found[:, 0] == np.moveaxis(samples, -1, 0)).all()


STREAM = zlib.compress(filtered(pixels()), 6)
FILES = {
    "one chunk": in_chunks(STREAM),
    "equal chunks": in_chunks(STREAM, *[50] * 5),
    "chunks of all sizes": in_chunks(STREAM, 2, 7, 7, 100, 1),
    "empty chunks": in_chunks(STREAM, 0, 0, 30, 0, len(STREAM) - 30),
    "another level": in_chunks(zlib.compress(filtered(pixels()), 1)),
    "stored": in_chunks(zlib.compress(filtered(pixels()), 0)),
    "a wrong checksum": in_chunks(STREAM[:-4] + b"\1\2\3\4"),
    "no checksum": in_chunks(STREAM[:-4]),
    "half a checksum": in_chunks(STREAM[:-2]),
    "more than the stream": in_chunks(STREAM + bytes(20)),
    "one filter": in_chunks(zlib.compress(filtered(pixels(), np.full(ROWS, 4, np.uint8)), 9)),
}


@pytest.mark.parametrize("name", FILES)
def test_all_chunks_and_streams(name: str) -> None:
    assert again(reading(pixels()), FILES[name]) == FILES[name]


BAD = {
    "a wrong checksum of a chunk": FILES["one chunk"].replace(b"IEND", b"IDAT"),
    "cut short": in_chunks(STREAM)[: len(BEFORE) + 60],
    "no image data": BEFORE + AFTER,
    "no zlib stream": in_chunks(b"\x79" + STREAM[1:]),
    "a dictionary": in_chunks(bytes([STREAM[0], STREAM[1] | 32]) + STREAM[2:]),
    "a damaged stream": in_chunks(STREAM[:40] + bytes(30) + STREAM[70:]),
    "fewer rows": in_chunks(zlib.compress(filtered(pixels())[: -(COLUMNS + 1)])),
    "more rows": in_chunks(zlib.compress(filtered(pixels()) + bytes(COLUMNS + 1))),
    "a filter that does not exist": in_chunks(zlib.compress(b"\5" + filtered(pixels())[1:])),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_again_is_refused(name: str) -> None:
    with pytest.raises(NotReproducible):
        list(reading(pixels()).read(io.BytesIO(BAD[name])))


def test_noise_that_deflate_stores_may_stay_as_it_is() -> None:
    """Graphics of few values, which deflate makes smaller than prediction does."""
    tile = np.random.default_rng(1).integers(0, 256, (8, 64, 1), dtype=np.uint8).astype(">u1")
    samples = np.tile(tile, (16, 8, 1))
    data = in_chunks(zlib.compress(filtered(samples, np.zeros(128, np.uint8)), 9))
    with pytest.raises(NotReproducible, match="smaller as they are"):
        list(reading(samples).read(io.BytesIO(data)))


def kept_of(name: str) -> tuple[Kept, list[np.ndarray]]:
    of = reading(pixels())
    (planes,) = of.read(io.BytesIO(FILES[name]))
    return of.kept, planes


def test_a_damaged_side_is_an_error_of_its_own_or_another_file() -> None:
    """Some bits of what is kept of the deflate stream may be either, as a level that finds the same matches."""
    kept, planes = kept_of("chunks of all sizes")
    same = 0
    for n in range(len(kept.side)):
        with pytest.raises(DamagedError):
            b"".join(map(bytes, Png().write(kept._replace(side=kept.side[:n]), iter([planes]))))
        for flip in (1, 128):
            side = bytearray(kept.side)
            side[n] ^= flip
            try:
                made = b"".join(map(bytes, Png().write(kept._replace(side=bytes(side)), iter([planes]))))
            except DamagedError:
                continue
            same += made == FILES["chunks of all sizes"]
    assert same < 4


def test_planes_of_another_image_are_refused() -> None:
    kept, planes = kept_of("one chunk")
    two = [np.concatenate([planes[0]] * 2)]
    for blocks in ([], [two], [planes, planes]):
        with pytest.raises(DamagedError):
            b"".join(map(bytes, Png().write(kept, iter(blocks))))


def test_chunks_without_bytes_are_bounded() -> None:
    kept, planes = kept_of("one chunk")
    assert kept.side[4] == 0  # no runs of chunks
    side = kept.side[:4] + varint(1) + varint(0) + varint(1 << 30) + kept.side[5:]
    with pytest.raises(DamagedError):
        b"".join(map(bytes, Png().write(kept._replace(side=side), iter([planes]))))
