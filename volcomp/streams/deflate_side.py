"""What remains of a deflate stream beside its bytes: the settings, and where the stream differs from zlib's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from ..wire.cursor import Cursor, varint
from .deflate_tables import DYNAMIC, FIXED, FIXED_CODES, STORED, Settings
from .deflate_write import GIVEN

VERSION = 1
EXPLICIT, FORCED, EXCEPTIONS, FILLED = 1, 2, 4, 8  # flags: which lists follow
EMPTY_BLOCKS = 4096  # blocks may outnumber bytes by this


class Exceptional(NamedTuple):
    """A block that is not as zlib would write it: its kind, and the header of a given one."""

    kind: int
    bits: int = 0
    header: bytes = b""


class Plan(NamedTuple):
    """All that bytes do not determine.

    blocks      how many bytes each block holds; None where the settings tell
    forced      int64 [3, m]: positions where symbols are overruled, their lengths, and their distances or 0
    exceptions  by the number of the block
    fill        the unused bits of the last byte
    tail        the bytes after the stream
    """

    settings: Settings
    blocks: np.ndarray | None
    forced: np.ndarray
    exceptions: dict[int, Exceptional]
    fill: int
    tail: bytes


def write(plan: Plan) -> bytes:
    """Write a plan as bytes."""
    level, memory, window, strategy = plan.settings
    flags = (
        EXPLICIT * (plan.blocks is not None) | FORCED * bool(plan.forced.size) | EXCEPTIONS * bool(plan.exceptions)
        | FILLED * bool(plan.fill)
    )  # fmt: skip
    out = bytearray([VERSION, level << 4 | memory, window << 4 | strategy, flags])
    if plan.blocks is not None:
        starts = np.flatnonzero(np.diff(plan.blocks, prepend=-1))
        repeats = np.diff(starts, append=plan.blocks.size)
        out += varint(starts.size)
        for start, repeat in zip(starts.tolist(), repeats.tolist(), strict=True):
            out += varint(int(plan.blocks[start])) + varint(repeat)
    if plan.forced.size:
        out += varint(plan.forced.shape[1])
        before = 0
        for at, length, distance in plan.forced.T.tolist():
            out += varint(at - before) + varint(length - 1) + (varint(distance - 1) if length > 1 else b"")
            before = at
    if plan.exceptions:
        out += varint(len(plan.exceptions))
        before = 0
        for number, block in plan.exceptions.items():
            out += varint(number - before) + varint(block.kind)
            if block.kind == GIVEN:
                out += varint(block.bits) + block.header
            before = number
    if plan.fill:
        out.append(plan.fill)
    return bytes(out) + plan.tail


def read(side: bytes, size: int) -> Plan:
    """Read a plan for `size` bytes; DamagedError where it is none."""
    cursor = Cursor(side, "what is kept of a deflate stream")
    version, first, second, flags = cursor.take(4)
    settings = Settings(first >> 4, first & 15, second >> 4, second & 15)
    if (
        version != VERSION or settings.level > 9 or not 1 <= settings.memory <= 9 or not 9 <= settings.window <= 15
        or settings.strategy > FIXED_CODES or flags > 15
    ):  # fmt: skip
        raise cursor.damaged()
    blocks = _blocks(cursor, size) if flags & EXPLICIT else None
    forced = _forced(cursor, size) if flags & FORCED else np.zeros((3, 0), np.int64)
    exceptions = {}
    number = 0
    for _ in range(cursor.varint(len(side)) if flags & EXCEPTIONS else 0):
        number += cursor.varint(size + EMPTY_BLOCKS)
        kind = cursor.varint()
        if kind not in (STORED, FIXED, DYNAMIC, GIVEN):
            raise cursor.damaged()
        bits = cursor.varint(8 * len(side)) if kind == GIVEN else 0
        exceptions[number] = Exceptional(kind, bits, cursor.take((bits + 7) // 8))
    fill = cursor.take(1)[0] if flags & FILLED else 0
    return Plan(settings, blocks, forced, exceptions, fill, cursor.rest())


def _blocks(cursor: Cursor, size: int) -> np.ndarray:
    runs = cursor.varint(len(cursor.data))
    pairs = np.array(cursor.varints(2 * runs, size + EMPTY_BLOCKS), np.int64).reshape(runs, 2)
    if sum(pairs[:, 1].tolist()) > size + EMPTY_BLOCKS:
        raise cursor.damaged()
    blocks = np.repeat(pairs[:, 0], pairs[:, 1])
    if not blocks.size or sum(blocks.tolist()) != size:
        raise DamagedError("what is kept of a deflate stream belongs to other bytes")
    return blocks


def _forced(cursor: Cursor, size: int) -> np.ndarray:
    forced = []
    at = 0
    for _ in range(cursor.varint(len(cursor.data))):
        at += cursor.varint(size)
        length = 1 + cursor.varint(257)
        distance = 1 + cursor.varint(32767) if length > 1 else 0
        if length == 2 or at + length > size:
            raise cursor.damaged()
        forced.append((at, length, distance))
    return np.array(forced, np.int64).reshape(-1, 3).T.copy()
