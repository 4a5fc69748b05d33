"""Integer tables and the entropy coder: asymmetric numeral systems (Duda 2009), from the library constriction.

A coder of this kind is a stack. The decoder takes the symbols of a front table by table, in ascending order, each
table's in the order of the voxels; the encoder pushes all of it in reverse. Tables hold counts of 2^20, which
constriction gets as exact binary fractions.
"""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import numpy as np
from numba import njit

from .errors import DamagedError

TABLE_BITS = 20
FLAGS = 256  # tables of this number on are the model's; those before are of yes and no (0 is none)
_AnsCoder = constriction.stream.stack.AnsCoder
_Categorical = constriction.stream.model.Categorical


def flag_counts(code: int) -> np.ndarray:
    """Counts uint32 [2] of no and yes for a code 1 … 255: odds of (9/8)^(code - 128), within what 2^20 can say."""
    rising, falling = 9 ** abs(code - 128), 8 ** abs(code - 128)
    likely = min((rising << TABLE_BITS) // (rising + falling), (1 << TABLE_BITS) - 1)
    unlikely = (1 << TABLE_BITS) - likely
    return np.array([unlikely, likely] if code >= 128 else [likely, unlikely], np.uint32)


def flag_bits() -> np.ndarray:
    """Bits of no and yes, float64 [FLAGS, 2], for every code; no bits for code 0, which is no flag."""
    return np.array([[0.0, 0.0]] + [(TABLE_BITS - np.log2(flag_counts(code))).tolist() for code in range(1, FLAGS)])


class Tables:
    """The probability tables of one model, as coder models and as code lengths."""

    def __init__(self, counts: Sequence[np.ndarray]) -> None:
        """counts: for each table uint32 [symbols], at least 2 of them, each at least 1, summing to 2^20. They get the
        numbers from FLAGS on."""
        for number, table in enumerate(counts):
            if len(table) < 2 or table.min() < 1 or int(table.sum()) != 1 << TABLE_BITS:
                raise ValueError(f"table {number}: counts must be 1 or more and sum to {1 << TABLE_BITS}")
        self.sizes = np.array([len(table) for table in counts])
        flags = [flag_counts(code) for code in range(1, FLAGS)]
        everything = [*flags[:1], *flags, *counts]  # number 0 is never used
        self.models = [_Categorical(table / float(1 << TABLE_BITS), perfect=False) for table in everything]
        self.code_length = np.full((len(counts), int(self.sizes.max())), 99, np.float32)
        for row, table in zip(self.code_length, counts, strict=True):
            row[: len(table)] = TABLE_BITS - np.log2(table)


@njit(nogil=True, cache=True)
def _sort(table: np.ndarray, tables: int, order: np.ndarray, count: np.ndarray) -> None:
    """Stable counting sort of a front's voxels by table: order int32 [v] and count int64 [tables] out."""
    count[:] = 0
    for v in range(table.shape[0]):
        count[table[v]] += 1
    place = np.zeros(tables, np.int64)
    for k in range(1, tables):
        place[k] = place[k - 1] + count[k - 1]
    for v in range(table.shape[0]):
        order[place[table[v]]] = v
        place[table[v]] += 1


@njit(nogil=True, cache=True)
def _sort_fronts(
    flag: np.ndarray, settled: np.ndarray, table: np.ndarray, token: np.ndarray, sizes: np.ndarray, tables: int,
    out: np.ndarray, runs: np.ndarray,
) -> int:  # fmt: skip
    """All symbols in the order of coding: int32 `out`; and the runs (front by front: table, length) as int32 [n, 2].
    Returns how many runs there are; with an empty `runs` it only counts them."""
    begin, end, n = 0, 0, 0
    count = np.zeros(tables, np.int64)
    place = np.zeros(tables, np.int64)
    for size in sizes:
        count[:] = 0
        for v in range(begin, begin + size):
            count[flag[v]] += 1
            if not settled[v]:
                count[table[v]] += 1
        for k in range(1, tables):  # 0 is no flag
            place[k] = end
            end += count[k]
            if count[k]:
                if runs.shape[0]:
                    runs[n, 0] = k
                    runs[n, 1] = count[k]
                n += 1
        if runs.shape[0]:
            for v in range(begin, begin + size):
                if flag[v]:
                    out[place[flag[v]]] = settled[v]
                    place[flag[v]] += 1
                if not settled[v]:
                    out[place[table[v]]] = token[v]
                    place[table[v]] += 1
        begin += size
    return n


def encode(
    tables: Tables, flag: np.ndarray, settled: np.ndarray, table: np.ndarray, token: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Code a slab's voxels, in fronts of the given sizes int64 [f]; returns words uint32.

    flag uint8 [v]            the code of every voxel's flag, 0 for none
    settled bool [v]          whether the flag is yes, so that no token follows
    table, token uint16 [v]   of the others
    """
    symbols = np.empty(np.count_nonzero(flag) + np.count_nonzero(~settled), np.int32)
    size = len(tables.models)
    count = _sort_fronts(flag, settled, table, token, sizes, size, symbols, np.empty((0, 2), np.int32))
    runs = np.empty((count, 2), np.int32)
    _sort_fronts(flag, settled, table, token, sizes, size, symbols, runs)
    coder = _AnsCoder()
    end = symbols.size
    models = tables.models
    for k, length in reversed(runs.tolist()):
        coder.encode_reverse(symbols[end - length : end], models[k])
        end -= length
    return coder.get_compressed()


class Decoder:
    """Takes one front after the other from a slab's words."""

    def __init__(self, tables: Tables, words: np.ndarray) -> None:
        """words: uint32, as `encode` returned them."""
        self._tables = tables
        try:
            self._coder = _AnsCoder(words)
        except ValueError as error:  # a last word of zero, which no encoder writes
            raise DamagedError("the entropy-coded part of a slab is not one that an encoder writes") from error
        self._count = np.zeros(len(tables.models), np.int64)

    def take(self, table: np.ndarray) -> np.ndarray:
        """The tokens int32 [v] of a front whose voxels have the tables uint16 [v]."""
        if not table.size:
            return np.empty(0, np.int32)
        order = np.empty(table.size, np.int32)
        _sort(table, len(self._count), order, self._count)
        decode, models = self._coder.decode, self._tables.models
        parts = [decode(models[k], int(self._count[k])) for k in np.flatnonzero(self._count).tolist()]
        tokens = np.empty(table.size, np.int32)
        tokens[order] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return tokens

    def finish(self) -> None:
        """Raises DamagedError unless exactly what the encoder pushed has been taken."""
        if not self._coder.is_empty():
            raise DamagedError("the entropy-coded part of a slab holds more than its voxels")
