"""Codes of quads are complete and consistent, and blocks of all shapes come back."""

import numpy as np
import pytest

from volcomp.streams.jpeg2000 import blocks, ht_decode, ht_encode
from volcomp.streams.jpeg2000.ht_tables import CODE_BITS, CONTEXTS, DECODE, ENCODE


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("context", range(CONTEXTS))
def test_codes_are_complete(rows, context):
    """Every 7 bits begin with one code, and each code is as frequent among them as its length says."""
    entries, counts = np.unique(DECODE[rows, context], return_counts=True)
    assert (entries & 7).all()
    np.testing.assert_array_equal(counts, 1 << (CODE_BITS - (entries & 7)))


@pytest.mark.parametrize("rows", [0, 1])
def test_every_quad_has_a_code_that_tells_what_it_is(rows):
    for context in range(CONTEXTS):
        for rho in range(16):
            for reached in range(16):
                more = reached != 0
                if reached & ~rho or (context == 0 and rho == 0):
                    continue
                code = int(ENCODE[rows, context, rho, int(more), reached])
                length, known, bits = code & 7, code >> 3 & 15, code >> 7
                assert length
                entry = int(DECODE[rows, context, bits])
                assert entry == length | rho << 3 | more << 7 | known << 8 | (reached & known) << 12


def _block(h: int, w: int, kind: str) -> np.ndarray:
    random = np.random.default_rng(h * 100 + w)
    plane = {
        "noise": random.integers(-700, 700, (h, w)),
        "sparse": random.integers(-3, 4, (h, w)) * (random.random((h, w)) < 0.05),
        "loud": random.integers(-(1 << 25), 1 << 25, (h, w)),
        "slope": np.add.outer(np.arange(h), np.arange(w)) ** 2 // 4 - 9,
        "last": np.arange(h * w).reshape(h, w) // (h * w - 1 or 1),
    }[kind]
    return plane[None].astype(np.int32)


@pytest.mark.parametrize("kind", ["noise", "sparse", "loud", "slope", "last"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 2), (3, 6), (64, 64), (4, 1024), (1024, 4), (13, 63)])
def test_blocks_come_back(shape, kind):
    h, w = shape
    planes = _block(h, w, kind)
    table = np.array([[0, 0, 0, h, w, 0, 20]], np.int32)
    assert table.shape[1] == blocks.FIELDS
    coded, lengths, out = np.zeros((1, 2), np.int32), np.zeros(1, np.int32), np.zeros(1 << 16, np.uint8)
    scratch = ht_encode.scratch()
    done, end = ht_encode.encode(planes, table, np.full((1, 2), -1, np.int32), scratch, 0, 0, coded, lengths, out)
    assert done == 1 and end == lengths[0]
    assert coded[0].tolist() == ([1, 1] if planes.any() else [0, 0])
    back, own, same = np.full_like(planes, 7), np.zeros(1, np.int32), np.zeros((1, 2), np.int64)
    begins = np.zeros(1, np.int64)
    assert ht_decode.decode(table, coded, out, begins, lengths.astype(np.int64), scratch, back, own, same)
    np.testing.assert_array_equal(back, planes)
    assert same[0].tolist() == [end, end]


def test_a_coefficient_that_is_too_large_is_none_of_a_block():
    planes = np.full((1, 4, 4), 1 << 26, np.int32)
    table = np.array([[0, 0, 0, 4, 4, 0, 20]], np.int32)
    coded, lengths, out = np.zeros((1, 2), np.int32), np.zeros(1, np.int32), np.zeros(1000, np.uint8)
    ht_encode.encode(planes, table, np.full((1, 2), -1, np.int32), ht_encode.scratch(), 0, 0, coded, lengths, out)
    assert coded[0, 0] == -1
