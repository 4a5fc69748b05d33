"""Codes of wide numbers as levels of 16 bits: a table of all that occur, or their upper bits, the lower ones apart.

Both work on keys (`keys.to_keys`), so that levels that are near each other stand for numbers that are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedError
from ..wire.cursor import Cursor, varint
from .keys import from_keys, key_type, to_keys

LEVELS = 1 << 16
MOST_SPECIALS = 16
_TABLE, _SPLIT, _TABLES = 0, 1, 2  # codes
_STEP, _LINE = 0, 1  # what the numbers of a table are predicted by
_DOUBLE = np.dtype("<f8")


class Parts(NamedTuple):
    """Keys in parts, each of the shape of the keys."""

    levels: NDArray[Any]  # uint16
    low: NDArray[Any] | None = None  # the lower bits of keys; None where levels tell all of all keys
    told: NDArray[Any] | None = None  # bool: where the level tells the whole key; None for nowhere


@dataclass(frozen=True, eq=False)
class Table:
    """A level for each number that occurs.

    The bytes: 0, how many numbers (varint), the level of each, minus one more than that before (u16), the kind of
    prediction, its parameters, and what it misses by (zigzag, modulo the type). Arrays have the lowest bytes of all
    elements first, then the next ones.
    """

    numbers: np.dtype[Any]
    keys: NDArray[Any]  # of all numbers
    of_keys: NDArray[Any]  # uint16, strictly increasing: the level of each
    line: tuple[float, float] | None = None  # number = line[0] + line[1] · level, rounded; else a step for each level
    step: int = 0
    shift: int = 0

    @cached_property
    def levels(self) -> int:
        """Return how many levels there are."""
        return int(self.of_keys[-1]) + 1

    def encoded(self) -> bytes:
        """Return the bytes of this code."""
        gaps = np.diff(self.of_keys.astype(np.int64), prepend=-1) - 1
        head = bytes([_TABLE]) + varint(len(self.keys)) + _planes_of(gaps.astype("<u2"))
        if self.line:
            head += bytes([_LINE]) + np.array(self.line, _DOUBLE).tobytes()
        else:
            head += bytes([_STEP]) + self.step.to_bytes(8, "little")
        missed = self.keys - self._predictions(self.keys)
        sign = np.where(missed >> missed.dtype.type(8 * missed.itemsize - 1), ~missed.dtype.type(0), 0)
        return head + _planes_of((missed << missed.dtype.type(1)) ^ sign.astype(missed.dtype))

    @classmethod
    def decoded(cls, cursor: Cursor, numbers: np.dtype[Any]) -> Table:
        """Read a table, after its first byte. Raises DamagedError."""
        count = cursor.varint(LEVELS)
        if not count:
            raise cursor.damaged()
        levels = np.cumsum(_words(cursor, np.dtype("<u2"), count).astype(np.int64) + 1) - 1
        kind = cursor.take(1)[0]
        if levels[-1] >= LEVELS or kind > _LINE:
            raise cursor.damaged()
        line, step = None, 0
        if kind == _LINE:
            base, scale = np.frombuffer(cursor.take(16), _DOUBLE).tolist()
            line = (base, scale)
            if numbers.kind != "f":
                raise cursor.damaged()
        else:
            step = int.from_bytes(cursor.take(8), "little")
        keys = key_type(numbers)
        folded = _words(cursor, keys, count)
        missed = (folded >> keys.type(1)) ^ (~(folded & keys.type(1)) + keys.type(1))
        found = cls(numbers, missed, levels.astype("<u2"), line, step)
        of_line = missed + found._predictions(missed) if line else None
        all_keys = np.cumsum(missed + found._steps(keys), dtype=keys) if of_line is None else of_line
        return cls(numbers, all_keys, found.of_keys, line, step)

    def _steps(self, keys: np.dtype[Any]) -> NDArray[Any]:
        gaps = np.diff(self.of_keys.astype(np.int64), prepend=0).astype(keys)
        return gaps * keys.type(self.step & ((1 << (8 * keys.itemsize)) - 1))

    def _predictions(self, keys: NDArray[Any]) -> NDArray[Any]:
        """Predict each key, of those before it where there is no line."""
        if not self.line:
            before = np.concatenate([np.zeros(1, keys.dtype), keys[:-1]])
            return before + self._steps(keys.dtype)
        with np.errstate(all="ignore"):
            exact = self.line[0] + self.line[1] * self.of_keys.astype(_DOUBLE)
            return to_keys(exact.astype(self.numbers))

    @cached_property
    def _sorted(self) -> tuple[NDArray[Any], NDArray[Any]]:
        order = np.argsort(self.keys)
        return self.keys[order], self.of_keys[order]

    def forward(self, keys: NDArray[Any], first: int = 0) -> Parts:
        """Return the levels of keys."""
        all_keys, levels = self._sorted
        return Parts(levels[np.minimum(np.searchsorted(all_keys, keys), len(levels) - 1)])

    def told(self, levels: NDArray[Any]) -> None:
        """Return None: levels tell everything."""

    @cached_property
    def _of_levels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the key of each level, and whether there is one."""
        keys, there = np.zeros(LEVELS, self.keys.dtype), np.zeros(LEVELS, np.bool_)
        keys[self.of_keys], there[self.of_keys] = self.keys, True
        return keys, there

    def inverse(self, levels: NDArray[Any], low: NDArray[Any] | None, first: int = 0) -> NDArray[Any]:
        """Return the keys of levels. Raises DamagedError for a level that there is not."""
        keys, there = self._of_levels
        if not there[levels].all():
            raise DamagedError("its voxels have a level that is not in its table of numbers")
        return keys[levels]


@dataclass(frozen=True, eq=False)
class Split:
    """The upper bits of a key as its level, the `shift` lower bits apart.

    A base is subtracted from keys, and those stretches of 2^`stretch` keys are left out that no key is in. Numbers
    that are frequent, as the zeros around a picture, have levels of their own: each gets the one between that of
    smaller numbers with the same upper bits and that of larger ones.

    The bytes: 1, base (u64), stretch, how many stretches there are (varint; 0 where none is left out) and the number of
    each (u16, as in tables), shift, how many special keys there are, and these (u64), after base and stretches.
    """

    numbers: np.dtype[Any]
    base: int
    stretch: int
    stretches: tuple[int, ...]
    limit: int  # of keys after base and stretches: one more than the greatest that may be
    shift: int
    specials: tuple[int, ...] = ()

    @property
    def levels(self) -> int:
        """Return how many levels there are."""
        return ((self.limit - 1) >> self.shift) + 1 + 2 * len(self.specials)

    def encoded(self) -> bytes:
        """Return the bytes of this code."""
        out = bytes([_SPLIT]) + self.base.to_bytes(8, "little") + bytes([self.stretch])
        out += varint(len(self.stretches)) + _planes_of(np.array(self.stretches, "<u2"))
        out += self.limit.to_bytes(9, "little") + bytes([self.shift, len(self.specials)])
        return out + b"".join(special.to_bytes(8, "little") for special in self.specials)

    @classmethod
    def decoded(cls, cursor: Cursor, numbers: np.dtype[Any]) -> Split:
        """Read a split, after its first byte. Raises DamagedError."""
        bits = 8 * numbers.itemsize
        base, stretch = int.from_bytes(cursor.take(8), "little"), cursor.take(1)[0]
        count = cursor.varint(LEVELS)
        stretches = tuple(_words(cursor, np.dtype("<u2"), count).tolist())
        limit = int.from_bytes(cursor.take(9), "little")
        shift, specials = cursor.take(2)
        if specials > MOST_SPECIALS:
            raise cursor.damaged()
        found = cls(
            numbers, base, stretch, stretches, limit, shift,
            tuple(int.from_bytes(cursor.take(8), "little") for _ in range(specials)),
        )  # fmt: skip
        # Stretches that there are cannot lie beyond the type; so no shift below is as wide as it.
        if (
            base >> bits
            or not 1 <= limit <= 1 << bits
            or shift >= bits
            or found.levels > LEVELS
            or (count > 0 and (stretch >= bits or limit > count << stretch or max(stretches) << stretch >> bits))
            or any(a >= b for a, b in zip((-1, *found.specials), (*found.specials, limit), strict=True))
        ):
            raise cursor.damaged()
        return found

    @property
    def _keys(self) -> np.dtype[Any]:
        return key_type(self.numbers)

    def dense(self, keys: NDArray[Any]) -> NDArray[Any]:
        """Return keys after base and stretches."""
        kind = self._keys.type
        dense = keys - kind(self.base)
        if not self.stretches:
            return dense
        places = np.zeros(LEVELS, self._keys)
        places[list(self.stretches)] = np.arange(len(self.stretches))
        inner = dense & kind((1 << self.stretch) - 1)
        return places[dense >> kind(self.stretch)] << kind(self.stretch) | inner

    def forward(self, keys: NDArray[Any], first: int = 0) -> Parts:
        """Return the parts of keys."""
        kind, dense = self._keys.type, self.dense(keys)
        levels = (dense >> kind(self.shift)).astype("<u2")
        if not self.shift:
            return Parts(levels)
        low = dense & kind((1 << self.shift) - 1)
        if not self.specials:
            return Parts(levels, low)
        specials = np.array(self.specials, self._keys)
        below = np.searchsorted(specials, dense)
        told = specials[np.minimum(below, len(specials) - 1)] == dense
        low[told] = 0
        return Parts(levels + (2 * below + told).astype("<u2"), low, told)

    @cached_property
    def _of_levels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the key of each level, without its lower bits where they are apart, and whether they are not."""
        own = [(special >> self.shift) + 2 * i + 1 for i, special in enumerate(self.specials)]
        levels = np.arange(LEVELS, dtype=np.int64)
        upper = np.maximum(levels - 2 * np.searchsorted(np.array(own, np.int64), levels), 0)
        upper = np.minimum(upper, (self.limit - 1) >> self.shift)  # so that levels that there are not overflow nothing
        keys = upper.astype(self._keys) << self._keys.type(self.shift)
        told = np.zeros(LEVELS, np.bool_)
        keys[own], told[own] = np.array(self.specials, self._keys), True
        return keys, told

    def told(self, levels: NDArray[Any]) -> NDArray[Any] | None:
        """Return where levels tell all."""
        return self._of_levels[1][levels] if self.specials else None

    def inverse(self, levels: NDArray[Any], low: NDArray[Any] | None, first: int = 0) -> NDArray[Any]:
        """Return the keys of levels and lower bits. Raises DamagedError for those that there are not."""
        kind = self._keys.type
        dense = self._of_levels[0][levels]
        if low is not None:
            dense |= low
        if (levels >= self.levels).any() or (dense > kind(self.limit - 1)).any():
            raise DamagedError("its voxels have a level that no number has")
        if self.stretches:
            places = np.array(self.stretches, self._keys)
            inner = dense & kind((1 << self.stretch) - 1)
            dense = places[dense >> kind(self.stretch)] << kind(self.stretch) | inner
        return dense + kind(self.base)


@dataclass(frozen=True, eq=False)
class Tables:
    """A table for each slice of a plane, as of integers that every slice scales in another way.

    The bytes: 2, how many tables (varint), and the tables. Keys and levels are [z, Y, X], from slice `first` on.
    """

    tables: tuple[Table, ...]
    shift: int = 0

    @cached_property
    def levels(self) -> int:
        """Return how many levels there are."""
        return max(table.levels for table in self.tables)

    def encoded(self) -> bytes:
        """Return the bytes of this code."""
        return bytes([_TABLES]) + varint(len(self.tables)) + b"".join(table.encoded() for table in self.tables)

    @classmethod
    def decoded(cls, cursor: Cursor, numbers: np.dtype[Any]) -> Tables:
        """Read tables, after the first byte. Raises DamagedError."""
        tables: list[Table] = []
        for _ in range(cursor.varint(len(cursor.data))):
            if cursor.take(1)[0] != _TABLE:
                raise cursor.damaged()
            tables.append(Table.decoded(cursor, numbers))
        if not tables:
            raise cursor.damaged()
        return cls(tuple(tables))

    def forward(self, keys: NDArray[Any], first: int = 0) -> Parts:
        """Return the levels of keys."""
        return Parts(np.stack([self._table(first + z).forward(one).levels for z, one in enumerate(keys)]))

    def told(self, levels: NDArray[Any]) -> None:
        """Return None: levels tell everything."""

    def inverse(self, levels: NDArray[Any], low: NDArray[Any] | None, first: int = 0) -> NDArray[Any]:
        """Return the keys of levels. Raises DamagedError for a level that there is not, or a slice without a table."""
        return np.stack([self._table(first + z).inverse(one, None) for z, one in enumerate(levels)])

    def _table(self, z: int) -> Table:
        """Return a table that no one else has, since it holds on to what it computes."""
        if z >= len(self.tables):
            raise DamagedError("it has more slices than tables")
        return replace(self.tables[z])


Code = Table | Split | Tables


def decoded(cursor: Cursor, numbers: np.dtype[Any]) -> Code:
    """Read a code for numbers of a type. Raises DamagedError."""
    number = cursor.take(1)[0]
    if number == _TABLE:
        return Table.decoded(cursor, numbers)
    if number == _SPLIT:
        return Split.decoded(cursor, numbers)
    if number == _TABLES:
        return Tables.decoded(cursor, numbers)
    raise cursor.damaged()


def numbers_of(keys: NDArray[Any], numbers: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of keys as 64-bit floating-point numbers, of which a table's line is made."""
    with np.errstate(all="ignore"):
        return from_keys(keys, numbers).astype(_DOUBLE)


def _planes_of(words: NDArray[Any]) -> bytes:
    """Return the lowest bytes of all words, then the next ones."""
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, words.itemsize).T).tobytes()


def _words(cursor: Cursor, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    """Read what `_planes_of` returned."""
    planes = np.frombuffer(cursor.take(count * kind.itemsize), np.uint8).reshape(kind.itemsize, count)
    return np.ascontiguousarray(planes.T).view(kind).reshape(-1)
