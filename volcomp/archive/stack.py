"""The images of a series as `Source`s of the codec: one for each plane.

Each file is read once for its digest, the types and the histograms of its planes. Native voxels are read a second time,
slab by slab, when a slab is encoded. Other bodies are decoded once, into a temporary file that the slabs are read from,
and made again from there at once: an image whose bytes do not come back is given up and kept whole.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from ..bodies import samples
from ..bodies.planes import Kind as PlaneKind
from ..bodies.planes import Map
from ..bodies.protocol import Kept, Planes
from ..errors import UnsupportedError
from ..formats.protocol import Image
from ..streams.protocol import NotReproducible
from .attempt import TOO_MUCH, Attempt, check, tried
from .entry import Voxels
from .files import target_errors
from .header_writer import MAX_RECORD_BYTES
from .tree import changed, source_errors

# Levels beyond the bits of the picture, such as one for the padding around it, that are no reason to split words.
_MOST_LEVELS_BEYOND = 64
_BLOCK_BYTES = 1 << 22  # of planes that are read at once from the temporary file


@dataclass(frozen=True)
class Coded:
    """An image that is coded as voxels, and what is kept beside them."""

    image: Image
    size: int
    sha256: bytes
    kept: Kept
    body: int  # number of the body codec
    first: int  # slice of the stack
    frames: int
    picture: bytes  # shape, type, and digests of the voxels of all planes
    new: bool  # else the archive has these voxels, or all of the file, already, and the stack does not


@dataclass(frozen=True)
class GivenUp:
    """An image that is no part of the stack."""

    image: Image
    reason: str  # why it must be kept whole
    instead: Image | None = None  # the same file, to be read in another way


@dataclass(frozen=True)
class _Part:
    """The slices of one image in a stack."""

    image: Image
    first: int
    frames: int
    checksums: tuple[int, ...] = ()  # of native slices: CRC-32, in the byte order of the file
    spooled: int | None = None  # first slice in the temporary files; None of native ones

    @property
    def end(self) -> int:
        """Return the slice after its last one."""
        return self.first + self.frames


class Stack:
    """The images of one series; valid when `read` is exhausted."""

    def __init__(self, images: list[Image], threads: int | None) -> None:
        self._images, self._threads = images, threads
        first = images[0]
        self.planes = [Plane(self, number, first) for number in range(first.planes)]
        self._parts: list[_Part] = []  # of new images, in the order of their slices
        self._spools: list[BinaryIO] = []  # a temporary file for each plane, once one is needed
        self._spooled = 0  # slices in each
        self._files: Container[bytes] = ()
        self._lock = Lock()

    @property
    def depth(self) -> int:
        """Return the number of slices."""
        return self._parts[-1].end if self._parts else 0

    def close(self) -> None:
        """Remove the temporary files."""
        for spool in self._spools:
            spool.close()

    def read(self, known: Mapping[bytes, Voxels], files: Container[bytes] = ()) -> Iterator[Coded | GivenUp]:
        """Read every file once; yield what becomes of it.

        Parameters:
            known: the pictures that the archive has already, by their digest. Those of this stack are added by the
                caller, before the next image is asked for.
            files: the SHA-256 of the files that the archive has already, likewise.
        """
        self._files = files
        with closing(tried(self._images, self._threads)) as attempts:
            for image, attempt in attempts:
                try:
                    if attempt:
                        outcome = self._tried(image, attempt(), known)
                    elif image.reading:
                        outcome = self._streamed(image, known)
                    else:
                        outcome = self._native(image, known)
                except _MoreBits:
                    yield GivenUp(image, "", _with_bits_apart(image))
                except NotReproducible as error:
                    yield GivenUp(image, str(error))
                except UnsupportedError:  # of reading: raised again where the file is kept whole. No path is noted
                    yield GivenUp(image, "it could not be read, or changed while it was")
                else:
                    yield outcome
        for plane in self.planes:
            plane.finish(signed=self._images[0].signed)

    def _native(self, image: Image, known: Mapping[bytes, Voxels]) -> Coded:
        if image.size - image.pixel_bytes > MAX_RECORD_BYTES:
            raise NotReproducible(TOO_MUCH)
        with source_errors(image.path), image.path.open("rb") as file:
            return self._read_native(image, file, known)

    def _read_native(self, image: Image, file: BinaryIO, known: Mapping[bytes, Voxels]) -> Coded:
        plane = self.planes[0]
        before = file.read(image.start)
        sha, size = hashlib.sha256(before), len(before)
        frame = np.empty((image.rows, image.columns), plane.words)
        checksums: list[int] = []
        seen = plane.seen()
        for _ in range(image.frames):
            size += file.readinto(frame.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
            sha.update(frame.data)
            checksums.append(zlib.crc32(frame.data))
            if image.big_endian:
                frame.byteswap(inplace=True)
            seen.add(frame)
        after = file.read(image.size)
        size += len(after)
        sha.update(after)
        if size != image.size or len(after) != image.size - image.start - image.pixel_bytes:
            raise changed(image.path)
        if image.stored and _levels_beyond(seen.counts, image) > _MOST_LEVELS_BEYOND:
            raise _MoreBits
        number = 1 if image.big_endian and image.bits == 16 else 0
        part = _Part(image, self.depth, image.frames, tuple(checksums))
        return self._coded(image, size, sha.digest(), Kept(before, b"", after), number, [seen], part, known)

    def _tried(self, image: Image, attempt: Attempt, known: Mapping[bytes, Voxels]) -> Coded:
        begin, seen = self._spooled, [plane.seen() for plane in self.planes]
        self._spool(attempt.blocks, seen)
        return self._from_spools(image, attempt.sha256, attempt.kept, seen, begin, known)

    def _streamed(self, image: Image, known: Mapping[bytes, Voxels]) -> Coded:
        """Read an image that is too large for memory."""
        assert image.reading is not None
        begin, seen = self._spooled, [plane.seen() for plane in self.planes]
        try:
            with source_errors(image.path), image.path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").digest()
                self._spool(image.reading.read(file), seen)
            kept = image.reading.kept
            check(image, sha256, kept, self._spooled_blocks(begin))
        except (NotReproducible, UnsupportedError):
            self._forget(begin)
            raise
        return self._from_spools(image, sha256, kept, seen, begin, known)

    def _spool(self, blocks: Iterable[Planes], seen: list[_Seen]) -> None:
        """Append planes to the temporary files."""
        if not self._spools:
            with _spool_errors():
                self._spools = [tempfile.TemporaryFile() for _ in self.planes]  # noqa: SIM115 (`close` closes it)
        for planes in blocks:
            for plane, one, spool in zip(planes, seen, self._spools, strict=True):
                words = np.ascontiguousarray(plane)
                one.add(words)
                with _spool_errors():
                    spool.write(words.data)
            self._spooled += len(planes[0])

    def _from_spools(
        self, image: Image, sha256: bytes, kept: Kept, seen: list[_Seen], begin: int, known: Mapping[bytes, Voxels]
    ) -> Coded:
        """Take the slices of an image from `begin` on, unless the archive has them already."""
        assert image.reading is not None
        part = _Part(image, self.depth, self._spooled - begin, spooled=begin)
        coded = self._coded(image, image.size, sha256, kept, image.reading.number, seen, part, known)
        if not coded.new:
            self._forget(begin)
        return coded

    def _coded(
        self, image: Image, size: int, sha256: bytes, kept: Kept, number: int, seen: list[_Seen], part: _Part,
        known: Mapping[bytes, Voxels],
    ) -> Coded:  # fmt: skip
        """Take the slices of an image into the stack, unless the archive has them already."""
        shape = f"{part.frames} {image.rows} {image.columns} {self.planes[0].words.str} "
        picture = shape.encode() + b"".join(one.own.digest() for one in seen)
        new = picture not in known and sha256 not in self._files
        if new:
            self._parts.append(part)
            for plane, one in zip(self.planes, seen, strict=True):
                plane.take(one)
        return Coded(image, size, sha256, kept, number, part.first, part.frames, picture, new)

    def _forget(self, begin: int) -> None:
        """Cut the temporary files."""
        self._spooled = begin
        for plane, spool in zip(self.planes, self._spools, strict=False):  # there are none before the first block
            with _spool_errors():
                spool.seek(begin * plane.frame_bytes)
                spool.truncate()

    def _spooled_blocks(self, begin: int) -> Iterator[Planes]:
        """Yield planes from the temporary files, some frames at once."""
        count = max(1, _BLOCK_BYTES // self.planes[0].frame_bytes)
        for first in range(begin, self._spooled, count):
            end = min(first + count, self._spooled)
            yield [self._from_spool(number, first, end) for number in range(len(self.planes))]

    def _from_spool(self, number: int, first: int, end: int) -> np.ndarray:
        plane = self.planes[number]
        words = np.empty((end - first, *plane.shape[1:]), plane.words)
        with self._lock, _spool_errors():
            spool = self._spools[number]
            spool.seek(first * plane.frame_bytes)
            read = spool.readinto(words.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
            spool.seek(0, 2)
        if read != words.nbytes:
            raise UnsupportedError("a temporary file lost what was written to it; see that the disk is not full")
        return words

    def slices(self, number: int, first: int, end: int) -> np.ndarray:
        """Read slices `first` to `end` - 1 of a plane again, as words [z, Y, X]."""
        plane = self.planes[number]
        words = np.empty((end - first, *plane.shape[1:]), plane.words)
        at = first
        while at < end:
            part = self._parts[bisect_right(self._parts, at, key=lambda part: part.first) - 1]
            stop = min(end, part.end)
            frames = words[at - first : stop - first]
            if part.spooled is not None:
                begin = part.spooled + at - part.first
                frames[:] = self._from_spool(number, begin, begin + len(frames))
            else:
                _read_again(part, at - part.first, frames)
            at = stop
        return words


def _spool_errors() -> AbstractContextManager[None]:
    """Turn an OSError about a temporary file into a TargetError, which names their folder, not the archive."""
    return target_errors(Path(tempfile.gettempdir()))


class _MoreBits(Exception):
    """The words of an image hold more than the picture, such as an overlay in the upper bits."""


def _with_bits_apart(image: Image) -> Image:
    """Return an image that is read as two planes: the bits that are stored, and those above."""
    words = Map(PlaneKind.STORED, np.dtype("<u2" if image.bits == 16 else "u1"), 1, image.stored)
    order = samples.Order(words, big_endian=image.big_endian and image.bits == 16)
    reading = samples.SamplesReading(
        order, start=image.start, rows=image.rows, columns=image.columns, frames=image.frames
    )
    return replace(image, reading=reading, stored=0, signed=False)


def _levels_beyond(counts: np.ndarray, image: Image) -> int:
    """Count the levels that occur and need more bits than are stored."""
    values = np.flatnonzero(counts)
    if image.signed:
        half = 1 << (image.stored - 1)
        extended = (values + half) & (len(counts) - 1) < 2 * half
        return int(np.count_nonzero(~extended & (values >= 2 * half)))  # a writer may have left the sign as it was
    return int(np.count_nonzero(values >= 1 << image.stored))


class _Seen:
    """Statistics of one plane of one image."""

    def __init__(self, before: hashlib._Hash, values: int) -> None:
        self.own, self.with_earlier = hashlib.blake2b(digest_size=32), before.copy()
        self.counts = np.zeros(values, np.int64)

    def add(self, words: np.ndarray) -> None:
        """Add contiguous little-endian words."""
        self.own.update(words.data)
        self.with_earlier.update(words.data)
        self.counts += np.bincount(words.reshape(-1), minlength=len(self.counts))


class Plane:
    """One plane of a stack: a `Source` of the codec, little-endian [Z, Y, X]."""

    def __init__(self, stack: Stack, number: int, image: Image) -> None:
        self._stack, self._number, self._frame = stack, number, (image.rows, image.columns)
        self.dtype = self.words = np.dtype("<u2" if image.bits == 16 else "u1")
        self.frame_bytes = image.rows * image.columns * self.words.itemsize
        self._low, self._counts = 0, np.zeros(1 << image.bits, np.int64)
        self._sha = hashlib.sha256()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return Z, Y, X."""
        return (self._stack.depth, *self._frame)

    @property
    def sha256(self) -> bytes:
        """Return the SHA-256 of the voxels, little-endian in C order."""
        return self._sha.digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """Return the least value, and the counts of all values from it to the greatest: int64 [range]."""
        return self._low, self._counts

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read slices `first` to `end` - 1 [z, Y, X] again. Raises UnsupportedError if they have changed."""
        return self._stack.slices(self._number, first, end).view(self.dtype)

    def seen(self) -> _Seen:
        """Return statistics for another image."""
        return _Seen(self._sha, len(self._counts))

    def take(self, seen: _Seen) -> None:
        """Add an image to the statistics of the plane."""
        self._counts += seen.counts
        self._sha = seen.with_earlier

    def histogram_of(self, counts: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the histogram of some of the voxels, as `histogram`, by the counts of their words."""
        return _histogram(counts, self.dtype.kind)[1:]

    def finish(self, *, signed: bool) -> None:
        """Choose the type, when all images are in."""
        if self._stack.depth:
            kind, self._low, self._counts = kind_of(self._counts, signed)
            self.dtype = np.dtype(self.words.str.replace("u", kind))


def _read_again(part: _Part, first: int, frames: np.ndarray) -> None:
    """Fill `frames` from slice `first` of a native image."""
    image = part.image
    with source_errors(image.path), image.path.open("rb") as file:
        file.seek(image.start + first * frames[0].nbytes)
        file.readinto(frames.reshape(-1).view(np.uint8).data)
    if any(zlib.crc32(frame.data) != part.checksums[first + i] for i, frame in enumerate(frames)):
        raise changed(image.path)
    if image.big_endian:
        frames.byteswap(inplace=True)


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
    found = {kind: _histogram(counts, kind) for kind in ("u", "i")}
    ranges = {kind: len(of_kind) for kind, (_, _, of_kind) in found.items()}
    return found["i" if ranges["i"] < ranges["u"] or (ranges["i"] == ranges["u"] and signed) else "u"]


def _histogram(counts: np.ndarray, kind: str) -> tuple[str, int, np.ndarray]:
    """Return what `kind_of` does for words of one kind."""
    half = len(counts) // 2
    low, counts = (0, counts) if kind == "u" else (-half, np.roll(counts, half))
    first, last = np.flatnonzero(counts)[[0, -1]].tolist()
    return kind, low + first, counts[first : last + 1]
