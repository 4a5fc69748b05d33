"""Code residuals with one adaptive table of order 0, as published: counts of past residuals give the probabilities.

A new table is made before a front once the voxels since the last table are a sixteenth of all voxels so far. Encoder
and decoder make the same tables, about a hundred, so none is sent. The coder is the ANS of `constriction`, a stack, to
which symbols are pushed in reverse. Its code length is as close to the entropy as that of the arithmetic coder of the
publication, and the other models use ANS too.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np

from ...constants import TABLE_BITS
from ...dtypes import Int32s, Int64s, UInt32s
from ...errors import DamagedError

REACH = 1024  # residuals beyond it are escapes
WEIGHT = 32  # of a past residual; the count of a residual that has not occurred is 1 or a little more
FEWEST = 64  # voxels between two tables
_AnsCoder = constriction.stream.stack.AnsCoder
_Categorical = constriction.stream.model.Categorical


class Counts:
    """Counts of past residuals. Tokens are residual + reach, and 2·reach + 1 for an escape."""

    def __init__(self, limit: int) -> None:
        self.reach = min(limit, REACH)
        distance = np.arange(-self.reach, self.reach + 2, dtype=np.int64)  # the escape is as rare as the largest
        self._counts = 1 + (1 << 14) // (64 + distance**2)
        self._seen, self._table_at = 0, 0
        self.table = self._made()

    @property
    def escape(self) -> int:
        """Token of a residual beyond the reach."""
        return 2 * self.reach + 1

    def add(self, tokens: Int32s) -> None:
        """Count the tokens of a front, and make a new `table` if there have been enough since the last one."""
        self._counts += WEIGHT * np.bincount(tokens, minlength=self._counts.size)
        self._seen += tokens.size
        if self._seen - self._table_at >= max(FEWEST, self._seen >> 4):
            self._table_at = self._seen
            self.table = self._made()

    def _made(self) -> Int64s:
        """Make a table int64 [2·reach + 2] of counts ≥ 1 that sum to 2^20. The likeliest gets what rounding leaves."""
        spare = (1 << TABLE_BITS) - self._counts.size
        table = 1 + self._counts * spare // self._counts.sum()
        table[table.argmax()] += (1 << TABLE_BITS) - table.sum()
        return table


def _model(table: Int64s) -> Any:
    """Return a table as a model of `constriction`: binary fractions, which are exact on every machine."""
    return _Categorical(table / float(1 << TABLE_BITS), perfect=False)


def encode(token: Int32s, sizes: Int64s, counts: Counts) -> UInt32s:
    """Encode tokens int32 [v], in fronts of the given sizes int64 [f], as words uint32."""
    runs: list[tuple[np.ndarray, np.ndarray]] = []  # fronts with one table
    begin = 0
    for size in sizes.tolist():
        front = token[begin : begin + size]
        begin += size
        runs.append((counts.table, front))
        counts.add(front)
    coder, model, made_of = _AnsCoder(), None, None
    for table, front in reversed(runs):
        if table is not made_of:
            model, made_of = _model(table), table
        coder.encode_reverse(front, model)
    return coder.get_compressed()


class Decoder:
    """Decodes the words of `encode`, front by front."""

    def __init__(self, words: UInt32s, counts: Counts) -> None:
        """Open words uint32. Raises DamagedError for words that no encoder writes."""
        if words.size and words[-1] == 0:
            raise DamagedError("the entropy-coded part of a slab is not one that an encoder writes")
        self._coder, self._counts = _AnsCoder(words), counts
        self._model, self._made_of = _model(counts.table), counts.table

    def pop(self, size: int) -> Int32s:
        """Pop the tokens int32 [size] of the next front."""
        if self._counts.table is not self._made_of:
            self._model, self._made_of = _model(self._counts.table), self._counts.table
        token = self._coder.decode(self._model, size)
        self._counts.add(token)
        return token

    def finish(self) -> None:
        """Raise DamagedError unless exactly what the encoder pushed has been popped."""
        if not self._coder.is_empty():
            raise DamagedError("the entropy-coded part of a slab holds more than its voxels")
