"""Parity: blocks after an archive from which its damaged blocks are made again. `layout.py` says where they are."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from ..dtypes import Int64s, UInt32s
from ..errors import DamagedError
from ..progress import progress_bar
from ..wire.cursor import Cursor, varint
from . import erasure, layout
from .layout import Found, Layout
from .sections import END_MARK, PARITY, PARITY_SIGNATURE, SIGNATURE, ending

_STEP = 1 << 20  # bytes read at a time
_SECTOR = 1 << 12  # bytes that a disk fails to read at once
_HEADER_BYTES, _FOOTER_BYTES = 12, 12
_MOST_SHIFTS = 16  # places where blocks are looked for, in a file that has lost or gained bytes


@dataclass
class Health:
    """The state of a protected file. Blocks that cannot be checked, since their group has no parity left, are sound.

    places int64 [blocks]      where each block of the archive is; -1: damaged
    parity int64 [groups, t]   where each block of parity is; -1: damaged
    """

    layout: Layout
    places: Int64s
    parity: Int64s
    size: int  # bytes of the file
    altered: bool = False  # no block is damaged, but something is out of its place, at the end, or not of its SHA-256
    damaged: int = field(init=False)  # blocks, of both kinds
    _archive: Int64s = field(init=False)  # int64 [groups], damaged blocks of the archive
    _left: Int64s = field(init=False)  # int64 [groups], sound blocks of parity

    def __post_init__(self) -> None:
        bad = np.flatnonzero(self.places < 0)
        self._archive = np.bincount(bad % self.layout.groups, minlength=self.layout.groups)
        self._left = (self.parity >= 0).sum(axis=1)
        self.damaged = bad.size + int((self.parity < 0).sum())

    @property
    def blocks(self) -> int:
        """The number of blocks of the file."""
        return self.layout.blocks + self.layout.parity_blocks

    @property
    def is_sound(self) -> bool:
        """Whether every byte of the file is what was written."""
        return not (self.damaged or self.altered)

    @property
    def is_repairable(self) -> bool:
        """Whether every group has blocks enough."""
        return bool((self._archive <= self._left).all())

    @property
    def worst(self) -> int:
        """How many blocks of the group with the most damaged ones are damaged."""
        return int((self._archive + self.layout.parity - self._left).max())


class _Source:
    """A file that may have become shorter and may be unreadable in places, which read as zeros."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes from an offset on, fewer where the file ends and none before its beginning."""
        count = min(count, self.size - offset)
        if offset < 0 or count <= 0:
            return b""
        try:
            self._file.seek(offset)
            data = self._file.read(count)
        except OSError:
            if count <= _SECTOR:
                return bytes(count)
            half = count // 2
            return self.read(offset, half) + self.read(offset + half, count - half)
        # Before an unreadable sector a read may end early.
        return data + self.read(offset + len(data), count - len(data)) if 0 < len(data) < count else data


def sha256_of(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256 of the first bytes of a file."""
    source, sha = _Source(file), hashlib.sha256()
    for offset in range(0, size, _STEP):
        sha.update(source.read(offset, min(_STEP, size - offset)))
    return sha.digest()


def index_of(file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """Return the header and the index of an archive, the first bytes of a file; DamagedError where it has none."""
    source = _Source(file)
    header, footer = source.read(0, _HEADER_BYTES), source.read(size - _FOOTER_BYTES, _FOOTER_BYTES)
    length = struct.unpack("<I", footer[:4])[0] if len(footer) == _FOOTER_BYTES else size
    if length > size - _HEADER_BYTES - _FOOTER_BYTES or not footer.endswith(END_MARK):
        raise DamagedError("the archive has no index")
    return header, source.read(size - _FOOTER_BYTES - length, length)


def append(file: BinaryIO, size: int, share: float) -> Layout:
    """Write parity after an archive.

    Parameters:
        file: of any length, to read and write; what follows the archive is replaced.
        size: bytes of the archive, which is sound.
        share: how much of the file may be damaged in one stretch, from 0.01 to 0.5.

    Raises:
        UnsupportedError: for a file of terabytes.
    """
    header, index = index_of(file, size)
    rest = len(_ending(header, index, size, 1 << 62))
    planned = layout.plan(size, share, sha256_of(file, size), rest)
    write(file, planned)
    return planned


def write(file: BinaryIO, planned: Layout) -> None:
    """Write the parity of a layout after its archive, and end the file with it."""
    source = _Source(file)
    for first, end in _ranges(planned):
        length = (end - first) * planned.block
        points = range(planned.data + planned.parity)
        sums = erasure.Sums(erasure.coefficients(points[: planned.data], points[planned.data :]), length)
        checksums = np.zeros((end - first, planned.data), np.uint32)
        for number in range(planned.data):
            start = (number * planned.groups + first) * planned.block
            piece = source.read(start, max(0, min(length, planned.size - start)))
            sums.add(number, piece)
            for group, offset in enumerate(range(0, len(piece), planned.block)):
                checksums[group, number] = zlib.crc32(piece[offset : offset + planned.block])
        for number in range(planned.parity):
            parity = memoryview(sums.output(number))
            for group in range(first, end):
                offset = (group - first) * planned.block
                block = bytes(parity[offset : offset + planned.block])
                file.seek(planned.offset(group, number))
                file.write(layout.write_block(planned, group, number, checksums[group - first], block))
    header, index = index_of(file, planned.size)
    file.seek(planned.offset(0, planned.parity))
    file.write(layout.write_description(planned) + _ending(header, index, planned.size, planned.end))
    file.truncate()


def _ranges(planned: Layout) -> Iterator[tuple[int, int]]:
    """Cut the groups into ranges whose sums take some tens of megabytes; see `erasure.Sums`."""
    words = -(-planned.parity // 8) + 2
    count = max(1, (2 * _STEP) // (words * planned.block))
    with progress_bar("adding parity", planned.size, "B") as progress:
        for first in range(0, planned.groups, count):
            end = min(first + count, planned.groups)
            yield first, end
            progress(planned.size * (end - first) // planned.groups)


def _ending(header: bytes, index: bytes, size: int, end: int) -> bytes:
    """Return the last bytes of a file: its index with one entry more, for all from its own index to the last block."""
    cursor = Cursor(index, "index")
    count = varint(cursor.varint() + 1)
    length = varint(end - (size - len(index) - _FOOTER_BYTES))
    return ending(header, count + cursor.rest() + b"\xff" + PARITY + varint(0) + varint(0) + length)


def find(file: BinaryIO, start: int = 0) -> Iterator[Found]:
    """Yield the sound blocks of parity in a file, from an offset on, of whichever archive."""
    source, offset = _Source(file), start
    budget = 8 * source.size + _STEP  # bounds the work for a file made of false heads, else quadratic
    while offset < source.size and budget > 0:
        window = source.read(offset, _STEP + layout.HEAD_BYTES)
        at = window.find(PARITY_SIGNATURE)
        while 0 <= at < _STEP and budget > 0:
            head = layout.read_head(window[at : at + layout.HEAD_BYTES], offset + at)
            following = at + 1
            if head and head.offset + head.length <= source.size:
                budget -= head.length
                if layout.is_sound(source.read(head.offset, head.length)):
                    yield head
                    following = at + head.length
            at = window.find(PARITY_SIGNATURE, following) if following < _STEP else following
        offset += max(at, _STEP)


def examine(file: BinaryIO) -> Health | None:
    """Compare a file with its parity; None where no block of parity is in it."""
    planned = choose(file)
    if planned is None:
        return None
    source = _Source(file)
    parity, found_shifts = _collect(file, planned)
    checksums, known = _checksums(source, planned, parity), (parity >= 0).sum(axis=1) > 0
    shifts = sorted(found_shifts - {0})
    shift = 0
    places = np.empty(planned.blocks, np.int64)
    with progress_bar("checking", planned.size, "B") as progress:
        for number, piece in _pieces(source, planned):
            group = number % planned.groups
            length = min(planned.block, planned.size - number * planned.block)
            places[number] = number * planned.block + shift
            if known[group]:
                wanted = checksums[group, number // planned.groups]
                if shift or len(piece) != length or zlib.crc32(piece) != wanted:
                    shift, places[number] = _moved(source, number * planned.block, length, wanted, shift, shifts)
            progress(length)
    if places[0] > 0 and source.read(0, len(SIGNATURE)) == SIGNATURE:
        return None  # the parity is that of an archive in this archive
    health = Health(planned, places, parity, source.size)
    if not health.damaged:
        health.altered = not _is_whole(file, source, health)
    return health


def choose(file: BinaryIO) -> Layout | None:
    """Return the layout of a file: archives in an archive may have parity as well.

    The last one counts, but one that is in its place more.
    """
    size = file.seek(0, os.SEEK_END)
    chosen, in_place = None, False
    for block in find(file):
        if block.layout.end <= 2 * size + _STEP and (block.shift == 0 or not in_place):
            chosen, in_place = block.layout, block.shift == 0
    return chosen


def _collect(file: BinaryIO, planned: Layout) -> tuple[Int64s, set[int]]:
    """Return where the blocks of parity are, int64 [groups, t], -1 for a damaged one; and how far from their places."""
    parity, shifts = np.full((planned.groups, planned.parity), -1, np.int64), set[int]()
    for block in find(file):
        if block.layout == planned:
            if block.number < planned.parity and (block.shift == 0 or parity[block.group, block.number] < 0):
                parity[block.group, block.number] = block.offset
            if len(shifts) < _MOST_SHIFTS:
                shifts.add(block.shift)
    return parity, shifts


def _checksums(source: _Source, planned: Layout, parity: Int64s) -> UInt32s:
    """Return the CRC-32 of every block of the archive, uint32 [groups, k]; zeros for a group without parity."""
    table = np.zeros((planned.groups, planned.data), np.uint32)
    for group in np.flatnonzero((parity >= 0).sum(axis=1)):
        table[group] = layout.checksums_of(planned, source.read(int(parity[group].max()), planned.length))
    return table


def _pieces(source: _Source, planned: Layout) -> Iterator[tuple[int, memoryview]]:
    """Yield every block of the archive from its place."""
    step = max(1, _STEP // planned.block)
    for first in range(0, planned.blocks, step):
        count = min(step, planned.blocks - first)
        start = first * planned.block
        piece = memoryview(source.read(start, min(count * planned.block, planned.size - start)))
        for number in range(count):
            yield first + number, piece[number * planned.block : (number + 1) * planned.block]


def _moved(source: _Source, offset: int, length: int, wanted: int, shift: int, shifts: list[int]) -> tuple[int, int]:
    """Look for a block behind bytes lost or inserted; return the shift from here on, and its place or -1."""
    for tried in (shift, 0, *shifts):
        piece = source.read(offset + tried, length)
        if len(piece) == length and zlib.crc32(piece) == wanted:
            return tried, offset + tried
    return shift, -1


def _is_whole(file: BinaryIO, source: _Source, health: Health) -> bool:
    """Return whether a file with no damaged block has all in its place, and nothing else."""
    planned = health.layout
    if not (health.places == np.arange(planned.blocks) * planned.block).all():
        return False
    if any(
        health.parity[group, number] != planned.offset(group, number)
        for group in range(planned.groups)
        for number in range(planned.parity)
    ):
        return False
    try:
        ending = _ending(*index_of(file, planned.size), planned.size, planned.end)
    except DamagedError:
        return False
    last, start = layout.write_description(planned) + ending, planned.offset(0, planned.parity)
    same = source.size == start + len(last) and source.read(start, len(last)) == last
    return same and sha256_of(file, planned.size) == planned.sha256


def restore(file: BinaryIO, health: Health, target: BinaryIO) -> None:
    """Write the file as it was made.

    Raises:
        DamagedError: for more damage than can be repaired, or where what comes out is not the archive; `target` then
            holds nothing of use.
    """
    planned, source = health.layout, _Source(file)
    if not health.is_repairable:
        raise DamagedError(
            f"{health.damaged} of its {health.blocks} blocks are damaged, {health.worst} of them in one group, where "
            f"{planned.parity} may be"
        )
    for number in range(planned.blocks):
        length = min(planned.block, planned.size - number * planned.block)
        place = int(health.places[number])
        target.write(source.read(place, length).ljust(length, b"\0") if place >= 0 else bytes(length))
    bad = np.flatnonzero(health.places < 0)
    with progress_bar("repairing", bad.size, "block") as progress:
        bad = bad[np.argsort(bad % planned.groups, kind="stable")]
        groups, starts = np.unique(bad % planned.groups, return_index=True)
        for group, missing in zip(groups.tolist(), np.split(bad // planned.groups, starts[1:]), strict=False):
            _restore_group(source, health, group, missing.tolist(), target)
            progress(missing.size)
    if sha256_of(target, planned.size) != planned.sha256:
        raise DamagedError("what its parity gives is not the archive that was protected")
    write(target, planned)


def _restore_group(source: _Source, health: Health, group: int, missing: list[int], target: BinaryIO) -> None:
    """Write the missing blocks of a group to their places."""
    planned = health.layout
    used = np.flatnonzero(health.parity[group] >= 0)[: len(missing)].tolist()
    known = [number for number in range(planned.data) if number not in missing]
    points = known + [planned.data + number for number in used]
    sums = erasure.Sums(erasure.coefficients(points, missing), planned.block)
    for at, number in enumerate(known):
        block = number * planned.groups + group
        if block < planned.blocks:
            length = min(planned.block, planned.size - block * planned.block)
            sums.add(at, source.read(int(health.places[block]), length))
    for at, number in enumerate(used, len(known)):
        block_of_parity = source.read(int(health.parity[group, number]), planned.length)
        sums.add(at, layout.parity_of(planned, block_of_parity))
    for at, number in enumerate(missing):
        block = number * planned.groups + group
        target.seek(block * planned.block)
        target.write(sums.output(at)[: planned.size - block * planned.block])
    target.seek(0, os.SEEK_END)
