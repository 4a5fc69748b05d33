"""From means and classes to bytes and back: spike flags, symbols, raw bits, and what the encoder sends along with them.

`write` and `Reader` mirror each other. A front is coded as all its flags, then the symbols of all voxels that no flag
has settled; each table by table, each table's in the order of the voxels. Where grey levels have factors, every voxel
has a table of its own, and the symbols follow voxel by voxel (`weighted.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..constants import CLASSES
from ..errors import DamagedError
from ..runtime import rendezvous
from ..runtime.compiled import entry, part
from ..wire import rice
from ..wire.cursor import Cursor, string, varint
from . import ans, ans_by_voxel, level_factors, peak, symbols

WEIGHTED = b"\xff"  # before the corrections of a slab whose grey levels have factors
_NONE = np.empty(0, np.uint8)
# `ordered` and `escape` of the tables, room for what they make with factors, and these.
Factors = tuple[np.ndarray, np.ndarray, np.ndarray, level_factors.Blocks]


class Predictions(NamedTuple):
    """All voxels of a slab in the order of coding, and what the network said of them before it knew them.

    sizes int64 [f]            voxels of each front
    voxel int16 or int32 [v]   grey levels
    mean uint16 or int32 [v]   in sixteenths of one
    classes uint8 [v]          how sure the network was
    context uint8 [v] or None  of the spike's flags, if the slab has a grey level that may be one
    """

    sizes: np.ndarray
    voxel: np.ndarray
    mean: np.ndarray
    classes: np.ndarray
    context: np.ndarray | None


def write(
    tables: ans.Tables, predictions: Predictions, limit: int, common: int | None, quiet: bool, worthwhile: float,
    sample: int = level_factors.SAMPLE,
) -> bytes:  # fmt: skip
    """Code the voxels of a slab.

    `limit` is the largest grey level that a voxel can have, `common` one that may be a spike (`spike.candidate`), and
    `quiet` says that the network has not learned from it, so that the decoder must know it; `worthwhile` is the share
    of a slab that factors of grey levels must save, and `sample` how many voxels tell whether they do. Here the
    classes are corrected for the slab, and its spike and factors found.
    """
    sizes, voxel, mean, classes, context = predictions
    width = limit.bit_length()
    flag, settled = np.zeros(voxel.size, np.uint8), np.zeros(voxel.size, bool)
    corrections = symbols.correct(voxel, mean, classes, settled, tables.code_length, width)
    found = _find_spike(tables, voxel, mean, corrected(classes, corrections), limit, common, context)
    if found is not None:
        assert context is not None
        flag = looked_up(found.codes, context)
        settled = (flag > 0) & (voxel == found.value)
        corrections = symbols.correct(voxel, mean, classes, settled, tables.code_length, width)
    classes = corrected(classes, corrections)
    factors = level_factors.find(
        voxel, mean, classes, settled, tables.ordered, tables.escape, limit, worthwhile, sample
    )
    if factors is None:
        words, raw = _plain(tables, voxel, mean, classes, flag, settled, sizes, width)
    else:
        blocks = level_factors.blocks(factors)
        words, raw = ans_by_voxel.encode(tables, blocks, voxel, mean, classes, flag, settled, sizes, width)
    level = b"" if common is None else varint(common)
    steps = rice.encode(corrections) if corrections.any() else b""
    parts = [
        string(steps if factors is None else WEIGHTED + steps),
        string(level + found.codes.tobytes() if found else level if quiet else b""),
        b"" if factors is None else string(level_factors.to_bytes(factors)),
        varint(words.size),
        words.astype("<u4").tobytes(),
        raw.tobytes(),
    ]
    return b"".join(parts)


def _plain(
    tables: ans.Tables, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, flag: np.ndarray,
    settled: np.ndarray, sizes: np.ndarray, width: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Words uint32 and raw bits uint8 of a slab whose grey levels have no factors; as `weighted.encode`."""
    table, token = np.empty(voxel.size, np.uint16), np.empty(voxel.size, np.uint16)
    symbols.to_symbols(voxel, mean, classes, table, token)
    table += ans.FLAGS
    words = ans.encode(tables, flag, settled, table, token, sizes)
    size = symbols.raw_bits(voxel, mean, classes, token, settled, width, np.empty(0, np.uint8))
    raw = np.zeros(-(-size // 8), np.uint8)
    symbols.raw_bits(voxel, mean, classes, token, settled, width, raw)
    return words, raw


def corrected(classes: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """The classes uint8 whose tables are used, given the steps int64 [CLASSES] of the slab."""
    if not corrections.any():
        return classes
    return looked_up((np.arange(CLASSES) + corrections).astype(np.uint8), classes)


@entry
def _look_up(table: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
    for v in range(places.shape[0]):
        out[v] = table[places[v]]


def looked_up(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The numbers uint8 of a table at places uint8 [v]. (numpy would widen all places to 64 bits first.)"""
    out = np.empty(places.shape, np.uint8)
    _look_up(table, places, out)
    return out


def _find_spike(
    tables: ans.Tables, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, limit: int, value: int | None,
    context: np.ndarray | None,
) -> peak.Spike | None:  # fmt: skip
    """The slab's spike, where flags pay; classes are the corrected ones."""
    if value is None or context is None:
        return None
    totals = np.zeros(peak.CONTEXTS, np.int64), np.zeros(peak.CONTEXTS, np.int64), np.zeros(peak.CONTEXTS)
    _add_up(voxel, mean, classes, context, value, tables.code_length, limit.bit_length(), *totals)
    return peak.choose(value, *totals, ans.flag_bits())


@entry
def _add_up(
    voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, context: np.ndarray, value: int, code_length: np.ndarray,
    bits: int, total: np.ndarray, spikes: np.ndarray, saved: np.ndarray,
) -> None:  # fmt: skip
    """What `spike.choose` wants to know of every context, and so of the voxels that have the value alone what they
    would cost without a flag."""
    for v in range(voxel.shape[0]):
        total[context[v]] += 1
        if voxel[v] == value:
            spikes[context[v]] += 1
            saved[context[v]] += symbols.price(voxel[v], mean[v], classes[v], code_length, bits)


class _Room(NamedTuple):
    """What is between the stages, for the voxels of a front [v].

    classes uint8   the corrected ones
    table uint16    0 for no symbol
    token uint16
    settled bool    whether a flag says that the voxel is the spike
    voxel int32
    """

    classes: np.ndarray
    table: np.ndarray
    token: np.ndarray
    settled: np.ndarray
    voxel: np.ndarray


class _Slab(NamedTuple):
    """What the symbols of a slab are decoded with, but for factors of grey levels.

    corrections uint8 [CLASSES]   the class whose tables serve every class
    codes, spike                  of the flags; no codes where there are none
    raw uint8 [bytes]             raw bits
    limit, bits                   the largest grey level, and what one takes as raw bits
    """

    corrections: np.ndarray
    codes: np.ndarray
    spike: int
    stream: ans.Stream
    quantiles: ans.Quantiles
    raw: np.ndarray
    limit: int
    bits: int
    room: _Room


@part
def _take_flags(context: np.ndarray, slab: _Slab) -> None:
    """The flags of a front into the slab's room, where there is a context uint8 [v] for every voxel."""
    size, room = context.shape[0], slab.room
    room.settled[:] = False
    if size:
        table, token = room.table[:size], room.token[:size]
        token[:] = 0
        for v in range(size):
            table[v] = slab.codes[context[v]]
        ans.take(slab.stream, slab.quantiles, table, token)
        for v in range(size):
            room.settled[v] = token[v] == 1
            room.voxel[v] = slab.spike


@entry
def _take(
    mean: np.ndarray, classes: np.ndarray, context: np.ndarray, slab: _Slab, factors: Factors | None, position: int
) -> int:
    """The voxels of a front into the slab's room: flags, then symbols, then raw bits, of which `position` have been
    taken. Returns how many have been then, or −1, as `residual.to_voxels` does."""
    size, room = mean.shape[0], slab.room
    table, token, settled, voxel = room.table[:size], room.token[:size], room.settled[:size], room.voxel[:size]
    coded = room.classes[:size]
    _take_flags(context, slab)
    for v in range(size):
        coded[v] = slab.corrections[classes[v]]
    if factors is None:
        symbols.locate(mean, coded, table)
        for v in range(size):
            table[v] = 0 if settled[v] else table[v] + ans.FLAGS
        ans.take(slab.stream, slab.quantiles, table, token)
        return symbols.to_voxels(mean, coded, token, settled, slab.raw, position, slab.bits, slab.limit, voxel)
    ordered, escape, products, blocks = factors
    return ans_by_voxel.take(
        mean, coded, settled, slab.stream, ordered, escape, products, blocks, slab.raw, position, slab.bits, slab.limit,
        voxel,
    )  # fmt: skip


@entry
def _serve(
    consumer: rendezvous.Consumer, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, context: np.ndarray,
    slab: _Slab, factors: Factors | None,
) -> tuple[bool, int]:  # fmt: skip
    """As `rendezvous.ByCalls.serve`, all compiled; returns what the last `_take` did as well."""
    position = 0
    for begin, end in consumer.pieces:
        rendezvous.wait(consumer.requested, consumer.patience)
        if consumer.ended[0]:
            return False, position
        if position >= 0 and begin < end:
            position = _take(mean[begin:end], classes[begin:end], context[begin:end], slab, factors, position)
            for v in range(begin, end):
                voxel[v] = slab.room.voxel[v - begin]
        if position < 0:
            voxel[begin:end] = 0
        rendezvous.release(consumer.served)
    return True, position


class Reader:
    """Decodes what `write` wrote, front by front. `peak` is the grey level that contexts are asked for, or None;
    `excluded` the one that the network does not learn from, or None."""

    def __init__(self, tables: ans.Tables, data: Cursor, limit: int, longest: int) -> None:
        """Takes all that is left of `data`; voxels are 0 … limit, and the longest front has so many. DamagedError where
        it is not what `write` writes."""
        self._position = 0
        steps = data.string()
        has_factors = steps.startswith(WEIGHTED)
        corrections = _read_corrections(steps[len(WEIGHTED) :] if has_factors else steps)
        self.excluded, codes = _read_spike(data.string(), limit)
        self._factors: Factors | None = None
        if has_factors:
            blocks = level_factors.blocks(level_factors.from_bytes(data.string(), limit))
            self._factors = tables.ordered, tables.escape, np.empty(tables.ordered.shape[2], np.uint32), blocks
        self.peak = self.excluded if codes.size else None
        words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
        stream = ans.stream(tables, words, longest)
        room = _Room(*(np.empty(longest, kind) for kind in ("u1", "u2", "u2", "?", "i4")))
        self._slab = _Slab(
            corrections, codes, self.peak or 0, stream, tables.quantiles, np.frombuffer(data.rest(), np.uint8), limit,
            limit.bit_length(), room,
        )  # fmt: skip

    def take(self, mean: np.ndarray, classes: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """The voxels int32 [v] of the next front, until the next call; contexts are needed where there is a spike."""
        contexts = _NONE if self.peak is None or context is None else context
        self._check(_take(mean, classes, contexts, self._slab, self._factors, self._position))
        return self._slab.room.voxel[: mean.size]

    def serve(
        self,
        consumer: rendezvous.Consumer,
        voxel: np.ndarray,
        mean: np.ndarray,
        classes: np.ndarray,
        context: np.ndarray,
    ) -> bool:
        """As `rendezvous.ByCalls.serve`, without Python: from means int32, classes and contexts uint8."""
        contexts = _NONE if self.peak is None else context
        is_through, position = _serve(consumer, voxel, mean, classes, contexts, self._slab, self._factors)
        self._check(position)
        return is_through

    def _check(self, position: int) -> None:
        self._position = position
        if position < 0:
            raise DamagedError("it decodes to voxels that the volume cannot have")

    def finish(self) -> None:
        """DamagedError unless exactly what was written has been taken."""
        ans.finish(self._slab.stream)
        if -(-self._position // 8) != self._slab.raw.size:
            raise DamagedError("it holds more raw bits than its voxels have")


def _read_corrections(data: bytes) -> np.ndarray:
    """The class whose tables serve every class: uint8 [CLASSES]."""
    classes = np.arange(CLASSES)
    if data:
        classes += rice.decode(data, CLASSES)
    if classes.min() < 0 or classes.max() >= CLASSES:
        raise DamagedError("its corrections lead to classes that do not exist")
    return classes.astype(np.uint8)


def _read_spike(data: bytes, limit: int) -> tuple[int | None, np.ndarray]:
    """The quiet grey level or None, and the codes uint8 of its flags [CONTEXTS] where it is a spike, else [0]."""
    if not data:
        return None, np.empty(0, np.uint8)
    reader = Cursor(data, "its list of flags")
    value, codes = reader.varint(), np.frombuffer(reader.rest(), np.uint8).copy()
    if codes.size not in (0, peak.CONTEXTS):
        raise DamagedError(f"its list of flags has {codes.size} codes, where 0 or {peak.CONTEXTS} are possible")
    if value > limit:
        raise DamagedError(f"its spike is {value}, beyond the largest grey level {limit}")
    return value, codes
