"""The images of a volume as what the codec reads it from: each file once for what must be known of all, then as many
slices of it as a slab has, when that is coded."""

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

Around = tuple[bytes, bytes]  # the bytes of a file before and after its pixels


class Stack:
    """A `Source` [Z, Y, X], once all that `files` yields has been taken."""

    def __init__(self, images: list[Image]) -> None:
        first = images[0]
        self._images = images
        self._begins = [0, *accumulate(image.frames for image in images)]  # first slice of every image, and the last's
        self.shape = (self._begins[-1], first.rows, first.columns)
        self.dtype = self._words = np.dtype("<u2" if first.bits == 16 else "u1")
        self._low, self._counts = 0, np.zeros(1 << first.bits, np.int64)
        self._sha = hashlib.sha256()
        self._checksums: list[int] = []  # of the slices as they stand in the files

    @property
    def sha256(self) -> bytes:
        """Of the voxels, little-endian in C order."""
        return self._sha.digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """The least value, and how often it and each one up to the greatest occur: int64 [range]."""
        return self._low, self._counts

    def files(self) -> Iterator[tuple[Entry, Around]]:
        """Read every file once; yields what the manifest says of it, and the bytes around its pixels."""
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
        """The slices `first` to `end` - 1 [z, Y, X], read anew; they must be as they were."""
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
    """Whether words are signed ("i") or unsigned ("u"), whichever has the smaller range of values, on a tie as the
    header says; their lowest value; and how often each value from there to the highest occurs, int64 [values].

    Where unused bits hold rubbish, or a writer has not extended the sign, the header's type may span far more values.
    `counts` int64 [2^8 or 2^16] are those of the words, taken as unsigned.
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
