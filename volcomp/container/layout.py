"""Where the blocks of a protected file are, what a block of parity holds, and how many blocks a file gets.

A protected file is the archive, cut into blocks, then blocks of parity, then a copy of the index; `docs/format.md`,
"Parity", defines it. Here is no reading and writing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..dtypes import UInt32s
from ..errors import UnsupportedError
from .erasure import POINTS
from .sections import PARITY_SIGNATURE

BLOCK_BYTES = range(64, (1 << 20) + 1)
GROUPS = 1 << 16
_VERSION = 1
# Signature, version, k, t, number of the block in its group; block length, groups, group; the archive's bytes, SHA-256
_HEAD = struct.Struct("<8sBBBBIIIQ32s")
HEAD_BYTES = _HEAD.size
_CRC = struct.Struct("<I")
DESCRIPTION_BYTES = HEAD_BYTES + _CRC.size


@dataclass(frozen=True)
class Layout:
    """The division of a protected file into blocks. Block i of the file is in group i mod `groups`."""

    size: int  # bytes of the archive
    block: int  # bytes of a block of the archive; the last one may be shorter
    data: int  # blocks of the archive in a group, at most; k
    parity: int  # blocks of parity in a group; t
    groups: int
    sha256: bytes  # of the archive

    @property
    def blocks(self) -> int:
        """The number of blocks of the archive."""
        return -(-self.size // self.block)

    @property
    def parity_blocks(self) -> int:
        """The number of blocks of parity."""
        return self.parity * self.groups

    @property
    def length(self) -> int:
        """The bytes of a block of parity: head, a CRC-32 for each block of the archive, parity, CRC-32."""
        return HEAD_BYTES + _CRC.size * (self.data + 1) + self.block

    @property
    def end(self) -> int:
        """The bytes of the archive, all blocks of parity and the description after them."""
        return self.size + self.parity_blocks * self.length + DESCRIPTION_BYTES

    @property
    def stretch(self) -> int:
        """The bytes of the longest stretch that may be damaged wherever it begins.

        It touches as many blocks, one after the other, as there are of parity, if one of them is the archive's last.
        """
        last = self.size - (self.blocks - 1) * self.block
        return max(1, (self.parity_blocks - 2) * self.block + last + 1)

    def offset(self, group: int, number: int) -> int:
        """Return where a group's block of parity begins. Groups take turns as in the archive, without a break."""
        if number == self.parity:
            return self.end - DESCRIPTION_BYTES
        return self.size + (number * self.groups + (group - self.blocks) % self.groups) * self.length

    def is_possible(self) -> bool:
        """Return whether a file may have this layout."""
        return (
            self.size > 0
            and self.block in BLOCK_BYTES
            and 0 < self.groups <= min(GROUPS, self.blocks)
            and self.data == -(-self.blocks // self.groups)
            and self.parity > 0
            and self.data + self.parity <= POINTS
        )


@dataclass(frozen=True)
class Found:
    """A block of parity in a file, or with the number t the description: the head of one, alone."""

    layout: Layout
    group: int
    number: int
    offset: int

    @property
    def length(self) -> int:
        """Its bytes."""
        return self.layout.length if self.number < self.layout.parity else DESCRIPTION_BYTES

    @property
    def shift(self) -> int:
        """How many bytes it lies after its place."""
        return self.offset - self.layout.offset(self.group, self.number)


def write_block(layout: Layout, group: int, number: int, checksums: UInt32s, parity: bytes) -> bytes:
    """Make a block of parity; `checksums` uint32 [k] of its group's blocks of the archive (0 for one past the end)."""
    return _checked(_head(layout, group, number) + checksums.astype("<u4").tobytes() + parity)


def write_description(layout: Layout) -> bytes:
    """Make the description, for files whose blocks of parity are all damaged and the archive is not."""
    return _checked(_head(layout, 0, layout.parity))


def _head(layout: Layout, group: int, number: int) -> bytes:
    fields = (_VERSION, layout.data, layout.parity, number, layout.block, layout.groups, group, layout.size)
    return _HEAD.pack(PARITY_SIGNATURE, *fields, layout.sha256)


def _checked(body: bytes) -> bytes:
    return body + _CRC.pack(zlib.crc32(body))


def read_head(data: bytes, offset: int) -> Found | None:
    """Parse the head of a block of parity; None where it is impossible or of a later version."""
    if len(data) < HEAD_BYTES:
        return None
    _, version, k, t, number, block, groups, group, size, sha256 = _HEAD.unpack_from(data)
    layout = Layout(size, block, k, t, groups, sha256)
    if version != _VERSION or not layout.is_possible() or group >= groups or number > t:
        return None
    return Found(layout, group, number, offset)


def read_description(data: bytes) -> Layout | None:
    """Parse the description; None where it is damaged."""
    head = read_head(data, 0)
    return head.layout if head and len(data) == head.length and is_sound(data) else None


def is_sound(data: bytes) -> bool:
    """Return whether the checksum at the end of a block of parity fits."""
    return _CRC.pack(zlib.crc32(memoryview(data)[: -_CRC.size])) == data[-_CRC.size :]


def checksums_of(layout: Layout, data: bytes) -> UInt32s:
    """Return the CRC-32 of a group's blocks of the archive, uint32 [k], from a block of parity."""
    return np.frombuffer(data, "<u4", layout.data, HEAD_BYTES)


def parity_of(layout: Layout, data: bytes) -> memoryview:
    """Return the parity in a block of parity."""
    return memoryview(data)[-_CRC.size - layout.block : -_CRC.size]


def plan(size: int, share: float, sha256: bytes, rest: int) -> Layout:
    """Choose the smallest layout by which one stretch of `share` of the file may be damaged.

    Parameters:
        size: bytes of the archive.
        share: from 0.01 to 0.5.
        sha256: that of the archive.
        rest: bytes that follow the blocks of parity.

    Raises:
        UnsupportedError: for a file of terabytes.
    """
    longest = 1 << (size >> 12).bit_length()  # in large files, blocks are a few thousandths of a per cent
    longest = min(max(longest, 1 << 14), 1 << 16)
    while size > longest * GROUPS * POINTS // 4 and longest < BLOCK_BYTES[-1]:
        longest *= 2
    for groups in range(1, 5):
        if made := [*_few_groups(size, share, sha256, rest, groups, longest)]:
            break
    made = made or [*_many_groups(size, share, sha256, rest, longest)]
    if not made:
        raise UnsupportedError(f"an archive of {size} bytes is too large for parity")
    return min(made, key=lambda layout: layout.end)


def _few_groups(size: int, share: float, sha256: bytes, rest: int, groups: int, longest: int) -> Iterator[Layout]:
    """Yield for every number of blocks of parity in a group the layout with the shortest blocks."""
    for parity in range(2, POINTS):
        least = max(BLOCK_BYTES[0], int(share * size / (groups * parity - 1)))
        for blocks in range(max(1, min(groups * (POINTS - parity), size // least)), 0, -1):
            block = max(BLOCK_BYTES[0], -(-size // blocks))  # so that the last one is about as long
            if block > longest:
                break
            layout = _laid(size, block, parity, groups, sha256)
            if layout.is_possible() and _suffices(layout, share, rest):
                yield layout
                break


def _many_groups(size: int, share: float, sha256: bytes, rest: int, block: int) -> Iterator[Layout]:
    """Yield layouts whose groups are as large as they can be, so that as many places as possible may be damaged."""
    blocks = -(-size // block)
    least = max(2, int(POINTS * share))
    for parity in range(least, min(least + 4, POINTS)):
        groups = -(-blocks // (POINTS - parity))
        while groups <= min(GROUPS, blocks):
            layout = _laid(size, block, parity, groups, sha256)
            if _suffices(layout, share, rest):
                yield layout
                break
            groups += 1 + (groups >> 10)


def _laid(size: int, block: int, parity: int, groups: int, sha256: bytes) -> Layout:
    return Layout(size, block, -(-size // (block * groups)), parity, groups, sha256)


def _suffices(layout: Layout, share: float, rest: int) -> bool:
    return layout.stretch >= share * (layout.end + rest)
