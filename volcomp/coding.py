"""From means and classes to bytes and back: spike flags, symbols, raw bits, and what the encoder sends along with them.

`write` and `Reader` mirror each other. A front is coded as all its flags, then the symbols of all voxels that no flag
has settled; each table by table, each table's in the order of the voxels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from . import entropy, residual, rice, spike
from .cursor import Cursor, string, varint
from .errors import DamagedError

_NONE = np.empty(0, np.uint8)


class Survey(NamedTuple):
    """All voxels of a slab in the order of coding, and what the network said of them before it knew them.

    sizes int64 [f]            voxels of each front
    voxel, mean int32 [v]      grey levels; means in sixteenths of one
    classes uint8 [v]          how sure the network was
    context uint8 [v] or None  of the spike's flags, if the slab has a grey level that may be one
    """

    sizes: np.ndarray
    voxel: np.ndarray
    mean: np.ndarray
    classes: np.ndarray
    context: np.ndarray | None


def write(tables: entropy.Tables, survey: Survey, limit: int, common: int | None, quiet: bool) -> bytes:
    """Code the voxels of a slab.

    `limit` is the largest grey level that a voxel can have, `common` one that may be a spike (`spike.candidate`), and
    `quiet` says that the network has not learned from it, so that the decoder must know it. Here the classes are
    corrected for the slab, and its spike found.
    """
    sizes, voxel, mean, classes, context = survey
    width = limit.bit_length()
    flag, settled = np.zeros(voxel.size, np.uint8), np.zeros(voxel.size, bool)
    corrections = residual.correct(voxel, mean, classes, settled, tables.code_length, width)
    found = _find_spike(tables, voxel, mean, corrected(classes, corrections), limit, common, context)
    if found is not None:
        assert context is not None
        flag = np.take(found.codes, context)
        settled = (flag > 0) & (voxel == found.value)
        corrections = residual.correct(voxel, mean, classes, settled, tables.code_length, width)
    classes = corrected(classes, corrections)
    table, token = np.empty(voxel.size, np.uint16), np.empty(voxel.size, np.uint16)
    residual.to_symbols(voxel, mean, classes, table, token)
    table += entropy.FLAGS
    words = entropy.encode(tables, flag, settled, table, token, sizes)
    size = residual.raw_bits(voxel, mean, classes, token, settled, width, np.empty(0, np.uint8))
    raw = np.zeros(-(-size // 8), np.uint8)
    residual.raw_bits(voxel, mean, classes, token, settled, width, raw)
    level = b"" if common is None else varint(common)
    parts = [
        string(rice.encode(corrections) if corrections.any() else b""),
        string(level + found.codes.tobytes() if found else level if quiet else b""),
        varint(words.size),
        words.astype("<u4").tobytes(),
        raw.tobytes(),
    ]
    return b"".join(parts)


def corrected(classes: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """The classes uint8 whose tables are used, given the steps int64 [CLASSES] of the slab."""
    return np.take((np.arange(residual.CLASSES) + corrections).astype(np.uint8), classes)


def _find_spike(
    tables: entropy.Tables, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, limit: int, value: int | None,
    context: np.ndarray | None,
) -> spike.Spike | None:  # fmt: skip
    """The slab's spike, where flags pay; classes are the corrected ones."""
    if value is None or context is None:
        return None
    price = np.empty(voxel.size, np.float32)
    residual.prices(voxel, mean, classes, tables.code_length, limit.bit_length(), price)
    return spike.choose(value, context, voxel == value, price, entropy.flag_bits())


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


@njit(nogil=True, cache=True)
def _take(
    mean: np.ndarray, classes: np.ndarray, corrections: np.ndarray, context: np.ndarray, codes: np.ndarray, spike: int,
    stream: entropy.Stream, quantiles: entropy.Quantiles, raw: np.ndarray, position: int, bits: int, limit: int,
    room: _Room,
) -> int:  # fmt: skip
    """The voxels of a front into `room`: flags, where there is a context uint8 [v] for every voxel, then symbols, then
    raw bits. Returns the position in the raw bits, or −1, as `residual.to_voxels` does."""
    size = mean.shape[0]
    table, token, settled, voxel = room.table[:size], room.token[:size], room.settled[:size], room.voxel[:size]
    coded = room.classes[:size]
    settled[:] = False
    if context.shape[0]:
        token[:] = 0
        for v in range(size):
            table[v] = codes[context[v]]
        entropy.take(stream, quantiles, table, token)
        for v in range(size):
            settled[v] = token[v] == 1
            voxel[v] = spike
    for v in range(size):
        coded[v] = corrections[classes[v]]
    residual.locate(mean, coded, table)
    for v in range(size):
        table[v] = 0 if settled[v] else table[v] + entropy.FLAGS
    entropy.take(stream, quantiles, table, token)
    return residual.to_voxels(mean, coded, token, settled, raw, position, bits, limit, voxel)


class Reader:
    """Decodes what `write` wrote, front by front. `spike` is the grey level that contexts are asked for, or None;
    `quiet` the one that the network does not learn from, or None."""

    def __init__(self, tables: entropy.Tables, data: Cursor, limit: int, longest: int) -> None:
        """Takes all that is left of `data`; voxels are 0 … limit, and the longest front has so many. DamagedError where
        it is not what `write` writes."""
        self._limit, self._position = limit, 0
        self._corrections = _read_corrections(data.string())
        self.quiet, self._codes = _read_spike(data.string(), limit)
        self.spike = self.quiet if self._codes.size else None
        words = np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32)
        self._stream, self._quantiles = entropy.stream(tables, words, longest), tables.quantiles
        self._raw = np.frombuffer(data.rest(), np.uint8)
        self._room = _Room(*(np.empty(longest, kind) for kind in ("u1", "u2", "u2", "?", "i4")))

    def take(self, mean: np.ndarray, classes: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """The voxels int32 [v] of the next front, until the next call; contexts are needed where there is a spike."""
        contexts = _NONE if self.spike is None or context is None else context
        self._position = _take(
            mean, classes, self._corrections, contexts, self._codes, self.spike or 0,
            self._stream, self._quantiles, self._raw, self._position, self._limit.bit_length(),
            self._limit, self._room,
        )  # fmt: skip
        if self._position < 0:
            raise DamagedError("it decodes to voxels that the volume cannot have")
        return self._room.voxel[: mean.size]

    def finish(self) -> None:
        """DamagedError unless exactly what was written has been taken."""
        entropy.finish(self._stream)
        if -(-self._position // 8) != self._raw.size:
            raise DamagedError("it holds more raw bits than its voxels have")


def _read_corrections(data: bytes) -> np.ndarray:
    """The class whose tables serve every class: uint8 [CLASSES]."""
    classes = np.arange(residual.CLASSES)
    if data:
        classes += rice.decode(data, residual.CLASSES)
    if classes.min() < 0 or classes.max() >= residual.CLASSES:
        raise DamagedError("its corrections lead to classes that do not exist")
    return classes.astype(np.uint8)


def _read_spike(data: bytes, limit: int) -> tuple[int | None, np.ndarray]:
    """The quiet grey level or None, and the codes uint8 of its flags [CONTEXTS] where it is a spike, else [0]."""
    if not data:
        return None, np.empty(0, np.uint8)
    reader = Cursor(data, "its list of flags")
    value, codes = reader.varint(), np.frombuffer(reader.rest(), np.uint8).copy()
    if codes.size not in (0, spike.CONTEXTS):
        raise DamagedError(f"its list of flags has {codes.size} codes, where 0 or {spike.CONTEXTS} are possible")
    if value > limit:
        raise DamagedError(f"its spike is {value}, beyond the largest grey level {limit}")
    return value, codes
