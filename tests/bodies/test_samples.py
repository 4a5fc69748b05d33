"""Samples in every order come back byte for byte, into whatever slabs the voxels were cut."""

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp import DamagedError
from volcomp.bodies.planes import TYPES, Kind, Map
from volcomp.bodies.protocol import Kept
from volcomp.bodies.samples import Order, Samples, SamplesReading
from volcomp.streams.protocol import NotReproducible

MAPS = st.sampled_from(
    [
        *(Map(Kind.SAME, t, c) for t in TYPES if t.itemsize < 4 for c in (1, 2, 3, 4)),
        *(Map(Kind.COLOUR, t, 3) for t in TYPES if t.itemsize < 4),
        *(Map(Kind.HALVES, t, c) for t in TYPES if t.itemsize == 4 for c in (1, 3)),
        *(Map(Kind.STORED, np.dtype(t), 1, bits) for t, bits in (("u1", 5), ("<u2", 12), ("<i2", 10))),
    ]
)


@given(
    MAPS, st.booleans(), st.booleans(), st.booleans(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4),
    st.integers(0, 6), st.lists(st.integers(1, 3), min_size=5, max_size=5),
)  # fmt: skip
def test_files_come_back(samples, planar, big_endian, pairs, frames, rows, columns, missing, cuts):
    """Planes are cut elsewhere when they are restored than when they were read."""
    size = samples.type.itemsize * samples.components * rows * columns
    pairs &= samples.type.itemsize == 1 and frames * size % 2 == 0
    missing = min(missing, size - 1) if not pairs else 0
    order = Order(samples, planar, big_endian and samples.type.itemsize > 1, pairs, missing)
    data = b"head" + np.random.default_rng(frames).bytes(frames * size - missing)
    data += b"" if missing else b"tail"
    reading = SamplesReading(order, start=4, rows=rows, columns=columns, frames=frames)
    blocks = list(reading.read(io.BytesIO(data)))
    assert all(len(block) == reading.planes == samples.planes for block in blocks)
    assert all(8 * plane.dtype.itemsize == reading.bits for block in blocks for plane in block)
    whole = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    assert whole[0].shape == (frames, rows, columns)
    edges = [0, *(edge for edge in np.cumsum(cuts).tolist() if edge < frames), frames]
    again = ([plane[a:b] for plane in whole] for a, b in pairwise(edges))
    assert b"".join(Samples().write(reading.kept, again)) == data


def test_a_file_that_is_too_short():
    order = Order(Map(Kind.SAME, np.dtype("u1"), 3))
    reading = SamplesReading(order, start=0, rows=2, columns=2, frames=3)
    with pytest.raises(NotReproducible, match="shorter than its header says"):
        list(reading.read(io.BytesIO(bytes(35))))


def test_a_byte_that_has_no_pair():
    kept = Kept(b"", Order(Map(Kind.SAME, np.dtype("u1"), 1), pairs=True).encoded(), b"")
    with pytest.raises(DamagedError, match="their number is odd"):
        list(Samples().write(kept, iter([[np.zeros((3, 1, 1), "u1")]])))
    assert b"".join(Samples().write(kept, iter([[np.array([[[1]], [[2]]], "u1")]]))) == b"\2\1"
