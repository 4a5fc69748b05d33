"""The integers of one released model, and the proof that no sum of its products can overflow."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...constants import CLASSES, INPUTS, WEIGHT_LIMIT
from ...dtypes import Int8s, Int16s, Int32s, Int64s, UInt32s
from ...errors import DamagedError
from . import learning

INPUT_LIMIT = 128  # inputs and hidden outputs are int8
# float32 represents every integer below this, so a product may run in int8, in float32 or on tensor cores.
ACCUMULATOR_LIMIT = 1 << 24
FIELDS = ("weights", "shift", "head", "bias", "counts", "sizes")
LEARNING = ("slopes", "metric")  # only in models whose head learns


def head_limit(bias: Int32s, size: int) -> int:
    """Return the bound of the `size` weights of a head that learns; it keeps sums below ACCUMULATOR_LIMIT."""
    return (ACCUMULATOR_LIMIT - int(np.abs(bias).max()) - 1) // (INPUT_LIMIT * size)


@dataclass(frozen=True)
class LstmWeights:
    """A model. The order of the gates is input, forget, output, candidate.

    weights int8 [inputs + h, 4h]  inputs first: INPUTS, then the first `shared` hidden outputs of the row above, and
                                   as many of the slice before; then the hidden outputs of the voxel before. Within ±64
    shift int32 [4h]               of each column, 0 … 7: an accumulator's unit is 2^-(7 + shift)
    head int16 [2, n]              row 0 gives the offset of the mean, row 1 the correction of the scale; from the
                                   hidden outputs alone (n = h), or from inputs and hidden outputs (n = inputs + h)
    bias int32 [2]                 of the head, in the units of its sums
    counts uint32 [sum of sizes]   the tables of the entropy coder, one after the other
    sizes int64 [tables]           the number of symbols of each table
    slopes int8 [2, classes, BINS] for a head that learns while a slab is coded (`learning.py`); both are empty for a
    metric int16 [n, n]            head that does not
    observed                       how many of the inputs are observed: INPUTS, or fewer in the result of `without`
    """

    name: str
    weights: Int8s
    shift: Int32s
    head: Int16s
    bias: Int32s
    counts: UInt32s
    sizes: Int64s
    slopes: Int8s = field(default_factory=lambda: np.zeros((2, 0, learning.BINS), np.int8))
    metric: Int16s = field(default_factory=lambda: np.zeros((0, 0), np.int16))
    observed: int = INPUTS

    def __post_init__(self) -> None:
        rows, gates = self.weights.shape
        h, n = gates // 4, self.head.shape[-1]
        shapes = [(4 * h,), (2, n), (2,)]
        found = [a.shape for a in (self.shift, self.head, self.bias)]
        uneven = self.shared % 8 or (self.shared and h % 8)  # outputs that are passed on are copied eight at a time
        if gates % 4 or rows <= h or n not in (h, rows) or found != shapes or uneven:
            raise DamagedError(f"model {self.name}: the shapes of its arrays do not belong together")
        if self.shift.min() < 0 or self.shift.max() > 7 or np.abs(self.weights.astype(int)).max() > WEIGHT_LIMIT:
            raise DamagedError(f"model {self.name}: weights must be within ±{WEIGHT_LIMIT} and shifts within 0 … 7")
        if self.learns and (self.metric.shape != (n, n) or self.slopes.shape != (2, CLASSES, learning.BINS)):
            raise DamagedError(f"model {self.name}: what its head learns by does not fit the head")
        if self.learns and np.abs(self.head.astype(int)).max() > self.head_limit:
            raise DamagedError(f"model {self.name}: weights of a head that learns must be within ±{self.head_limit}")
        largest = INPUT_LIMIT * np.abs(self.weights.astype(np.int64)).sum(axis=0).max()
        head = INPUT_LIMIT * np.abs(self.head.astype(np.int64)).sum(axis=1) + np.abs(self.bias.astype(np.int64))
        if max(largest, head.max()) >= ACCUMULATOR_LIMIT:
            raise DamagedError(f"model {self.name}: a sum of its products could reach {ACCUMULATOR_LIMIT}")

    @property
    def hidden(self) -> int:
        """The number of units of the LSTM."""
        return self.weights.shape[1] // 4

    @property
    def inputs(self) -> int:
        """The number of inputs, without the hidden outputs of the voxel before."""
        return self.weights.shape[0] - self.hidden

    @property
    def shared(self) -> int:
        """How many of its hidden outputs a row passes on to the row below; as many go to the next slice."""
        return max(0, self.inputs - self.observed) // 2

    @property
    def unseen(self) -> int:
        """How many of the inputs, from the first on, the head does not see: none of them, or all."""
        return self.weights.shape[0] - self.head.shape[1]

    @property
    def learns(self) -> bool:
        """Whether the head learns while a slab is coded."""
        return self.metric.size > 0

    @property
    def head_limit(self) -> int:
        """`head_limit` of this model, counting all inputs that it was released with."""
        spared = INPUTS - self.observed if self.unseen == 0 else 0
        return head_limit(self.bias, self.head.shape[1] + spared)

    def without(self, spared: slice) -> LstmWeights:
        """Return the model without the inputs `spared` if all their weights are 0, otherwise the model itself."""
        head, metric = self.head, self.metric
        if self.unseen == 0:
            head = np.delete(self.head, spared, axis=1)
            metric = np.delete(np.delete(self.metric, spared, axis=0), spared, axis=1) if self.learns else metric
        less = np.delete(self.weights, spared, axis=0)
        used = [*self.weights[spared].ravel(), *(self.head[:, spared].ravel() if self.unseen == 0 else ())]
        moved = [*self.metric[spared].ravel(), *self.metric[:, spared].ravel()] if self.learns else []
        if any(used) or any(moved):
            return self
        observed = self.observed - len(self.weights) + len(less)
        return replace(self, weights=less, head=head, metric=metric, observed=observed)

    def tables(self) -> list[UInt32s]:
        """Return the counts of every table."""
        return np.split(self.counts, np.cumsum(self.sizes)[:-1])

    def _fields(self) -> tuple[str, ...]:
        return FIELDS + LEARNING if self.learns else FIELDS

    def digest(self) -> bytes:
        """Return the SHA-256 over all arrays in the order of the fields, little-endian: files name models by it."""
        sha = hashlib.sha256()
        for name in self._fields():
            array = getattr(self, name)
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return sha.digest()

    def save(self, path: Path) -> None:
        """Write as .npz."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: getattr(self, name) for name in self._fields()})
        path.write_bytes(buffer.getvalue())


def load(path: Path, name: str) -> LstmWeights:
    """Read a model written by `save`; raises DamagedError if it is not sound."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return LstmWeights(name, **{field: arrays[field] for field in (*FIELDS, *LEARNING) if field in arrays})
    except (OSError, TypeError, ValueError) as error:
        raise DamagedError(f"model {name} at {path.name} cannot be read: {error}; reinstall volcomp") from error
