"""Choose how numbers are coded: what occurs in a whole file is counted, and sizes are estimated from its middle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import cost
from .byte_streams import is_noise, packed_size
from .keys import MANTISSA, to_keys
from .number_codes import LEVELS, MOST_SPECIALS, Code, Split, Table, Tables, numbers_of
from .numbers import MOST_COMPONENTS, NumbersReading, Place, Words
from .planes import MOST_PLANES

_BLOCK_BYTES = 1 << 24  # that are read at once
_SAMPLE_NUMBERS = 1 << 18  # in the middle of a file, or one frame
_SAMPLE_PLANES = 4  # of the sample, that are predicted
_VOLUME_BYTES = 500  # that a volume takes beside its voxels, with its linear weights
_WORTHWHILE = 0.99  # of what a general codec makes, at most; a file that is kept whole is restored quicker
_FREQUENT = 1 / 256  # of the numbers of the sample, from which on one has a level of its own
_RARE = 1 / 8  # distinct numbers among all, from which on a split is compared with a table
_MOST_SIDE = 24 << 20  # bytes beside planes, of those that an archive keeps of a file; more become planes
_NEAR = 0.2  # of a step, that a number may be from where the line of a table has it


@dataclass(frozen=True)
class _Source:
    """The numbers of a file."""

    file: BinaryIO
    words: Words
    place: Place

    @property
    def frame_bytes(self) -> int:
        return self.place.rows * self.place.columns * self.words.components * self.words.type.itemsize

    @property
    def count(self) -> int:
        """Return how many numbers there are."""
        return self.place.frames * self.frame_bytes // self.words.type.itemsize

    @property
    def slices(self) -> int:
        """Return the slices of a frame."""
        return self.words.components if self.words.slices else 1

    def frame_keys(self, number: int) -> NDArray[Any]:
        """Return the keys of a frame [c, z, Y, X], which has one slice unless components are slices."""
        data = self.place.read(self.file, number * self.frame_bytes, self.frame_bytes)
        return self.words.to_keys(data, self.place.rows, self.place.columns)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the keys of all numbers."""
        end, size = self.place.frames * self.frame_bytes, self.words.type.itemsize
        for at in range(0, end, _BLOCK_BYTES):
            data = self.place.read(self.file, at, min(_BLOCK_BYTES, end - at))
            words = np.frombuffer(data, self.words.stored, len(data) // size)
            if len(words):
                yield to_keys(words.astype(self.words.type, copy=False))

    def sample(self) -> bytes:
        """Return the frames in the middle."""
        count = max(1, min(self.place.frames, _SAMPLE_NUMBERS * self.words.type.itemsize // self.frame_bytes))
        first = (self.place.frames - count) // 2
        return self.place.read(self.file, first * self.frame_bytes, count * self.frame_bytes)


@dataclass
class _Found:
    """What occurs."""

    keys: NDArray[Any] | None  # sorted; None where there are more than LEVELS
    low: int
    high: int
    stretches: NDArray[np.bool_]  # bool [LEVELS]: of floating-point numbers, whether their exponents occur


def reading_for(file: BinaryIO, words: Words, place: Place, *, alike: bool = False) -> NumbersReading | None:
    """Return how the numbers of a file are best read; None where a general codec makes them smaller.

    Parameters:
        file: any position. It has all numbers that are stated here.
        words: how they lie; `slices` is chosen here.
        place: where they are.
        alike: whether other files of the type become slices beside these: all get levels of the same meaning.

    Raises:
        OSError: where the file cannot be read.
    """
    if words.components > MOST_COMPONENTS:
        return None
    if words.components > MOST_PLANES // 2:
        words = replace(words, slices=True)
    source = _Source(file, words, place)
    sample = source.sample()
    if len(sample) % source.frame_bytes or not sample:
        return None  # the file became shorter
    keys = words.to_keys(sample, place.rows, place.columns)
    if alike:
        bits = 8 * words.type.itemsize
        codes: list[Code] = [Split(words.type, 0, 0, (), 1 << bits, max(0, bits - 16))]
    else:
        codes = list(_codes(words.type, _occurring(source, keys), keys, source.count))
        alone = isinstance(codes[0], Table) and codes[0].line is not None
        if words.type.kind == "f" and place.frames > 1 and not alone and (tables := _tables(source, keys)):
            codes.append(tables)
    best: tuple[float, NumbersReading] | None = None
    share = keys.size / source.count
    first = (place.frames - len(sample) // source.frame_bytes) // 2 * source.slices
    for code in codes:
        size, beside, stored = _sizes(code, keys, first, share)
        low_planes = beside > _MOST_SIDE
        reading = NumbersReading(words, code, place, low_planes=low_planes, stored=() if low_planes else stored)
        if reading.planes <= MOST_PLANES and (best is None or size < best[0]):
            best = size, reading
    if best is None or best[0] > _WORTHWHILE * cost.general(sample):
        return None
    return best[1]


def _occurring(source: _Source, sample: NDArray[Any]) -> _Found:
    """Read all numbers once."""
    kind = source.words.type
    exponents = kind.kind == "f"
    distinct = np.unique(sample)
    keys: NDArray[Any] | None = distinct
    if len(distinct) > LEVELS or (2 * len(distinct) > sample.size and source.count > 8 * LEVELS):
        keys = None
    low, high = int(distinct[0]), int(distinct[-1])
    stretches = np.zeros(LEVELS, np.bool_)
    for block in source.blocks():
        low, high = min(low, int(block.min())), max(high, int(block.max()))
        if exponents:
            stretches |= np.bincount(block >> block.dtype.type(MANTISSA[kind.itemsize]), minlength=LEVELS) > 0
        if keys is not None:
            keys = np.union1d(keys, block)
            keys = keys if len(keys) <= LEVELS else None
    return _Found(keys, low, high, stretches)


def _codes(kind: np.dtype[Any], found: _Found, sample: NDArray[Any], count: int) -> Iterator[Code]:
    """Yield the codes that may be best."""
    span = found.high - found.low + 1
    if span <= LEVELS and (found.keys is None or kind.kind != "f") and not _sparse(found, span):
        yield Split(kind, found.low, 0, (), span, 0)
        return
    if found.keys is not None:
        yield _table(kind, found.keys)
        if len(found.keys) < _RARE * count:
            return
    yield _split(kind, found, sample)


def _sparse(found: _Found, span: int) -> bool:
    """Return whether all numbers are multiples of a greater step."""
    return found.keys is not None and span > 2 and _common_step(found.keys) > 1


def _common_step(keys: NDArray[Any]) -> int:
    """Return the greatest common divisor of all distances between keys."""
    return math.gcd(*np.unique(np.diff(keys)).tolist()) if len(keys) > 1 else 1


def _table(kind: np.dtype[Any], keys: NDArray[Any]) -> Table:
    """Return a table, whose levels are as far apart as the numbers where that is possible, else next to each other."""
    ranks = np.arange(len(keys)).astype("<u2")
    if kind.kind == "f":
        if line := _line(kind, keys):
            return line
    elif len(keys) > 1:
        step = _common_step(keys)
        if (int(keys[-1]) - int(keys[0])) // step < LEVELS:
            levels = (keys - keys[0]) // keys.dtype.type(step)
            return Table(kind, keys, levels.astype("<u2"), None, step)
    step = int(np.median(np.diff(keys))) if len(keys) > 1 else 0
    return Table(kind, keys, ranks, None, step)


def _tables(source: _Source, sample: NDArray[Any]) -> Tables | None:
    """Return a table for each slice, where those of the sample are multiples of steps of their own; else None."""
    kind = source.words.type
    if any(_line(kind, np.unique(sample[:, z])) is None for z in range(sample.shape[1])):
        return None
    tables: list[Table] = []
    size = 0
    for number in range(source.place.frames):
        keys = source.frame_keys(number)
        for z in range(keys.shape[1]):
            distinct = np.unique(keys[:, z])
            size += len(distinct) * (2 + kind.itemsize)
            if len(distinct) > LEVELS or size > _MOST_SIDE:
                return None
            tables.append(_table(kind, distinct))
    return Tables(tuple(tables))


def _line(kind: np.dtype[Any], keys: NDArray[Any]) -> Table | None:
    """Return a table of floating-point numbers that are multiples of a step, but for rounding; None for others.

    Infinities and what is not a number come after the others.
    """
    values = numbers_of(keys, kind)
    regular = np.isfinite(values)
    of_line, others = values[regular], int(np.count_nonzero(~regular))
    gaps = np.diff(of_line)
    if len(gaps) < 2 or not gaps.min() > 0:  # a gap of nothing is between −0 and +0
        return None
    step = float(gaps[gaps < 1.5 * gaps.min()].mean())
    with np.errstate(all="ignore"):
        for _ in range(2):
            levels = np.cumsum(np.rint(gaps / step)) if _ == 0 else np.rint((of_line[1:] - of_line[0]) / step)
            if not levels[-1] + others < LEVELS:
                return None
            step = float((of_line[-1] - of_line[0]) / levels[-1])
        missed = np.abs(of_line[0] + step * levels - of_line[1:])
    if not (np.diff(levels, prepend=0) > 0).all() or not missed.max() < _NEAR * step:
        return None
    all_levels = np.concatenate([[0], levels, levels[-1] + 1 + np.arange(others)])
    in_order = np.concatenate([keys[regular], keys[~regular]])
    return Table(kind, in_order, all_levels.astype("<u2"), (float(of_line[0]), step))


def _split(kind: np.dtype[Any], found: _Found, sample: NDArray[Any]) -> Split:
    """Return a split whose levels are as fine as 16 bits allow."""
    if kind.kind == "f":
        stretches = tuple(np.flatnonzero(found.stretches).tolist())
        stretch, base = MANTISSA[kind.itemsize], 0
        limit = len(stretches) << stretch
    else:
        stretches, stretch, base, limit = (), 0, found.low, found.high - found.low + 1
    bare = Split(kind, base, stretch, stretches, limit, 0)
    values, counts = np.unique(bare.dense(sample), return_counts=True)
    often = np.argsort(-counts, kind="stable")[:MOST_SPECIALS]
    specials = tuple(sorted(int(values[i]) for i in often if counts[i] > max(_FREQUENT * sample.size, 8)))
    shift = max(0, (limit - 1).bit_length() - 16)
    while ((limit - 1) >> shift) + 1 + 2 * len(specials) > LEVELS:
        shift += 1
    return Split(kind, base, stretch, stretches, limit, shift, specials if shift else ())


def _sizes(code: Code, keys: NDArray[Any], first: int, share: float) -> tuple[float, float, tuple[bool, ...]]:
    """Return estimated bytes of the sample, those of the lower bits in the whole file, and which of these are noise.

    Lower bits that become planes take as many bytes as beside them: they are noise.
    """
    size = share * (cost.packed(code.encoded()) + _VOLUME_BYTES * len(keys))
    beside = 0.0
    stored: list[bool] = []
    for number, component in enumerate(keys):
        parts = code.forward(component, first)
        size += _predicted(parts.levels) * len(component)
        if parts.low is None:
            continue
        low = parts.low.reshape(-1) if parts.told is None else parts.low[~parts.told]
        for at in range(0, code.shift, 8):
            data = (low >> low.dtype.type(at)).astype(np.uint8).tobytes()
            if not number:
                stored.append(is_noise(data))
            beside += len(data) if stored[at // 8] else packed_size(data)
    return size + beside, beside / share, tuple(stored)


def _predicted(planes: NDArray[Any]) -> float:
    """Estimate the bytes of one of some planes [z, Y, X], of which a few are looked at."""
    step = max(1, len(planes) // _SAMPLE_PLANES)
    chosen = range(min(step - 1, len(planes) - 1), len(planes), step)
    return sum(cost.predicted(planes[z], planes[z - 1] if z else None) for z in chosen) / len(chosen)
