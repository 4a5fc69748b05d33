"""An image's samples to the segments of its code blocks, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import DamagedError
from ..protocol import NotReproducible
from . import blocks, ht_decode, ht_encode, mq, tier1_decode, tier1_encode, wavelet
from .codestream import Size
from .geometry import Geometry
from .packets import NEXT, Reading


class Segments(NamedTuple):
    """The segments of all blocks.

    data uint8               one after the other
    lengths int32 [blocks]   their bytes
    coded int32 [blocks, 2]  bit planes and passes
    """

    data: np.ndarray
    lengths: np.ndarray
    coded: np.ndarray

    @property
    def ends(self) -> np.ndarray:
        """Where each segment ends, int64 [blocks]."""
        return np.cumsum(self.lengths, dtype=np.int64)


def sample_type(size: Size) -> np.dtype:
    """Return the type of an image's samples."""
    return np.dtype(f"{'i' if size.signed else 'u'}{1 if size.precision <= 8 else 2}")


def _shift(size: Size) -> int:
    return 0 if size.signed else 1 << (size.precision - 1)


def gather(data: np.ndarray, geometry: Geometry, reading: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put the pieces of each block together: bytes with what the decoder needs between them, begins and lengths."""
    pieces = reading.pieces[: reading.state[NEXT + 2]]
    lengths = np.zeros(len(geometry.blocks), np.int64)
    np.add.at(lengths, pieces[:, 0], pieces[:, 2])
    begins = np.cumsum(lengths + mq.SEGMENT_END) - lengths - mq.SEGMENT_END
    out = np.full(int(lengths.sum()) + mq.SEGMENT_END * len(lengths) + mq.SEGMENT_END, 0xFF, np.uint8)
    at = begins.tolist()
    for block, begin, size in pieces.tolist():
        out[at[block] : at[block] + size] = data[begin : begin + size]
        at[block] += size
    return out, begins, lengths


class Decoded(NamedTuple):
    """What segments tell.

    samples                     [components, Y, X]
    own int32 [blocks]          bit planes that blocks have
    same int64 [blocks, 2]      bytes that `encode` makes of each block, and how many of the first ones the segment has
    short                       whether that is with short ends
    """

    samples: np.ndarray
    own: np.ndarray
    same: np.ndarray
    short: bool


def decode(
    size: Size, geometry: Geometry, coded: np.ndarray, data: np.ndarray, begins: np.ndarray, lengths: np.ndarray
) -> Decoded:
    """Decode segments that lie in data; NotReproducible where samples do not determine the coefficients."""
    count = len(geometry.blocks)
    planes = np.empty(geometry.planes, np.int32)
    own, same = np.zeros(count, np.int32), np.zeros((count, 2, 2), np.int64)
    if geometry.high:
        if (coded[:, 0] > 1).any():
            raise NotReproducible("its code blocks have more than one pass")
        if not ht_decode.decode(
            geometry.blocks, coded, data, begins, lengths, ht_encode.scratch(), planes, own, same[:, 0]
        ):
            raise NotReproducible("one of its code blocks is damaged")
    else:
        tier1_decode.decode(
            geometry.blocks, coded, geometry.styles, data, begins, lengths, blocks.scratch(), planes, own, same
        )
    coefficients = planes.copy()
    wavelet.inverse(geometry.rectangles, size.y0, size.x0, np.empty(planes[0].size, np.int32), planes)
    samples = np.empty(geometry.planes, sample_type(size))
    info = np.iinfo(samples.dtype)
    if not wavelet.to_samples(
        planes, _shift(size), geometry.tiles, geometry.transformed, int(info.min), int(info.max), samples
    ):
        raise NotReproducible("its samples exceed their type")
    del planes  # images may be large
    if not np.array_equal(transform(size, geometry, samples), coefficients):
        raise NotReproducible("its coefficients do not come back identical")
    if geometry.high:
        return Decoded(samples, own, same[:, 0], False)
    differ = ((same[:, :, 0] != same[:, :, 1]) | (lengths[:, None] != same[:, :, 1])).sum(axis=0)
    short = bool(differ[1] < differ[0])
    return Decoded(samples, own, same[:, int(short)], short)


def transform(size: Size, geometry: Geometry, samples: np.ndarray) -> np.ndarray:
    """Return the wavelet coefficients int32 [components, Y, X] of samples."""
    planes = np.empty(geometry.planes, np.int32)
    wavelet.from_samples(samples, _shift(size), geometry.tiles, geometry.transformed, planes)
    wavelet.forward(geometry.rectangles, size.y0, size.x0, np.empty(planes[0].size, np.int32), planes)
    return planes


def encode(geometry: Geometry, planes: np.ndarray, wanted: np.ndarray, short: bool) -> Segments:
    """Encode coefficients, each block with as many bit planes and passes as wanted (int32 [blocks, 2]), -1 for all.

    If short, segments end with the fewest bytes (`mq.flush_short`).

    Raises DamagedError where a block has more bit planes than wanted.
    """
    count = len(geometry.blocks)
    coded, lengths = np.zeros((count, 2), np.int32), np.zeros(count, np.int32)
    out = np.empty(planes.size * 2 + (1 << 10), np.uint8)
    scratch, high = blocks.scratch(), ht_encode.scratch()
    done, at = 0, 0
    while True:
        if geometry.high:
            done, at = ht_encode.encode(planes, geometry.blocks, wanted, high, done, at, coded, lengths, out)
        else:
            done, at = tier1_encode.encode(
                planes, geometry.blocks, wanted, geometry.styles, short, scratch, done, at, coded, lengths, out
            )
        if done == count:
            break
        out = np.concatenate([out[:at], np.empty(at + scratch.out.size, np.uint8)])
    if coded[:, 0].min(initial=0) < 0:
        raise DamagedError("the samples of a JPEG 2000 stream are not those of its headers")
    return Segments(out[:at], lengths, coded)
