"""Samples that are packed end to end come back bit for bit, into whatever slabs the voxels were cut."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import DamagedError
from volcomp.bodies import bits
from volcomp.bodies.bits import Bits, BitsReading, Packing
from volcomp.bodies.protocol import Kept
from volcomp.streams.protocol import NotReproducible


def read(data, packing, shape, start=4):
    frames, rows, columns = shape
    reading = BitsReading(packing, start=start, rows=rows, columns=columns, frames=frames)
    blocks = list(reading.read(io.BytesIO(data)))
    return reading, [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def written(kept, planes, cut=10**6):
    blocks = ([plane[at : at + cut] for plane in planes] for at in range(0, len(planes[0]), cut))
    return b"".join(Bits().write(kept, blocks))


@given(
    st.integers(1, 15), st.integers(1, 4), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 5),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 8, 24, 1 << 20]), st.integers(0, 99),
)  # fmt: skip
def test_files_come_back(width, components, planar, high, by_frame, frames, rows, columns, cut, step, seed):
    packing = Packing(width, components, planar, high, by_frame)
    of_frame = rows * columns * components * width
    size = frames * -(-of_frame // 8) if by_frame else -(-frames * of_frame // 8)
    data = bytearray(np.random.default_rng(seed).bytes(size))
    if by_frame:  # what follows each frame is zero
        used = of_frame % 8 or 8
        for end in range(size // frames - 1, size, size // frames):
            data[end] &= (0xFF << (8 - used)) & 0xFF if high else (1 << used) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "_STEP", step)
        patch.setattr(bits, "_BLOCK", 2 * rows * columns * components)
        reading, planes = read(b"head" + data + b"tail", packing, (frames, rows, columns))
        assert written(reading.kept, planes, cut) == b"head" + data + b"tail"
    assert reading.planes == len(planes) == components and planes[0].shape == (frames, rows, columns)
    assert 8 * planes[0].itemsize == reading.bits and max(map(np.max, planes)) < 1 << width


def test_where_the_bits_of_samples_lie():
    """By the pictures of PS3.5, 8.1.1: the first sample has the least significant bits of the first byte."""
    for packing, data, samples in (
        (Packing(1), b"\x01\x80", [1] + [0] * 14 + [1]),
        (Packing(1, high_first=True), b"\x01\x80", [0] * 7 + [1, 1] + [0] * 7),
        (Packing(12), b"\xbc\x3a\x12", [0xABC, 0x123]),
        (Packing(12, high_first=True), b"\xab\xc1\x23", [0xABC, 0x123]),
        (Packing(4), b"\x21\x43", [1, 2, 3, 4]),
        (Packing(10), b"\xff\x03\0", [0x3FF, 0]),
    ):
        _, planes = read(data, packing, (1, 1, len(samples)), 0)
        assert planes[0].reshape(-1).tolist() == samples
    _, planes = read(b"\x35", Packing(1, 2), (1, 2, 2), 0)  # side by side: 1 0 1 0 1 1 0 0
    assert [plane.reshape(-1).tolist() for plane in planes] == [[1, 1, 1, 0], [0, 0, 1, 0]]
    _, planes = read(b"\x35", Packing(1, 2, planar=True), (1, 2, 2), 0)
    assert [plane.reshape(-1).tolist() for plane in planes] == [[1, 0, 1, 0], [1, 1, 0, 0]]


def test_what_follows_frames_must_be_zero():
    """The trial of the file then finds that it does not come back."""
    data = b"\xff\x00"
    reading, planes = read(data, Packing(1, by_frame=True), (2, 1, 5), 0)
    assert written(reading.kept, planes) == b"\x1f\x00" != data


def test_files_that_are_too_short():
    with pytest.raises(NotReproducible, match="shorter"):
        read(b"head" + bytes(3), Packing(12), (1, 1, 3))


def test_sides_that_contradict_the_planes():
    reading, planes = read(b"head" + bytes(range(20)), Packing(12), (3, 2, 2))
    kept = reading.kept
    assert written(kept, planes) == b"head" + bytes(range(20))
    for others in ([*planes, *planes], [planes[0].astype("u1")], [planes[0] + np.uint16(4096)]):
        with pytest.raises(DamagedError):
            written(kept, others)
    for side in (kept.side[:-1], kept.side + b"\0", b"\0" + kept.side[1:], b"\x10" + kept.side[1:]):
        with pytest.raises(DamagedError):
            written(Kept(b"", side, b""), planes)
    for at, value in ((1, 0), (1, 5), (2, 8), (3, 1)):  # components, flags, fill of a whole byte
        side = bytearray(kept.side)
        side[at] = value
        with pytest.raises(DamagedError):
            written(Kept(b"", bytes(side), b""), planes)
    reading, planes = read(b"\xff", Packing(1), (1, 1, 5), 0)
    assert reading.kept.side[3] == 7 and written(reading.kept, planes) == b"\xff"
    with pytest.raises(DamagedError):
        written(Kept(b"", reading.kept.side[:3] + b"\x08", b""), planes)
