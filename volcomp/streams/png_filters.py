"""The filters of PNG (ISO/IEC 15948, clause 9): rows of bytes, and how an encoder chose the filter of each row.

Encoders choose by a rule, nearly always by one of RULES. What a rule does not give is kept. A row is filtered with the
one above it, which is zeros above the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import Int64s, UInt8s
from ..runtime.compiled import entry, part
from ..wire.cursor import Cursor, varint

NONE, SUB, UP, AVERAGE, PAETH = range(5)
FILTERS = 5
# The rules by their numbers in archives; a list that only grows. Rules 0 … 4 are a filter for all rows.
LEAST, LEAST_WITHOUT_AVERAGE, CONCENTRATED = range(5, 8)
RULES = 8
_LISTED, _PACKED = 0, 1  # how exceptions are kept
_BYTES = 256


@part
def _predicted(raw: Any, y: Any, i: Any, step: Any, kind: Any) -> Any:
    """Predict byte i of row y of raw uint8 [h, n], whose pixels begin `step` bytes apart (clause 9.2)."""
    left = np.int64(raw[y, i - step]) if i >= step else np.int64(0)
    above = np.int64(raw[y - 1, i]) if y else np.int64(0)
    if kind == NONE:
        return np.int64(0)
    if kind == SUB:
        return left
    if kind == UP:
        return above
    if kind == AVERAGE:
        return (left + above) >> 1
    corner = np.int64(raw[y - 1, i - step]) if y and i >= step else np.int64(0)
    by_left, by_above, by_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    if by_left <= by_above and by_left <= by_corner:
        return left
    return above if by_above <= by_corner else corner


@entry
def _filter(raw: UInt8s, kinds: UInt8s, step: int, out: UInt8s) -> None:
    for y in range(raw.shape[0]):
        out[y, 0] = kinds[y]
        for i in range(raw.shape[1]):
            out[y, i + 1] = (np.int64(raw[y, i]) - _predicted(raw, y, i, step, kinds[y])) & 255


@entry
def _unfilter(filtered: UInt8s, step: int, raw: UInt8s) -> None:
    for y in range(raw.shape[0]):
        for i in range(raw.shape[1]):
            raw[y, i] = (np.int64(filtered[y, i + 1]) + _predicted(raw, y, i, step, filtered[y, 0])) & 255


@entry
def _cost(raw: UInt8s, step: int, sums: Int64s, concentration: Int64s, counts: Int64s) -> None:
    """Compute, for every row and filter, the sum of the residuals' absolute values as signed bytes int64 [h, 5], and
    how concentrated they are int64 [h, 5]; `counts` int64 [256] is scratch."""
    for y in range(raw.shape[0]):
        for kind in range(sums.shape[1]):
            total = np.int64(0)
            for v in range(counts.shape[0]):
                counts[v] = 0
            counts[kind] = 1  # the byte that names the filter
            for i in range(raw.shape[1]):
                v = (np.int64(raw[y, i]) - _predicted(raw, y, i, step, kind)) & 255
                total += v if v < 128 else 256 - v
                counts[v] += 1
            sums[y, kind] = total
            total = np.int64(0)
            for v in range(counts.shape[0]):
                # n times the logarithm of n, linear between powers of two.
                power, floor = np.int64(1), np.int64(0)
                while 2 * power <= counts[v]:
                    power *= 2
                    floor += 1
                if counts[v]:
                    total += counts[v] * floor + 2 * (counts[v] - power)
            concentration[y, kind] = total


def unfiltered(filtered: UInt8s, step: int) -> tuple[UInt8s, UInt8s]:
    """Return the bytes uint8 [h, n] and the filters uint8 [h] of filtered rows uint8 [h, 1 + n].

    `step` is the distance of a byte to that of the pixel to its left. Raises ValueError for a filter that PNG has not.
    """
    kinds = filtered[:, 0].copy()
    if kinds.size and kinds.max() >= FILTERS:
        raise ValueError("a row has a filter that PNG does not have")
    raw = np.empty((filtered.shape[0], filtered.shape[1] - 1), np.uint8)
    _unfilter(filtered, step, raw)
    return raw, kinds


def filtered(raw: UInt8s, kinds: UInt8s, step: int) -> UInt8s:
    """Return the rows uint8 [h, 1 + n] of bytes uint8 [h, n] and filters uint8 [h]; the inverse of `unfiltered`."""
    out = np.empty((raw.shape[0], raw.shape[1] + 1), np.uint8)
    _filter(raw, kinds, step, out)
    return out


def _by_cost(raw: UInt8s, step: int) -> dict[int, UInt8s]:
    """Return the filters uint8 [h] of all rules that look at residuals; of filters that are equal the first."""
    rows = raw.shape[0]
    sums, concentration = np.empty((rows, FILTERS), np.int64), np.empty((rows, FILTERS), np.int64)
    _cost(raw, step, sums, concentration, np.empty(_BYTES, np.int64))
    least = sums.argmin(1).astype(np.uint8)
    concentrated = concentration.argmax(1).astype(np.uint8)
    sums[:, AVERAGE] = np.iinfo(np.int64).max
    # This encoder tries the filters in another order, and not all where one leaves nothing.
    order = np.array([NONE, UP, SUB, PAETH])
    return {
        LEAST: least,
        LEAST_WITHOUT_AVERAGE: order[sums[:, order].argmin(1)].astype(np.uint8),
        CONCENTRATED: concentrated,
    }


def kept(raw: UInt8s, kinds: UInt8s, step: int) -> bytes:
    """Return what is kept of the filters uint8 [h] of rows uint8 [h, n], for `chosen`.

    A byte, the number of the rule; then, if it does not give all filters: 0, how many it does not (varint), and for
    each how many rows lie between (varint) and its filter (byte). Or 1 and all filters, three to a byte in base 5.
    """
    rows = kinds.size
    rules = {kind: np.full(rows, kind, np.uint8) for kind in range(FILTERS)}
    simple = int(np.bincount(kinds, minlength=FILTERS).argmax())
    if (kinds != simple).any():
        rules |= _by_cost(raw, step)
    rule = min(rules, key=lambda number: int((rules[number] != kinds).sum()))
    wrong = np.flatnonzero(rules[rule] != kinds)
    if not wrong.size:
        return bytes([rule])
    gaps = np.diff(wrong, prepend=-1) - 1
    listed = varint(wrong.size) + b"".join(
        varint(gap) + bytes([kind]) for gap, kind in zip(gaps.tolist(), kinds[wrong].tolist(), strict=True)
    )
    padded = np.zeros(-(-rows // 3) * 3, np.uint8)
    padded[:rows] = kinds
    packed = (padded.reshape(-1, 3) @ np.array([1, 5, 25], np.uint8)).astype(np.uint8).tobytes()
    if len(packed) <= len(listed):
        return bytes([rule, _PACKED]) + packed
    return bytes([rule, _LISTED]) + listed


def chosen(raw: UInt8s, side: bytes, step: int) -> UInt8s:
    """Return the filters uint8 [h] of rows uint8 [h, n], of what was kept. Raises DamagedError."""
    cursor = Cursor(side, "what is kept of the filters of a PNG")
    rule, rows = cursor.take(1)[0], raw.shape[0]
    if rule >= RULES:
        raise cursor.damaged()
    how = cursor.take(1)[0] if len(side) > 1 else None
    if how == _PACKED:
        packed = np.frombuffer(cursor.rest(), np.uint8)
        if packed.size != -(-rows // 3) or (packed >= 125).any():
            raise cursor.damaged()
        return (packed[:, None] // np.array([1, 5, 25], np.uint8) % 5).reshape(-1)[:rows].astype(np.uint8)
    kinds = np.full(rows, rule, np.uint8) if rule < FILTERS else _by_cost(raw, step)[rule]
    if how is None:
        return kinds
    if how != _LISTED:
        raise cursor.damaged()
    at = -1
    for _ in range(cursor.varint(rows)):
        at += 1 + cursor.varint(rows)
        kind = cursor.take(1)[0]
        if at >= rows or kind >= FILTERS:
            raise cursor.damaged()
        kinds[at] = kind
    cursor.end()
    return kinds
