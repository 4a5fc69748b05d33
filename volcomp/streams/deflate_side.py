"""What remains of a deflate stream beside its bytes: how its encoder searched, and where the stream differs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from ..wire.cursor import Cursor, varint
from .deflate_model import CHECKED, FOUR, PAIRS, QUICK, SECOND, SHIFTED, Model, of_zlib
from .deflate_tables import DYNAMIC, FIXED, FIXED_CODES, STORED, Settings
from .deflate_write import GIVEN

SETTINGS, NUMBERS = 1, 2  # versions: the settings of zlib, or the numbers of a model
EXPLICIT, FORCED, EXCEPTIONS, FILLED, SEGMENTS, ANEW, FIXED_ALONE, ORDERED = (1 << n for n in range(8))  # flags
EMPTY_BLOCKS = 4096  # blocks may outnumber bytes by this
_MOST = Model(SECOND, CHECKED, 16, 15, 1 << 15, 1 << 15, 1 << 15, 1 << 15, 4096, 1 << 15, 258, (1 << 16) - 1)
_LEAST = Model(0, SHIFTED, 8, 9, 1, 0, 0, 0, 0, 0, 2, 127)


class Exceptional(NamedTuple):
    """A block that is not as zlib would write it: its kind, and the header of a given one."""

    kind: int
    bits: int = 0
    header: bytes = b""


NONE_FORCED = np.zeros((3, 0), np.int64)


class Plan(NamedTuple):
    """All that bytes do not determine.

    settings     of zlib, or the numbers of another model
    blocks       how many bytes each block holds; None where the settings tell
    forced       int64 [3, m]: where symbols are overruled, their lengths, and their distances or 0; for settings
    exceptions   by the number of the block
    fill         the unused bits of the last byte
    tail         the bytes after the stream
    corrections  of symbols, as `deflate_corrections.Code`; for numbers
    segments     how many bytes each segment has; None for one; for numbers
    anew         whether the window is indexed anew where a segment begins; for numbers
    fixed        whether there are fixed codes alone; for numbers
    ordered      whether dynamic codes are those of `deflate_ordered`; for numbers
    """

    settings: Settings | Model
    blocks: np.ndarray | None
    forced: np.ndarray
    exceptions: dict[int, Exceptional]
    fill: int
    tail: bytes
    corrections: bytes = b""
    segments: np.ndarray | None = None
    anew: bool = False
    fixed: bool = False
    ordered: bool = False

    @property
    def model(self) -> Model:
        """Return the numbers of the search."""
        return of_zlib(self.settings) if isinstance(self.settings, Settings) else self.settings


def write(plan: Plan) -> bytes:
    """Write a plan as bytes."""
    flags = (
        EXPLICIT * (plan.blocks is not None) | FORCED * bool(plan.forced.size or plan.corrections)
        | EXCEPTIONS * bool(plan.exceptions) | FILLED * bool(plan.fill) | SEGMENTS * (plan.segments is not None)
        | ANEW * plan.anew | FIXED_ALONE * (plan.fixed and not isinstance(plan.settings, Settings))
        | ORDERED * plan.ordered
    )  # fmt: skip
    out = bytearray()
    if isinstance(plan.settings, Settings):
        level, memory, window, strategy = plan.settings
        out += bytes([SETTINGS, level << 4 | memory, window << 4 | strategy, flags])
    else:
        out += bytes([NUMBERS, flags]) + b"".join(map(varint, plan.settings))
    for lengths in (plan.blocks, plan.segments):
        if lengths is not None:
            out += _runs(lengths)
    if plan.forced.size:
        out += varint(plan.forced.shape[1])
        before = 0
        for at, length, distance in plan.forced.T.tolist():
            out += varint(at - before) + varint(length - 1) + (varint(distance - 1) if length > 1 else b"")
            before = at
    if plan.corrections:
        out += varint(len(plan.corrections)) + plan.corrections
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


def _runs(lengths: np.ndarray) -> bytes:
    """Write lengths of blocks or segments: runs of equal ones."""
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    repeats = np.diff(starts, append=lengths.size)
    pairs = zip(starts.tolist(), repeats.tolist(), strict=True)
    return varint(starts.size) + b"".join(varint(int(lengths[start])) + varint(repeat) for start, repeat in pairs)


def read(side: bytes, size: int) -> Plan:
    """Read a plan for `size` bytes; DamagedError where it is none."""
    cursor = Cursor(side, "what is kept of a deflate stream")
    version = cursor.take(1)[0]
    settings: Settings | Model
    if version == SETTINGS:
        settings, flags = _settings(cursor)
    elif version == NUMBERS:
        settings, flags = _numbers(cursor)
    else:
        raise cursor.damaged()
    blocks = _lengths(cursor, size) if flags & EXPLICIT else None
    segments = _lengths(cursor, size) if flags & SEGMENTS else None
    forced, corrections = NONE_FORCED, b""
    if flags & FORCED and version == SETTINGS:
        forced = _forced(cursor, size)
    elif flags & FORCED:
        corrections = cursor.string()
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
    fixed = bool(flags & FIXED_ALONE)
    if isinstance(settings, Settings):
        fixed = settings.strategy == FIXED_CODES
    return Plan(
        settings,
        blocks,
        forced,
        exceptions,
        fill,
        cursor.rest(),
        corrections,
        segments,
        bool(flags & ANEW),
        fixed,
        bool(flags & ORDERED),
    )


def _settings(cursor: Cursor) -> tuple[Settings, int]:
    first, second, flags = cursor.take(3)
    settings = Settings(first >> 4, first & 15, second >> 4, second & 15)
    if (
        settings.level > 9 or not 1 <= settings.memory <= 9 or not 9 <= settings.window <= 15
        or settings.strategy > FIXED_CODES or flags > 15
    ):  # fmt: skip
        raise cursor.damaged()
    return settings, flags


def _numbers(cursor: Cursor) -> tuple[Model, int]:
    flags = cursor.take(1)[0]
    model = Model(*(cursor.varint(most) for most in _MOST))
    farthest = (1 << 15) - 1 if model.way >= PAIRS else 1 << model.window
    if (
        any(number < least for number, least in zip(model, _LEAST, strict=True))
        or model.farthest > farthest or (model.way >= QUICK and not flags & EXPLICIT)
        or (model.way >= PAIRS and (model.hash != FOUR or model.window != 15 or flags & SEGMENTS))
    ):  # fmt: skip
        raise cursor.damaged()
    return model, flags


def _lengths(cursor: Cursor, size: int) -> np.ndarray:
    runs = cursor.varint(len(cursor.data))
    pairs = np.array(cursor.varints(2 * runs, size + EMPTY_BLOCKS), np.int64).reshape(runs, 2)
    if sum(pairs[:, 1].tolist()) > size + EMPTY_BLOCKS:
        raise cursor.damaged()
    lengths = np.repeat(pairs[:, 0], pairs[:, 1])
    if not lengths.size or sum(lengths.tolist()) != size:
        raise DamagedError("what is kept of a deflate stream belongs to other bytes")
    return lengths


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
