"""The entropy coder: asymmetric numeral systems (ANS, Duda 2009) with integer tables, bit-compatible with constriction.

An ANS coder is a stack. The decoder pops the symbols of a front table by table, in ascending order; the symbols of one
table come in the order of the voxels. The encoder pushes everything in reverse. The counts of a table sum to 2^20, so
constriction can take them as exact binary fractions. The library constriction is the reference in tests. It is not used
here because its calls hold the lock of Python's interpreter, so that threads would wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..constants import TABLE_BITS
from ..dtypes import Bools, Float64s, Int32s, Int64s, Integers, UInt8s, UInt16s, UInt32s, UInt64s
from ..errors import DamagedError
from ..runtime.compiled import entry, part

PRECISION = 24  # bits of the probabilities that constriction derives from the counts
LOOKUP_BITS = 10  # the leading bits of a quantile that select where the search for its symbol begins
FLAGS = 256  # the model's tables have numbers from this on; those below are tables of flags (0 is no table)


def flag_counts(code: int) -> UInt32s:
    """Return counts uint32 [2] of no and yes of a code 1 … 255: odds of (9/8)^(code - 128), within what 2^20 allows."""
    rising, falling = 9 ** abs(code - 128), 8 ** abs(code - 128)
    likely = min((rising << TABLE_BITS) // (rising + falling), (1 << TABLE_BITS) - 1)
    unlikely = (1 << TABLE_BITS) - likely
    return np.array([unlikely, likely] if code >= 128 else [likely, unlikely], np.uint32)


def flag_bits() -> Float64s:
    """Return the bits of no and yes for every code, float64 [FLAGS, 2]; 0 bits for code 0, which means no flag."""
    return np.array([[0.0, 0.0]] + [(TABLE_BITS - np.log2(flag_counts(code))).tolist() for code in range(1, FLAGS)])


class Quantiles(NamedTuple):
    """All tables as cumulative probabilities.

    first uint32 [tables]                   index of the first edge of each table
    edges uint32 [sum of sizes + tables]    edges between the symbols of each table, from 0 to 2^24
    lookup uint16 [tables, 2^LOOKUP_BITS]   the symbol of the first quantile with these leading bits
    """

    first: UInt32s
    edges: UInt32s
    lookup: UInt16s


def quantiles(tables: Sequence[UInt32s]) -> Quantiles:
    """Convert counts to the edges that constriction uses: each symbol gets 1 and its share of the rest of 2^24."""
    parts = []
    for table in tables:
        edges = np.concatenate([[0], np.cumsum(table, dtype=np.int64)]) * ((1 << PRECISION) - len(table))
        parts.append((edges >> TABLE_BITS) + np.arange(len(table) + 1))
        parts[-1][-1] = 1 << PRECISION
    first = np.cumsum([0, *map(len, parts[:-1])]).astype(np.uint32)
    begins = np.arange(1 << LOOKUP_BITS) << (PRECISION - LOOKUP_BITS)
    lookup = np.stack([np.searchsorted(part, begins, side="right") - 1 for part in parts]).astype(np.uint16)
    return Quantiles(first, np.concatenate(parts).astype(np.uint32), lookup)


class Tables:
    """The probability tables of one model, as quantiles, as counts and as code lengths."""

    def __init__(self, counts: Sequence[UInt32s]) -> None:
        """Number the tables from FLAGS on.

        counts   uint32 [symbols] of each table: at least 2 symbols, each count at least 1, with a sum of 2^20
        """
        for number, table in enumerate(counts):
            if len(table) < 2 or table.min() < 1 or int(table.sum()) != 1 << TABLE_BITS:
                raise ValueError(f"table {number}: counts must be 1 or more and sum to {1 << TABLE_BITS}")
        self.sizes = np.array([len(table) for table in counts])
        flags = [flag_counts(code) for code in range(1, FLAGS)]
        everything = [*flags[:1], *flags, *counts]  # table 0 is never used
        self.quantiles = quantiles(everything)
        self.code_length = np.full((len(counts), int(self.sizes.max())), 99, np.float32)
        for row, table in zip(self.code_length, counts, strict=True):
            row[: len(table)] = TABLE_BITS - np.log2(table)
        self._counts = counts

    @cached_property
    def ordered(self) -> UInt32s:
        """The counts of the model's tables without the last symbol, the escape, as they are and mirrored.

        uint32 [tables, 2, longest], with zeros beyond the end of a table
        """
        ordered = np.zeros((len(self._counts), 2, int(self.sizes.max()) - 1), np.uint32)
        for both, table in zip(ordered, self._counts, strict=True):
            both[0, : len(table) - 1] = table[:-1]
            both[1, : len(table) - 1] = table[-2::-1]
        return ordered

    @cached_property
    def escape(self) -> UInt32s:
        """The counts of the escapes, the last symbols: uint32 [tables]."""
        return np.array([table[-1] for table in self._counts], np.uint32)


class EncoderScratch(NamedTuple):
    """The scratch of an encoder.

    words uint32          output
    place int32 [tables]  where the voxels of each table begin in `order`
    order int32 [v]       the voxels of a front, by table
    own uint16 [v]        the table of each voxel of a front
    """

    words: UInt32s
    place: Int32s
    order: Int32s
    own: UInt16s

    @classmethod
    def of(cls, symbols: int, tables: int, sizes: Int64s) -> EncoderScratch:
        """Allocate scratch for a number of symbols and of tables, and for fronts of the given sizes."""
        longest = int(sizes.max())
        order, own = np.empty(longest, np.int32), np.empty(longest, np.uint16)
        return cls(words_for(symbols), np.empty(tables, np.int32), order, own)


@part
def by_table(table: Integers, place: Int32s, order: Int32s) -> Any:
    """Sort the voxels of a front by their tables uint8 or uint16 [v] into `order`; the sort is stable.

    `place` is scratch for counts, one of each table. Returns how many voxels have table 0; they come first.
    """
    place[:] = 0
    for v in range(table.shape[0]):
        place[table[v]] += 1
    none, end = np.int64(place[0]), place[0] * 0
    for k in range(place.shape[0]):
        end += place[k]
        place[k] = end - place[k]
    for v in range(table.shape[0]):
        order[place[table[v]]] = v
        place[table[v]] += 1
    return none


@part
def push(words: UInt32s, state: Any, count: Any, begin: Any, end: Any) -> tuple[Any, Any]:
    """Push the symbol between two edges; returns the new state uint64 and the new number of words uint32."""
    size = np.uint64(end - begin)
    if state >> np.uint64(64 - PRECISION) >= size:
        words[count] = state & np.uint64(0xFFFFFFFF)
        count += 1
        state >>= np.uint64(32)
    whole = state // size
    return whole << np.uint64(PRECISION) | (np.uint64(begin) + (state - whole * size)), count


@part
def push_flags(
    flag: UInt8s, settled: Bools, quantiles: Quantiles, scratch: EncoderScratch, state: Any, count: Any
) -> tuple[Any, Any]:
    """Push the flags of a front in reverse, by table; returns the same as `push`.

    flag uint8 [v]     the code of each voxel's flag, 0 for none
    settled bool [v]   whether the flag is yes
    """
    words, order = scratch.words, scratch.order
    for n in range(flag.shape[0] - 1, by_table(flag, scratch.place[:FLAGS], order) - 1, -1):
        v = order[n]
        edge = quantiles.first[flag[v]] + np.uint32(settled[v])
        state, count = push(words, state, count, quantiles.edges[edge], quantiles.edges[edge + np.uint32(1)])
    return state, count


@part
def flush(words: UInt32s, state: Any, count: Any) -> Any:
    """Write the state as the last words; returns the number of all words."""
    while state:
        words[count] = state & np.uint64(0xFFFFFFFF)
        count += 1
        state >>= np.uint64(32)
    return count


@entry
def _encode(
    flag: UInt8s, settled: Bools, table: UInt16s, token: UInt16s, sizes: Int64s,
    quantiles: Quantiles, scratch: EncoderScratch,
) -> int:  # fmt: skip
    """Push everything in reverse; returns the number of words."""
    words, place, order, own = scratch
    state, count = np.uint64(0), np.int64(0)
    end = table.shape[0]
    for f in range(sizes.shape[0] - 1, -1, -1):
        first = end - sizes[f]
        for v in range(first, end):
            own[v - first] = 0 if settled[v] else table[v]
        for n in range(end - first - 1, by_table(own[: end - first], place, order) - 1, -1):
            v = first + order[n]
            edge = quantiles.first[table[v]] + np.uint32(token[v])
            state, count = push(words, state, count, quantiles.edges[edge], quantiles.edges[edge + np.uint32(1)])
        state, count = push_flags(flag[first:end], settled[first:end], quantiles, scratch, state, count)
        end = first
    return flush(words, state, count)


def words_for(symbols: int) -> UInt32s:
    """Allocate the words of this many symbols, enough if each costs the maximum."""
    return np.empty(symbols * PRECISION // 32 + 3, np.uint32)


def encode(tables: Tables, flag: UInt8s, settled: Bools, table: UInt16s, token: UInt16s, sizes: Int64s) -> UInt32s:
    """Encode a slab's voxels, in fronts of the given sizes int64 [f]; returns words uint32.

    flag uint8 [v]            the code of each voxel's flag, 0 for none
    settled bool [v]          whether the flag is yes, so that no token follows
    table, token uint16 [v]   of the voxels that are not settled
    """
    scratch = EncoderScratch.of(
        int(np.count_nonzero(flag) + np.count_nonzero(~settled)), tables.quantiles.first.size, sizes
    )
    return scratch.words[: _encode(flag, settled, table, token, sizes, tables.quantiles, scratch)].copy()


class AnsStream(NamedTuple):
    """The words of a slab that is being decoded, and the scratch of its decoder.

    words uint32 [n]        popped from the end
    state uint64 [2]        of the coder, and how many words are left
    place int32 [tables]    where the voxels of each table begin in `order`
    order int32 [longest]   the voxels of a front, by table
    """

    words: UInt32s
    state: UInt64s
    place: Int32s
    order: Int32s


def stream(tables: Tables, words: UInt32s, longest: int) -> AnsStream:
    """Open words uint32 that `encode` returned, for fronts of at most `longest` voxels.

    Raises DamagedError if no encoder can have written them.
    """
    if words.size and words[-1] == 0:
        raise DamagedError("the entropy-coded part of a slab is not one that an encoder writes")
    state, left = 0, words.size
    while left and state < 1 << 32:
        left -= 1
        state = state << 32 | int(words[left])
    place = np.empty(tables.quantiles.first.size, np.int32)
    return AnsStream(words, np.array([state, left], np.uint64), place, np.empty(longest, np.int32))


@entry
def pop(stream: AnsStream, quantiles: Quantiles, table: UInt16s, token: UInt16s) -> None:
    """Pop the next symbols of a front into token uint16 [v], given the tables uint16 [v] of its voxels.

    A voxel of table 0 has no symbol; its token does not change. Any words decode to some symbols of these tables.
    """
    order = stream.order
    none = by_table(table, stream.place, order)
    state, left, one = stream.state[0], stream.state[1], np.uint64(1)  # numba makes floats of other sums with uint64
    for n in range(none, table.shape[0]):
        v = order[n]
        k = table[v]
        low = state & np.uint64((1 << PRECISION) - 1)
        symbol = quantiles.lookup[k, low >> np.uint64(PRECISION - LOOKUP_BITS)]
        edge = quantiles.first[k] + symbol
        while quantiles.edges[edge + one] <= low:
            edge += one
        begin = quantiles.edges[edge]
        state = (state >> np.uint64(PRECISION)) * (quantiles.edges[edge + one] - begin) + (low - begin)
        if state < np.uint64(1 << 32) and left > 0:
            left -= one
            state = state << np.uint64(32) | np.uint64(stream.words[left])
        token[v] = edge - quantiles.first[k]
    stream.state[0], stream.state[1] = state, left


def finish(stream: AnsStream) -> None:
    """Raise DamagedError unless all that the encoder pushed has been popped, and nothing more."""
    if stream.state.any():
        raise DamagedError("the entropy-coded part of a slab holds more than its voxels")
