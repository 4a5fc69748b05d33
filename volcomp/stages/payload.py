"""The payload of a slab: flags of the peak, symbols, raw bits, and the side information for them.

`write` and `SymbolReader` mirror each other. A front begins with all its flags. The symbols of all voxels that no flag
has settled follow. Both come table by table, those of one table in the order of the voxels. In slabs with level factors
every voxel has a table of its own, and the symbols follow voxel by voxel (`ans_by_voxel.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..constants import CLASSES
from ..dtypes import Bools, Float32s, Int32s, Int64s, Integers, Levels, UInt8s, UInt16s, UInt32s
from ..errors import DamagedError
from ..runtime import rendezvous
from ..runtime.compiled import code_for, entry, part
from ..wire import rice
from ..wire.cursor import Cursor, string, varint
from . import ans, ans_by_voxel, level_factors, near_factors, peak, symbols
from .level_factors import Weighing
from .near_factors import Near, Walk
from .symbols import Voxels

# What precedes the corrections of a slab with level factors, and of one that has near factors besides.
WITH_FACTORS, WITH_NEAR = b"\xff", b"\xfe"
_NONE = np.empty(0, np.uint8)


class Predictions(NamedTuple):
    """All voxels of a slab in the order of coding, and the outputs of the predictor for them.

    sizes int64 [f]            voxels of each front
    voxel int16 or int32 [v]   grey levels
    mean uint16 or int32 [v]   in sixteenths of a grey level
    classes uint8 [v]          the class of each voxel's scale, from the network
    context uint8 [v] or None  of the flags of the peak; None if the slab has no candidate
    """

    sizes: Int64s
    voxel: Levels
    mean: Integers
    classes: UInt8s
    context: UInt8s | None


def write(
    tables: ans.Tables, predictions: Predictions, limit: int, candidate: int | None, has_excluded: bool,
    minimum_saving: float, sample: int = level_factors.SAMPLE, walk: Walk | None = None,
) -> bytes:  # fmt: skip
    """Write the payload of a slab; finds the corrections of its classes, its peak and its level factors.

    limit            the largest grey level that a voxel can have
    candidate        the grey level that may become the peak (`peak.candidate`), or None
    has_excluded     whether the network did not learn from the candidate, so that the decoder must know it
    minimum_saving   the share of a slab that level factors must save
    sample           how many voxels decide whether level factors do so
    walk             of a slab that may have near factors, else None
    """
    sizes, voxel, mean, classes, context = predictions
    width = limit.bit_length()
    flag = np.zeros(voxel.size, np.uint8)
    voxels = Voxels(voxel, mean, classes, np.zeros(voxel.size, bool))
    corrections = symbols.correct(voxels, tables.code_length, width)
    found = _find_peak(tables, voxels._replace(classes=corrected(classes, corrections)), limit, candidate, context)
    if found is not None:
        assert context is not None
        flag = looked_up(found.codes, context)
        voxels = voxels._replace(settled=(flag > 0) & (voxel == found.value))
        corrections = symbols.correct(voxels, tables.code_length, width)
    voxels = voxels._replace(classes=corrected(classes, corrections))
    exponents = level_factors.find(voxels, tables, limit, minimum_saving, sample)
    nearby = None
    if walk:
        stated = np.zeros(limit + 1, np.int64) if exponents is None else exponents
        weighing = level_factors.weighing(tables, level_factors.of_exponents(stated))
        nearby = near_factors.find(voxels, walk, weighing, minimum_saving)
        exponents = exponents if nearby is None else stated
    if exponents is None:
        words, raw = _plain(voxels, flag, sizes, tables, width)
    else:
        weighing = level_factors.weighing(tables, level_factors.of_exponents(exponents))
        near = None
        if walk and nearby is not None:
            near = near_factors.prepared(weighing, walk, nearby)
            near_factors.show(voxels.voxel, near)
        words, raw = ans_by_voxel.encode(voxels, flag, sizes, tables, weighing, width, near)
    level = b"" if candidate is None else varint(candidate)
    steps = rice.encode(corrections) if corrections.any() else b""
    parts = [
        string((b"" if exponents is None else WITH_FACTORS if nearby is None else WITH_NEAR) + steps),
        string(level + found.codes.tobytes() if found else level if has_excluded else b""),
        b"" if exponents is None else string(level_factors.to_bytes(exponents)),
        b"" if nearby is None else string(near_factors.to_bytes(nearby)),
        varint(words.size),
        words.astype("<u4").tobytes(),
        raw.tobytes(),
    ]
    return b"".join(parts)


def _plain(voxels: Voxels, flag: UInt8s, sizes: Int64s, tables: ans.Tables, width: int) -> tuple[UInt32s, UInt8s]:
    """Encode a slab without level factors; returns words uint32 and raw bits uint8. See `ans_by_voxel.encode`."""
    table, token = np.empty(flag.size, np.uint16), np.empty(flag.size, np.uint16)
    symbols.to_symbols(voxels, table, token)
    table += ans.FLAGS
    words = ans.encode(tables, flag, voxels.settled, table, token, sizes)
    size = symbols.raw_bits(voxels, token, width, np.empty(0, np.uint8))
    raw = np.zeros(-(-size // 8), np.uint8)
    symbols.raw_bits(voxels, token, width, raw)
    return words, raw


def corrected(classes: UInt8s, corrections: Int64s) -> UInt8s:
    """Return the classes uint8 whose tables are used, given the corrections int64 [CLASSES] of the slab."""
    if not corrections.any():
        return classes
    return looked_up((np.arange(CLASSES) + corrections).astype(np.uint8), classes)


@entry
def _look_up(table: UInt8s, places: UInt8s, out: UInt8s) -> None:
    for v in range(places.shape[0]):
        out[v] = table[places[v]]


def looked_up(table: UInt8s, places: UInt8s) -> UInt8s:
    """Look up uint8 entries of a table at places uint8 [v]. (numpy would first widen all places to 64 bits.)"""
    out = np.empty(places.shape, np.uint8)
    _look_up(table, places, out)
    return out


def _find_peak(
    tables: ans.Tables, voxels: Voxels, limit: int, value: int | None, context: UInt8s | None
) -> peak.Peak | None:
    """Find the slab's peak, given voxels with their corrected classes; None where flags do not pay."""
    if value is None or context is None:
        return None
    counts = np.zeros(peak.CONTEXTS, np.int64), np.zeros(peak.CONTEXTS, np.int64)
    totals = peak.FlagTotals(*counts, np.zeros(peak.CONTEXTS))
    _add_up(voxels, context, value, tables.code_length, limit.bit_length(), totals)
    return peak.choose(value, totals, ans.flag_bits())


@entry
def _add_up(
    voxels: Voxels, context: UInt8s, value: int, code_length: Float32s, bits: int, totals: peak.FlagTotals
) -> None:
    """Add up what `peak.choose` needs."""
    voxel, mean, classes, _ = voxels
    total, at_peak, saved = totals
    for v in range(voxel.shape[0]):
        total[context[v]] += 1
        if voxel[v] == value:
            at_peak[context[v]] += 1
            saved[context[v]] += symbols.price(voxel[v], mean[v], classes[v], code_length, bits)


class _Scratch(NamedTuple):
    """Scratch for the voxels of a front [v].

    classes uint8   corrected
    table uint16    0 for no symbol
    token uint16
    settled bool    whether a flag says that the voxel has the peak's level
    voxel int32
    """

    classes: UInt8s
    table: UInt16s
    token: UInt16s
    settled: Bools
    voxel: Int32s


class _Slab(NamedTuple):
    """All that decodes the symbols of a slab, except level factors.

    corrections uint8 [CLASSES]   the class whose tables replace those of each class
    codes uint8 [CONTEXTS or 0]   of the flags; empty where there are none
    peak                          the grey level that flags stand for
    """

    corrections: UInt8s
    codes: UInt8s
    peak: int
    stream: ans.AnsStream
    quantiles: ans.Quantiles
    raw: symbols.RawBits
    scratch: _Scratch


class _Factors(NamedTuple):
    """The factors of a slab that has some."""

    weighing: Weighing
    near: Near


@part
def _pop_flags(context: UInt8s, slab: _Slab) -> None:
    """Pop the flags of a front into the slab's scratch; without contexts uint8 [v], no voxel is settled."""
    size, scratch = context.shape[0], slab.scratch
    scratch.settled[:] = False
    if size:
        table, token = scratch.table[:size], scratch.token[:size]
        token[:] = 0
        for v in range(size):
            table[v] = slab.codes[context[v]]
        ans.pop(slab.stream, slab.quantiles, table, token)
        for v in range(size):
            scratch.settled[v] = token[v] == 1
            scratch.voxel[v] = slab.peak


@entry
def _decode_front(
    mean: Int32s, classes: UInt8s, context: UInt8s, slab: _Slab, factors: _Factors | None, position: int
) -> int:
    """Decode the voxels of a front into the slab's scratch: flags, then symbols, then raw bits from `position` on.

    Returns the position in the raw bits after them, or −1 as from `symbols.to_voxels`.
    """
    size, scratch = mean.shape[0], slab.scratch
    table, token, settled = scratch.table[:size], scratch.token[:size], scratch.settled[:size]
    coded = scratch.classes[:size]
    voxels = Voxels(scratch.voxel[:size], mean, coded, settled)
    _pop_flags(context, slab)
    for v in range(size):
        coded[v] = slab.corrections[classes[v]]
    if factors is None:
        symbols.locate(mean, coded, table)
        for v in range(size):
            table[v] = 0 if settled[v] else table[v] + ans.FLAGS
        ans.pop(slab.stream, slab.quantiles, table, token)
        return symbols.to_voxels(voxels, token, slab.raw, position)
    return ans_by_voxel.pop(voxels, slab.stream, factors.weighing, factors.near, slab.raw, position)


@entry
def _serve(
    consumer: rendezvous.Consumer, voxel: Int32s, mean: Int32s, classes: UInt8s, context: UInt8s,
    slab: _Slab, factors: _Factors | None,
) -> tuple[bool, int]:  # fmt: skip
    """Serve a consumer in compiled code; see `rendezvous.ByCalls.serve`. Also returns the position in the raw bits."""
    position = 0
    for begin, end in consumer.pieces:
        rendezvous.wait(consumer.requested, consumer.patience)
        if consumer.ended[0]:
            return False, position
        if position >= 0 and begin < end:
            position = _decode_front(mean[begin:end], classes[begin:end], context[begin:end], slab, factors, position)
            for v in range(begin, end):
                voxel[v] = slab.scratch.voxel[v - begin]
        if position < 0:
            voxel[begin:end] = 0
        rendezvous.release(consumer.served)
    return True, position


class SymbolReader:
    """Decodes a payload that `write` wrote, front by front.

    peak       the grey level that contexts refer to, or None
    excluded   the grey level that the network does not learn from, or None
    """

    def __init__(
        self, tables: ans.Tables, data: Cursor, limit: int, longest: int, walk: Walk | None = None
    ) -> None:  # fmt: skip
        """Read the rest of `data`, for voxels 0 … limit and fronts of at most `longest` voxels.

        Raises DamagedError if `write` cannot have written it.
        """
        self._position = 0
        steps = data.string()
        has_near = steps.startswith(WITH_NEAR)
        has_factors = has_near or steps.startswith(WITH_FACTORS)
        corrections = _read_corrections(steps[len(WITH_FACTORS) :] if has_factors else steps)
        self.excluded, codes = _read_peak(data.string(), limit)
        self._factors: _Factors | None = None
        if has_factors:
            exponents = level_factors.from_bytes(data.string(), limit)
            weighing = level_factors.weighing(tables, level_factors.of_exponents(exponents))
            self._factors = _Factors(weighing, near_factors.without(weighing))
            if has_near:
                if walk is None:
                    raise DamagedError("it has near factors, which are for slabs of one slice")
                nearby = near_factors.from_bytes(data.string())
                self._factors = _Factors(weighing, near_factors.prepared(weighing, walk, nearby))
        self.peak = self.excluded if codes.size else None
        words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
        stream = ans.stream(tables, words, longest)
        scratch = _Scratch(*(np.empty(longest, kind) for kind in ("u1", "u2", "u2", "?", "i4")))
        raw = symbols.RawBits(np.frombuffer(data.rest(), np.uint8), limit, limit.bit_length())
        self._slab = _Slab(corrections, codes, self.peak or 0, stream, tables.quantiles, raw, scratch)
        self._decode: Callable[..., int] | None = None  # the code of `_decode_front` for these arrays

    def pop(self, mean: Int32s, classes: UInt8s, context: UInt8s | None) -> Int32s:
        """Pop the voxels int32 [v] of the next front, a view that is valid until the next call.

        Contexts are needed where `peak` is not None.
        """
        contexts = _NONE if self.peak is None or context is None else context
        work = mean, classes, contexts, self._slab, self._factors, self._position
        self._decode = self._decode or code_for(_decode_front, *work)
        self._check(self._decode(*work))
        return self._slab.scratch.voxel[: mean.size]

    def serve(
        self,
        consumer: rendezvous.Consumer,
        voxel: Int32s,
        mean: Int32s,
        classes: UInt8s,
        context: UInt8s,
    ) -> bool:
        """Serve a consumer without Python, from means int32, classes and contexts uint8.

        See `rendezvous.ByCalls.serve`.
        """
        contexts = _NONE if self.peak is None else context
        is_through, position = _serve(consumer, voxel, mean, classes, contexts, self._slab, self._factors)
        self._check(position)
        return is_through

    def _check(self, position: int) -> None:
        self._position = position
        if position < 0:
            raise DamagedError("it decodes to voxels that the volume cannot have")

    def finish(self) -> None:
        """Raise DamagedError unless all that was written has been decoded, and nothing more."""
        ans.finish(self._slab.stream)
        if -(-self._position // 8) != self._slab.raw.data.size:
            raise DamagedError("it holds more raw bits than its voxels have")


def _read_corrections(data: bytes) -> UInt8s:
    """Read the class whose tables replace those of each class: uint8 [CLASSES]."""
    classes = np.arange(CLASSES)
    if data:
        classes += rice.decode(data, CLASSES)
    if classes.min() < 0 or classes.max() >= CLASSES:
        raise DamagedError("its corrections lead to classes that do not exist")
    return classes.astype(np.uint8)


def _read_peak(data: bytes, limit: int) -> tuple[int | None, UInt8s]:
    """Read the excluded grey level or None, and the codes uint8 of its flags: [CONTEXTS] if it is the peak, or [0]."""
    if not data:
        return None, np.empty(0, np.uint8)
    reader = Cursor(data, "its list of flags")
    value, codes = reader.varint(), np.frombuffer(reader.rest(), np.uint8).copy()
    if codes.size not in (0, peak.CONTEXTS):
        raise DamagedError(f"its list of flags has {codes.size} codes, where 0 or {peak.CONTEXTS} are possible")
    if value > limit:
        raise DamagedError(f"its peak is {value}, beyond the largest grey level {limit}")
    return value, codes
