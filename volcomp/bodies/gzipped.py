"""Files with gzip members (RFC 1952) or a zlib stream (RFC 1950): what they inflate to is coded like any other image.

The inflated file is the first `start` bytes of the file, then what all its members inflate to. Another body codec makes
it; `before` and `after` are its bytes around the voxels. The kept side is

    start       varint
    body        byte: the number of the body codec that makes the inflated file; it is none that deflates itself
    side        string: its side
    members     varint: how many
    of each     string: the bytes before its deflate stream; byte: what follows the stream, 0 nothing, 1 CRC-32 and size
                as in gzip, 2 Adler-32 as in zlib; varint: how many bytes it inflates to; string: what is kept of the
                deflate stream
    rest        what follows the last member

A member whose checksum is wrong has none; its bytes stand before the next member, or in the rest.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError, UnsupportedError
from ..runtime.cpus import memory_limits
from ..streams.protocol import NotReproducible
from ..wire.cursor import Cursor, string, varint
from .protocol import Kept, KeptAtLast, Piece, Planes, Reading

NOTHING, GZIP, ZLIB = range(3)  # what follows the deflate stream of a member
LARGEST = (1 << 31) - 1  # bytes that a member inflates to; positions in it are 32-bit integers
# Reading holds the file and what it inflates to, twice for a moment where that is in several parts; writing holds the
# latter once. Some is left for what else the process does.
_SPARED = 256 << 20
_UPDATE = 1 << 20
DEFLATING = (4, 8, 9)  # numbers of body codecs that a gzipped file does not wrap
_FTEXT, _FHCRC, _FEXTRA, _FNAME, _FCOMMENT = (1 << bit for bit in range(5))  # flags of a gzip header


class Member(NamedTuple):
    """One deflate stream of a file."""

    head: bytes
    ending: int
    size: int  # of what it inflates to, bytes
    side: bytes


def deflated(raw: NDArray[np.uint8], members: list[Member]) -> Iterator[Piece]:
    """Yield members again, of all that they inflate to, uint8 [n]. Raises DamagedError."""
    from ..streams import deflate  # numba is imported when there is a stream to make

    at = 0
    for member in members:
        of_member = raw[at : at + member.size]
        at += member.size
        yield member.head
        yield from deflate.pieces(of_member, member.side)
        yield _ending(member.ending, of_member)


class Gzipped:
    """Body 8. It holds the inflated file in memory."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file; see `Body.write`."""
        from .registry import body  # which imports this module

        start, number, side, members, rest = _parse(kept.side)
        size = start + sum(member.size for member in members)
        inflated = bytearray()
        try:
            for piece in body(number).write(Kept(kept.before, side, kept.after), planes):
                if len(inflated) + len(piece) > size:
                    raise DamagedError("what is kept of a gzipped file belongs to a shorter one")
                inflated += piece
        except MemoryError:
            raise UnsupportedError(f"a gzipped file inflates to {size} bytes, and memory does not suffice") from None
        if len(inflated) != size:
            raise DamagedError("what is kept of a gzipped file belongs to a longer one")
        whole = np.frombuffer(inflated, np.uint8)
        yield whole[:start].data
        yield from deflated(whole[start:], members)
        yield rest


def inner(side: bytes) -> tuple[int, bytes]:
    """Return the number of the body codec of what a file inflates to, and its side. Raises DamagedError."""
    return _parse(side)[1:3]


def _parse(kept: bytes) -> tuple[int, int, bytes, list[Member], bytes]:
    """Return start, number and side of the inner body, the members and the rest. Raises DamagedError."""
    cursor = Cursor(kept, "what is kept of a gzipped file")
    start, number, side = cursor.varint(), cursor.take(1)[0], cursor.string()
    if number in DEFLATING:
        raise cursor.damaged()
    return start, number, side, read_members(cursor), cursor.rest()


def read_members(cursor: Cursor) -> list[Member]:
    """Read what `members_to_bytes` wrote. Raises DamagedError."""
    members = []
    for _ in range(cursor.varint(limit=len(cursor.data))):
        head, ending = cursor.string(), cursor.take(1)[0]
        member = Member(head, ending, cursor.varint(limit=LARGEST), cursor.string())
        if ending > ZLIB:
            raise cursor.damaged()
        members.append(member)
    return members


def members_to_bytes(members: list[Member]) -> bytes:
    """Serialise what is kept of members."""
    return varint(len(members)) + b"".join(
        string(head) + bytes([ending]) + varint(size) + string(side) for head, ending, size, side in members
    )


def _ending(kind: int, raw: NDArray[np.uint8]) -> bytes:
    """Return what follows the deflate stream of a member."""
    if kind == GZIP:
        return zlib.crc32(raw.data).to_bytes(4, "little") + raw.size.to_bytes(4, "little")
    return zlib.adler32(raw.data).to_bytes(4, "big") if kind == ZLIB else b""


def member_start(data: bytes | memoryview) -> tuple[int, int] | None:
    """Return the bytes before the deflate stream of a member that begins here, and what follows it: GZIP or ZLIB.

    None where no member begins here. The checksum of a gzip header is not looked at.
    """
    if bytes(data[:3]) == b"\x1f\x8b\x08" and len(data) >= 18:
        flags, at = data[3], 10
        if flags & _FEXTRA:
            at += 2 + int.from_bytes(data[at : at + 2], "little")
        for flag in (_FNAME, _FCOMMENT):
            if flags & flag:
                end = bytes(data[at : at + (1 << 16)]).find(0)
                if end < 0:
                    return None
                at += end + 1
        at += 2 * bool(flags & _FHCRC)
        return (at, GZIP) if at <= len(data) and flags < 32 else None
    # CM is 8, the window 32 kB at most, no dictionary is preset, and the check bits fit.
    if (
        len(data) >= 2
        and data[0] & 15 == 8
        and data[0] < 128
        and not data[1] & 32
        and (data[0] << 8 | data[1]) % 31 == 0
    ):
        return 2, ZLIB
    return None


def available() -> int | None:
    """Return how many bytes of memory are free for this process, as far as the system tells."""
    found = list(memory_limits())
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return min(found, default=None)


def _limit(size: int) -> int:
    """Return how many bytes a file of `size` bytes may inflate to, so that memory suffices."""
    free = available()
    return LARGEST if free is None else max(1 << 24, (free - size - _SPARED) // 3)


class NativeReading(KeptAtLast):
    """How an encoder reads native voxels, one plane of words, of a file that is inflated in memory."""

    planes = 1

    def __init__(self, *, start: int, rows: int, columns: int, frames: int, bits: int, big_endian: bool) -> None:
        """`start`: of the voxels in the inflated file, bytes."""
        self.number, self.bits = int(big_endian and bits == 16), bits
        self._start, self._shape, self._frames = start, (rows, columns), frames

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        file.seek(0)
        before = file.read(self._start)
        words = np.dtype("u1" if self.bits == 8 else ">u2" if self.number else "<u2")
        frame_bytes = self._shape[0] * self._shape[1] * words.itemsize
        left = self._frames
        while left:
            count = min(left, max(1, _UPDATE // frame_bytes))
            data = file.read(count * frame_bytes)
            if len(data) != count * frame_bytes:
                raise NotReproducible("it is shorter than its header says")
            frames = np.frombuffer(data, words).reshape(count, *self._shape)
            yield [frames.astype(words.newbyteorder("<"), copy=False)]
            left -= count
        self._kept = Kept(before, b"", file.read())


class GzippedReading:
    """How an encoder reads a file with members."""

    number = 8

    def __init__(self, inner: Reading, start: int) -> None:
        """`inner` reads the inflated file; `start`: of the first member, bytes."""
        assert inner.number not in DEFLATING
        self._inner, self._start, self._side = inner, start, b""
        self.planes, self.bits = inner.planes, inner.bits

    @property
    def kept(self) -> Kept:
        """Return the kept bytes; see `Reading.kept`."""
        inner = self._inner.kept
        head = varint(self._start) + bytes([self._inner.number]) + string(inner.side)
        return Kept(inner.before, head + self._side, inner.after)

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames; see `Reading.read`."""
        file.seek(0)
        parts = [file.read(self._start)]
        data = file.read()
        members, end = members_of(data, parts)
        self._side = members_to_bytes(members) + data[end:]
        del data
        parts = [part for part in parts if part]
        # A single part is not copied: `BytesIO` shares it.
        inflated = BytesIO(parts[0] if len(parts) == 1 else b"".join(parts))
        del parts
        yield from self._inner.read(inflated)


def members_of(data: bytes, parts: list[bytes], most: int = LARGEST) -> tuple[list[Member], int]:
    """Inflate the members of a file into parts; return them and where the last one ends.

    Raises NotReproducible where a stream cannot be made again, or they inflate to more than `most` bytes."""
    from ..streams import deflate

    limit = min(most, _limit(len(data)))
    members: list[Member] = []
    view, at = memoryview(data), 0
    begin = 0  # of what stands before the next deflate stream
    while found := member_start(view[at:]):
        head, ending = found
        try:
            raw, side, used = deflate.apart(view[at + head :], limit)
        except NotReproducible:
            if members:  # bytes that look like a member follow the last one
                break
            raise
        limit -= len(raw)
        parts.append(raw)
        end = at + head + used
        of_raw = _ending(ending, np.frombuffer(raw, np.uint8))
        stated = bytes(view[end : end + len(of_raw)]) == of_raw
        members.append(Member(data[begin : at + head], ending if stated else NOTHING, len(raw), side))
        begin = at = end + len(of_raw) * stated
        if ending == ZLIB:
            break
    if not members:
        raise NotReproducible("it has no gzip member or zlib stream where its header says")
    return members, begin
