"""Files that are kept whole are no larger than under xz, whatever the size of their words."""

import lzma
import zlib

import numpy as np
import pytest

from volcomp.archive.bytes_codec import CHUNK_BYTES, pack_blob, unpack
from volcomp.wire.cursor import varint

WALK = np.cumsum(np.random.default_rng(0).normal(size=60_000))
RAW = {
    "f8": np.round(WALK, 3).astype("<f8").tobytes(),
    "f4": np.round(WALK, 2).astype("<f4").tobytes(),
    "i2": (3 * WALK).astype("<i2").tobytes(),
    "text": ("\n".join(f"{x:.2f}" for x in WALK)).encode(),
    "noise": np.random.default_rng(1).bytes(100_000),
    "empty": b"",
}


@pytest.mark.parametrize("kind", RAW)
def test_what_is_packed_is_no_larger_than_under_xz(kind: str) -> None:
    raw = RAW[kind]
    packed = pack_blob(raw)
    assert unpack(packed, "it") == raw
    assert len(packed) <= len(lzma.compress(raw, preset=6))


@pytest.mark.parametrize("contexts", [(3, 0, 0), (3, 1, 1), (2, 2, 2), (0, 3, 3), (0, 4, 4)])
def test_a_reader_needs_no_contexts(contexts: tuple[int, int, int]) -> None:
    """So releases before 0.11.0, which knew one kind, read all of them."""
    raw = RAW["f8"]
    lc, lp, pb = contexts
    filters = [{"id": lzma.FILTER_LZMA2, "lc": lc, "lp": lp, "pb": pb, "dict_size": 1 << 19}]
    packed = bytes([2]) + varint(len(raw)) + lzma.compress(raw, lzma.FORMAT_RAW, filters=filters)
    assert unpack(packed, "it") == raw


def test_words_are_told_in_large_chunks_too() -> None:
    assert len(raw := RAW["f8"] * 3) < CHUNK_BYTES
    assert len(pack_blob(raw)) < 0.95 * len(zlib.compress(raw, 9))
