"""The images of a volume as a `VoxelSource` of the codec.

Each file is read once for type, histogram and SHA-256, and a second time slab by slab, when a slab is encoded.
"""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from io import BufferedReader
from itertools import accumulate

import numpy as np

from ..errors import UnsupportedError
from ..formats.protocol import Image
from .manifest import Entry
from .tree import source_errors

Around = tuple[bytes, bytes]  # the bytes of a file before and after its voxels


class Stack:
    """A `VoxelSource` [Z, Y, X], valid when `files` is exhausted."""

    def __init__(self, images: list[Image]) -> None:
        first = images[0]
        self._images = images
        self._begins = [0, *accumulate(image.frames for image in images)]  # first slice of every image, and the end
        self.shape = (self._begins[-1], first.rows, first.columns)
        self.dtype = self._words = np.dtype("<u2" if first.bits == 16 else "u1")
        self._low, self._counts = 0, np.zeros(1 << first.bits, np.int64)
        self._sha = hashlib.sha256()
        self._checksums: list[int] = []  # CRC-32 of the slices, in the byte order of the files

    @property
    def sha256(self) -> bytes:
        """Return the SHA-256 of the voxels, little-endian in C order."""
        return self._sha.digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """Return the least value, and the counts of all values from it to the greatest: int64 [range]."""
        return self._low, self._counts

    def files(self) -> Iterator[tuple[Entry, Around]]:
        """Read every file once; yield its entry in the manifest, and the bytes around its voxels."""
        for image in self._images:
            with source_errors(image.path), image.path.open("rb") as file:
                yield self._read(image, file)
        kind, self._low, self._counts = kind_of(self._counts, self._images[0].signed)
        self.dtype = np.dtype(self._words.str.replace("u", kind))

    def _read(self, image: Image, file: BufferedReader) -> tuple[Entry, Around]:
        before = file.read(image.start)
        sha, size = hashlib.sha256(before), len(before)
        frame = np.empty(self.shape[1:], self._words)
        for _ in range(image.frames):
            size += file.readinto(frame.reshape(-1).view(np.uint8).data)
            sha.update(frame.data)
            self._checksums.append(zlib.crc32(frame.data))
            if image.big_endian:
                frame.byteswap(inplace=True)
            self._sha.update(frame.data)
            self._counts += np.bincount(frame.reshape(-1), minlength=len(self._counts))
        after = file.read(image.size)
        size += len(after)
        sha.update(after)
        if size != image.size or len(after) != image.size - image.start - image.pixel_bytes:
            raise _changed(image)
        swapped = image.big_endian and image.bits == 16
        return Entry(image.name, size, sha.digest(), image.frames, len(before), swapped), (before, after)

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read slices `first` to `end` - 1 [z, Y, X] again. Raises UnsupportedError if they have changed."""
        words = np.empty((end - first, *self.shape[1:]), self._words)
        at = first
        while at < end:
            number = bisect_right(self._begins, at) - 1
            image, begin = self._images[number], self._begins[number]
            frames = words[at - first : min(end, begin + image.frames) - first]
            with source_errors(image.path), image.path.open("rb") as file:
                file.seek(image.start + (at - begin) * frames[0].nbytes)
                file.readinto(frames.reshape(-1).view(np.uint8).data)
            if any(zlib.crc32(frame.data) != self._checksums[at + i] for i, frame in enumerate(frames)):
                raise _changed(image)
            if image.big_endian:
                frames.byteswap(inplace=True)
            at += len(frames)
        return words.view(self.dtype)


def kind_of(counts: np.ndarray, signed: bool) -> tuple[str, int, np.ndarray]:
    """Return whether words are signed ("i") or unsigned ("u"), their lowest value, and their histogram.

    The type with the smaller range of values is taken, on a tie that of the header. The header's type may span far more
    values if unused bits hold rubbish, or if a writer has not extended the sign.

    Parameters:
        counts: int64 [2^8 or 2^16], of the words, taken as unsigned.
        signed: whether the header states signed words.

    Returns:
        "i" or "u"; the lowest value; the count of each value from it to the highest, int64 [values].
    """
    half = len(counts) // 2
    kinds = {"u": (0, counts), "i": (-half, np.roll(counts, half))}
    used = {kind: np.flatnonzero(of_kind) for kind, (_, of_kind) in kinds.items()}
    ranges = {kind: places[-1] - places[0] for kind, places in used.items()}
    kind = "i" if ranges["i"] < ranges["u"] or (ranges["i"] == ranges["u"] and signed) else "u"
    low, counts = kinds[kind]
    first, last = used[kind][[0, -1]].tolist()
    return kind, low + first, counts[first : last + 1]


def _changed(image: Image) -> UnsupportedError:
    return UnsupportedError(f"{image.path} changed while it was being read; try again when it is at rest")
