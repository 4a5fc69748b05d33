"""Encapsulated frames that are not compressed: items, fragments and offset tables come back byte for byte."""

import io
import struct

import numpy as np
import pytest

from volcomp import DamagedError
from volcomp.bodies.encapsulated import Encapsulated, EncapsulatedReading, Pixels
from volcomp.bodies.protocol import Kept
from volcomp.streams.protocol import NotReproducible

ROWS, COLUMNS, FRAMES = 3, 4, 5


def item(value):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def pixels(**changes):
    stated = {"stream": 0, "rows": ROWS, "columns": COLUMNS, "frames": FRAMES, "components": 1, "bits": 16}
    return Pixels(**{**stated, "stored": 16, "signed": False, "colour": False, **changes})


def frames(components=1, bits=16, count=FRAMES, seed=0):
    return [np.random.default_rng(seed + i).bytes(ROWS * COLUMNS * components * bits // 8) for i in range(count)]


def encapsulated(values, table=None, fragments=1, tail=b"\xfe\xff\xdd\xe0\0\0\0\0"):
    """A file of frames, each in some fragments; `table`: None for an empty one, "right", or its bytes."""
    pieces = []
    for value in values:
        cut = -(-len(value) // fragments)
        pieces.append(b"".join(item(value[i : i + cut]) for i in range(0, len(value), cut)))
    begins = np.cumsum([0, *map(len, pieces[:-1])]).astype("<u4").tobytes()
    first = b"" if table is None else begins if table == "right" else table
    return b"header" + item(first) + b"".join(pieces) + tail


def read(data, stated):
    reading = EncapsulatedReading(stated, len(b"header"))
    blocks = list(reading.read(io.BytesIO(data)))
    return reading, blocks


@pytest.mark.parametrize(
    ("data", "stated"),
    [
        (encapsulated(frames()), pixels()),
        (encapsulated(frames(), "right"), pixels()),
        (encapsulated(frames(), b"\1\2\3\4"), pixels()),
        (encapsulated(frames(), "right", 3), pixels()),
        (encapsulated(frames(count=1), None, 7), pixels(frames=1)),
        (encapsulated(frames(), tail=b""), pixels()),
        (encapsulated(frames(), tail=b"\xfe\xff\xdd\xe0\0\0\0\0more"), pixels()),
        (encapsulated([value + b"\0pad"[: i + 1] for i, value in enumerate(frames(count=3))]), pixels(frames=3)),
        (encapsulated(frames(3, 8), "right"), pixels(components=3, bits=8, stored=8, colour=True)),
        (encapsulated(frames(3, 8)), pixels(components=3, bits=8, stored=8)),
        (encapsulated(frames(bits=8)), pixels(bits=8, stored=8, signed=True)),
        (encapsulated(frames(bits=32), "right"), pixels(bits=32, stored=32)),
        (encapsulated(frames(3, 32)), pixels(components=3, bits=32, stored=32, colour=True)),
    ],
)
def test_files_come_back(data, stated):
    reading, blocks = read(data, stated)
    whole = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    assert len(whole) == reading.planes and whole[0].shape == (stated.frames, ROWS, COLUMNS)
    assert reading.number == (7 if stated.bits == 32 else 3)  # 0.10.0 has no samples of 32 bits in body 3
    for cut in (1, 2, stated.frames):
        again = ([plane[a : a + cut] for plane in whole] for a in range(0, stated.frames, cut))
        assert b"".join(Encapsulated().write(reading.kept, again)) == data


def test_an_offset_table_that_is_right_costs_nothing():
    sizes = [len(read(encapsulated(frames(), table), pixels())[0].kept.side) for table in (None, "right", bytes(20))]
    assert sizes[0] == sizes[1] == sizes[2] - 21


@pytest.mark.parametrize(
    ("data", "stated", "reason"),
    [
        (b"header", pixels(), "it has no items"),
        (b"header" + item(b""), pixels(), "it has no frames"),
        (encapsulated(frames(count=4)), pixels(), "which of its fragments make a frame"),
        (encapsulated(frames(), None, 3), pixels(), "which of its fragments make a frame"),
        (encapsulated(frames(), bytes(20), 3), pixels(), "offset table does not fit"),
        (encapsulated([value[:-1] for value in frames()]), pixels(), "shorter than its header says"),
    ],
)
def test_what_cannot_be_made_again(data, stated, reason):
    with pytest.raises(NotReproducible, match=reason):
        read(data, stated)


def test_sides_that_contradict_the_planes():
    reading, blocks = read(encapsulated(frames(), "right"), pixels())
    whole = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    kept = reading.kept
    for planes in (
        [[plane[:-1] for plane in whole]],
        [whole, [plane[:1] for plane in whole]],
        [[*whole, *whole]],
        [[plane.view("u1") for plane in whole]],
        [],
    ):
        with pytest.raises(DamagedError):
            b"".join(Encapsulated().write(kept, iter(planes)))
    for end in range(len(kept.side)):
        with pytest.raises(DamagedError):
            b"".join(Encapsulated().write(Kept(b"", kept.side[:end], b""), iter([whole])))
    for i in range(len(kept.side)):
        for value in range(0, 256, 5):
            side = kept.side[:i] + bytes([value]) + kept.side[i + 1 :]
            try:
                b"".join(Encapsulated().write(Kept(b"", side, b""), iter([whole])))
            except DamagedError:
                continue
