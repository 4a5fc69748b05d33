"""Planes of small integers as bytes: volcomp's entropy coder, with tables fitted to the planes of other images.

An image's latents, coefficients or indices are planes int32 [y, x]. A plane is coded row by row. Its values are either
as they are or what a median edge detector leaves of them, whichever cost less in the images that were learned from. The
table of a value is chosen by the plane's class, which is its root mean square in those images, and by what is known
around it: neighbours, the same place in the plane before, and the place in the plane of twice the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from volcomp.constants import TABLE_BITS
from volcomp.dtypes import Bools, Int32s, Int64s, UInt8s, UInt16s, UInt32s
from volcomp.errors import DamagedError
from volcomp.runtime.compiled import entry, part
from volcomp.stages import ans
from volcomp.wire import zigzag
from volcomp.wire.cursor import Cursor, varint

Planes = Sequence[Int32s]

CONTEXTS = 11
CLASSES = 24
LARGEST = 600  # tokens of a table, at most
LIMIT = 1 << 24  # of any value


@part
def _context(residual: Int32s, before: Int32s, y: Any, x: Any) -> Any:
    """Return the context 0 … CONTEXTS - 1 of a place, from what is decoded before it."""
    columns = residual.shape[1]
    m = np.int64(2) * before[y, x]
    if x > 0:
        m += 2 * abs(residual[y, x - 1])
    if y > 0:
        m += 2 * abs(residual[y - 1, x])
        m += abs(residual[y - 1, x - 1]) if x > 0 else abs(residual[y - 1, x])
        m += abs(residual[y - 1, x + 1]) if x + 1 < columns else abs(residual[y - 1, x])
    if m < 3:
        return m
    context, bound = 3, 4
    while context < CONTEXTS - 1 and m > bound:
        context += 1
        bound += bound // 2 + 1
    return context


@part
def _predicted(plane: Int32s, y: Any, x: Any) -> Any:
    """Return the median edge detector's prediction (ITU-T T.87, A.4.1); 0 for the first place."""
    if y == 0:
        return plane[0, x - 1] if x > 0 else np.int32(0)
    above = plane[y - 1, x]
    if x == 0:
        return above
    left, corner = plane[y, x - 1], plane[y - 1, x - 1]
    low, high = min(left, above), max(left, above)
    if corner >= high:
        return low
    if corner <= low:
        return high
    return left + above - corner


@entry
def _scan(plane: Int32s, predict: bool, before: Int32s, residual: Int32s, context: UInt16s) -> None:
    """Compute what is coded of a plane, int32 [y, x], and the context of each place, uint16 [y·x]."""
    n = 0
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            context[n] = _context(residual, before, y, x)
            residual[y, x] = plane[y, x] - (_predicted(plane, y, x) if predict else 0)
            n += 1


@entry
def _unscan(
    plane: Int32s, predict: bool, before: Int32s, residual: Int32s, first: int, escape: int, escaped: Int64s,
    at: Int64s, stream: ans.AnsStream, quantiles: ans.Quantiles, table: UInt16s, token: UInt16s,
) -> None:  # fmt: skip
    """Decode a plane. `at` int64 [1] counts the escaped values, and passes their number where there are too few."""
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            table[0] = first + _context(residual, before, y, x)
            ans.pop(stream, quantiles, table, token)
            folded = np.int64(token[0])
            if folded == escape:
                if at[0] < escaped.shape[0]:
                    folded = escaped[at[0]] + escape
                at[0] += 1
            value = (folded >> 1) ^ -(folded & 1)
            residual[y, x] = value
            plane[y, x] = value + (_predicted(plane, y, x) if predict else 0)


def _before(done: Sequence[Int32s], shape: tuple[int, ...]) -> Int32s:
    """Return the magnitudes, int32 of a shape, at the same place of the plane before, and of the one of three planes
    before that has half the sides, which in a wavelet transform is the same band of twice the scale."""
    known = np.zeros(shape, np.int32)
    if done and done[-1].shape == shape:
        known += np.abs(done[-1])
    if len(done) > 2 and (2 * done[-3].shape[0], 2 * done[-3].shape[1]) == shape:
        known += np.abs(done[-3]).repeat(2, 0).repeat(2, 1)
    return known


def _residual(done: Sequence[Int32s], plane: Int32s, predict: bool) -> tuple[Int32s, UInt16s]:
    residual, context = np.zeros(plane.shape, np.int32), np.zeros(plane.size, np.uint16)
    _scan(np.ascontiguousarray(plane, np.int32), predict, _before(done, plane.shape), residual, context)
    return residual, context


@dataclass(frozen=True)
class Coder:
    """Codes the planes of images that have as many of them as those that it was fitted to.

    predict bool [planes]   whether a plane is predicted
    own uint8 [planes]      its class
    counts uint32 [classes·CONTEXTS, tokens + 1]   of the tables, each with a sum of 2^20; the last token is the escape
    """

    predict: Bools
    own: UInt8s
    counts: UInt32s

    @cached_property
    def _tables(self) -> ans.Tables:
        return ans.Tables(list(self.counts))

    @property
    def _escape(self) -> int:
        return int(self.counts.shape[1]) - 1

    @classmethod
    def fitted(cls, samples: Sequence[Planes]) -> Coder:
        """Fit the tables to the planes of several images."""
        planes = len(samples[0])
        cost = np.zeros((2, planes))
        power = np.zeros((2, planes))
        for sample in samples:
            for k, plane in enumerate(sample):
                for p in (0, 1):
                    values = np.abs(_residual([], plane, bool(p))[0].astype(np.float64))
                    cost[p, k] += np.log2(1 + 2 * values).sum()
                    power[p, k] += (values**2).mean() / len(samples)
        predict = cost[1] < cost[0]
        root = np.sqrt(np.where(predict, power[1], power[0]))
        own = (4 + 2 * np.log2(np.maximum(root, 1 / 8))).round().clip(0, CLASSES - 1).astype(np.uint8)
        collected: list[tuple[np.ndarray, np.ndarray]] = []
        for sample in samples:
            done: list[Int32s] = []
            for k, plane in enumerate(sample):
                residual, context = _residual(done, plane, bool(predict[k]))
                done.append(residual)
                collected.append(
                    (
                        int(own[k]) * CONTEXTS + context.astype(np.int64),
                        zigzag.encode(residual.ravel().astype(np.int64)),
                    )
                )
        table, folded = (np.concatenate(parts) for parts in zip(*collected, strict=True))
        return cls(predict, own, _counted(table, folded.astype(np.int64)))

    def encode(self, planes: Planes) -> bytes:
        """Encode the planes of an image: the escaped values, then the words of the coder."""
        done: list[Int32s] = []
        tables, tokens = [], []
        for k, plane in enumerate(planes):
            residual, context = _residual(done, plane, bool(self.predict[k]))
            done.append(residual)
            tables.append(ans.FLAGS + int(self.own[k]) * CONTEXTS + context)
            tokens.append(zigzag.encode(residual.ravel().astype(np.int64)).astype(np.int64))
        table, folded = np.concatenate(tables).astype(np.uint16), np.concatenate(tokens)
        escaped = folded[folded >= self._escape] - self._escape
        token = np.minimum(folded, self._escape).astype(np.uint16)
        none = np.zeros(token.size, np.uint8)
        words = ans.encode(self._tables, none, none.astype(bool), table, token, np.ones(token.size, np.int64))
        return b"".join(map(varint, (escaped.size, *escaped.tolist()))) + words.astype("<u4").tobytes()

    def decode(self, data: bytes, shapes: Sequence[tuple[int, int]]) -> list[Int32s]:
        """Decode the planes of these shapes; DamagedError for bytes that `encode` does not write."""
        cursor = Cursor(data, "an image")
        count = cursor.varint(sum(rows * columns for rows, columns in shapes))
        escaped = np.array(cursor.varints(count, LIMIT), np.int64)
        words = cursor.rest()
        if len(words) % 4:
            raise cursor.damaged()
        stream = ans.stream(self._tables, np.frombuffer(words, "<u4").astype(np.uint32), 1)
        at, table, token = np.zeros(1, np.int64), np.zeros(1, np.uint16), np.zeros(1, np.uint16)
        done: list[Int32s] = []
        found: list[Int32s] = []
        for k, shape in enumerate(shapes):
            plane, residual = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            first = ans.FLAGS + int(self.own[k]) * CONTEXTS
            _unscan(plane, bool(self.predict[k]), _before(done, shape), residual, first, self._escape, escaped, at,
                    stream, self._tables.quantiles, table, token)  # fmt: skip
            done.append(residual)
            found.append(plane)
        ans.finish(stream)
        if at[0] != count:
            raise DamagedError("an image has another number of escaped values than it states")
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file of a fitted codec keeps."""
        return {"predict": self.predict, "own": self.own, "counts": self.counts}


def _counted(table: Int64s, folded: Int64s) -> UInt32s:
    """Count tokens per table: uint32 [tables, tokens + 1], every token at least once, each table with a sum of 2^20.

    A table that was seen seldom leans on its class: the counts of all contexts together, with the weight of 16 values.
    """
    tokens = int(min(np.quantile(folded, 0.9995) + 2, LARGEST)) if folded.size else 1
    tables = CLASSES * CONTEXTS
    found = np.bincount(table * (tokens + 1) + np.minimum(folded, tokens), minlength=tables * (tokens + 1))
    seen = found.reshape(CLASSES, CONTEXTS, tokens + 1).astype(np.float64)
    of_class = seen.sum(1, keepdims=True) + 1 / (tokens + 1)
    seen += 16 * of_class / of_class.sum(2, keepdims=True)
    shares = (seen / seen.sum(2, keepdims=True)).reshape(tables, tokens + 1)
    total = 1 << TABLE_BITS
    counts = 1 + np.floor(shares * (total - 2 * (tokens + 1))).astype(np.int64)
    counts[np.arange(tables), counts.argmax(1)] += total - counts.sum(1)
    return counts.astype(np.uint32)
