"""Residuals to words and back by one adaptive table, of order 0 as published: what has come says what will come.

The table of residuals is made anew, before a front, when as many voxels have come since as a sixteenth of all; so
encoder and decoder have some hundred tables in common and nothing is sent. The coder is `constriction`'s ANS, a stack:
what is coded is pushed in reverse. It codes as closely as the arithmetic coder of the publication, and the other models
have it.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np

from ...constants import TABLE_BITS
from ...errors import DamagedError

REACH = 1024  # residuals beyond it are escapes
WEIGHT = 32  # of a residual that has come, where one of a residual that has not is 1 or a little more
FEWEST = 64  # voxels between two tables
_AnsCoder = constriction.stream.stack.AnsCoder
_Categorical = constriction.stream.model.Categorical


class Counts:
    """What is known of the residuals that have come. Tokens are residual + reach, and 2·reach + 1 for an escape."""

    def __init__(self, limit: int) -> None:
        self.reach = min(limit, REACH)
        distance = np.arange(-self.reach, self.reach + 2, dtype=np.int64)  # the escape is as rare as the largest
        self._counts = 1 + (1 << 14) // (64 + distance**2)
        self._seen, self._table_at = 0, 0
        self.table = self._made()

    @property
    def escape(self) -> int:
        """The token of a residual beyond the reach."""
        return 2 * self.reach + 1

    def add(self, tokens: np.ndarray) -> None:
        """Take in the tokens of a front; `table` is another one where enough have come."""
        self._counts += WEIGHT * np.bincount(tokens, minlength=self._counts.size)
        self._seen += tokens.size
        if self._seen - self._table_at >= max(FEWEST, self._seen >> 4):
            self._table_at = self._seen
            self.table = self._made()

    def _made(self) -> np.ndarray:
        """Counts int64 [2·reach + 2], each at least 1, that sum to 2^20; what rounding leaves goes to the likeliest."""
        room = (1 << TABLE_BITS) - self._counts.size
        table = 1 + self._counts * room // self._counts.sum()
        table[table.argmax()] += (1 << TABLE_BITS) - table.sum()
        return table


def _model(table: np.ndarray) -> Any:
    """A table as the coder has it: exact binary fractions, so the same on every machine."""
    return _Categorical(table / float(1 << TABLE_BITS), perfect=False)


def encode(token: np.ndarray, sizes: np.ndarray, counts: Counts) -> np.ndarray:
    """Words uint32 of the tokens int32 [v], in fronts of the given sizes int64 [f]."""
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
    """Decodes what `encode` wrote, front by front."""

    def __init__(self, words: np.ndarray, counts: Counts) -> None:
        """words uint32; DamagedError where no encoder writes them."""
        if words.size and words[-1] == 0:
            raise DamagedError("the entropy-coded part of a slab is not one that an encoder writes")
        self._coder, self._counts = _AnsCoder(words), counts
        self._model, self._made_of = _model(counts.table), counts.table

    def take(self, size: int) -> np.ndarray:
        """The tokens int32 [size] of the next front."""
        if self._counts.table is not self._made_of:
            self._model, self._made_of = _model(self._counts.table), self._counts.table
        token = self._coder.decode(self._model, size)
        self._counts.add(token)
        return token

    def finish(self) -> None:
        """DamagedError unless exactly what the encoder pushed has been taken."""
        if not self._coder.is_empty():
            raise DamagedError("the entropy-coded part of a slab holds more than its voxels")
