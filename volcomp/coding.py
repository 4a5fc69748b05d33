"""From means and classes to bytes and back: spike flags, symbols, raw bits, and what the encoder sends along with them.

`write` and `Reader` mirror each other. A front is coded as all its flags, then the symbols of all voxels that no flag
has settled; each table by table, each table's in the order of the voxels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import entropy, residual, rice, spike
from .cursor import Cursor, string, varint
from .errors import DamagedError

Contexts = Callable[[int], np.ndarray]  # from the spike's value to the context uint8 of every voxel


def write(
    tables: entropy.Tables, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, sizes: np.ndarray, limit: int,
    contexts: Contexts,
) -> bytes:  # fmt: skip
    """Code a slab's voxels int32 [v], whose means int32 and classes uint8 the network gave, in fronts of `sizes`.

    `limit` is the largest grey level that a voxel can have. Here the classes are corrected for the slab, and its spike
    found.
    """
    width = limit.bit_length()
    flag, settled = np.zeros(voxel.size, np.uint8), np.zeros(voxel.size, bool)
    corrections = residual.correct(voxel, mean, classes, settled, tables.code_length, width)
    found = _find_spike(tables, voxel, mean, corrected(classes, corrections), limit, contexts)
    if found is not None:
        spiked, context = found
        flag = np.take(spiked.codes, context)
        settled = (flag > 0) & (voxel == spiked.value)
        corrections = residual.correct(voxel, mean, classes, settled, tables.code_length, width)
    classes = corrected(classes, corrections)
    table, token = np.empty(voxel.size, np.uint16), np.empty(voxel.size, np.uint16)
    residual.to_symbols(voxel, mean, classes, table, token)
    table += entropy.FLAGS
    words = entropy.encode(tables, flag, settled, table, token, sizes)
    size = residual.raw_bits(voxel, mean, classes, token, settled, width, np.empty(0, np.uint8))
    raw = np.zeros(-(-size // 8), np.uint8)
    residual.raw_bits(voxel, mean, classes, token, settled, width, raw)
    parts = [
        string(rice.encode(corrections) if corrections.any() else b""),
        string(varint(found[0].value) + found[0].codes.tobytes() if found else b""),
        varint(words.size),
        words.astype("<u4").tobytes(),
        raw.tobytes(),
    ]
    return b"".join(parts)


def corrected(classes: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """The classes uint8 whose tables are used, given the steps int64 [CLASSES] of the slab."""
    return np.take((np.arange(residual.CLASSES) + corrections).astype(np.uint8), classes)


def _find_spike(
    tables: entropy.Tables, voxel: np.ndarray, mean: np.ndarray, classes: np.ndarray, limit: int, contexts: Contexts
) -> tuple[spike.Spike, np.ndarray] | None:
    """The slab's spike and the context uint8 of every voxel, where flags pay; classes are the corrected ones."""
    value = spike.candidate(voxel, limit)
    if value is None:
        return None
    context, price = contexts(value), np.empty(voxel.size, np.float32)
    residual.prices(voxel, mean, classes, tables.code_length, limit.bit_length(), price)
    chosen = spike.choose(value, context, voxel == value, price, entropy.flag_bits())
    return (chosen, context) if chosen else None


class Reader:
    """Decodes what `write` wrote, front by front. `spike` is the grey level that contexts are asked for, or None."""

    def __init__(self, tables: entropy.Tables, data: Cursor, limit: int) -> None:
        """Takes all that is left of `data`; voxels are 0 … limit. DamagedError where it is not what `write` writes."""
        self._limit, self._width, self._position = limit, limit.bit_length(), 0
        self._classes = _read_corrections(data.string())
        self.spike, self._codes = _read_spike(data.string(), limit)
        self._decoder = entropy.Decoder(tables, np.frombuffer(data.take(4 * data.varint()), "<u4").astype(np.uint32))
        self._raw = np.frombuffer(data.rest(), np.uint8)

    def take(self, mean: np.ndarray, classes: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """The voxels int32 [v] of the next front; contexts are needed where there is a spike."""
        if self.spike is None or context is None:
            return self._settle(mean, classes)
        flag = self._codes[context]
        voxel = np.full(mean.size, self.spike, np.int32)
        rest = np.ones(mean.size, bool)
        rest[flag > 0] = self._decoder.take(flag[flag > 0].astype(np.uint16)) == 0
        voxel[rest] = self._settle(mean[rest], classes[rest])
        return voxel

    def _settle(self, mean: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The voxels that have symbols."""
        table, voxel = np.empty(mean.size, np.uint16), np.empty(mean.size, np.int32)
        classes = self._classes[classes]
        residual.locate(mean, classes, table)
        table += entropy.FLAGS
        token = self._decoder.take(table)
        self._position = residual.to_voxels(
            mean, classes, token, self._raw, self._position, self._width, self._limit, voxel
        )
        if self._position < 0:
            raise DamagedError("it decodes to voxels that the volume cannot have")
        return voxel

    def finish(self) -> None:
        """DamagedError unless exactly what was written has been taken."""
        self._decoder.finish()
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
    """The spike's value and its codes uint8 [CONTEXTS], or None."""
    if not data:
        return None, np.empty(0, np.uint8)
    reader = Cursor(data, "its list of flags")
    value, codes = reader.varint(), np.frombuffer(reader.take(spike.CONTEXTS), np.uint8)
    reader.end()
    if value > limit:
        raise DamagedError(f"its spike is {value}, beyond the largest grey level {limit}")
    return value, codes
