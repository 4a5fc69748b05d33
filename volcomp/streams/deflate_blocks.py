"""The blocks of a deflate stream, one after the other, from bytes and a plan."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import DamagedError
from .deflate_corrections import reader
from .deflate_huffman import codes
from .deflate_model import POSITION, search
from .deflate_predict import symbols
from .deflate_read import TABLE, read_header
from .deflate_side import Exceptional, Plan
from .deflate_tables import STORED, Settings
from .deflate_write import BYTES_PER_SYMBOL, CHOOSE, GIVEN, HEADER_BYTES, IMPOSSIBLE, put_block


class BlockWriter:
    """Writes blocks. `bits` and `used` are what does not fill a byte yet; they may be put back to write one again."""

    def __init__(self, raw: np.ndarray, plan: Plan) -> None:
        stores = isinstance(plan.settings, Settings) and plan.settings.level == 0
        self._raw, self._usual = raw, STORED if stores else CHOOSE
        self._fixed, self._ordered = plan.fixed, plan.ordered
        self._codes, self._table = codes(), np.zeros(TABLE, np.int32)
        self._out = np.empty(0, np.uint8)
        self.bits = self.used = 0

    def write(
        self, block: Exceptional, begin: int, end: int, last: bool, lengths: np.ndarray, distances: np.ndarray,
        size: int,
    ) -> bytes:  # fmt: skip
        """Write the block of bytes begin … end - 1, whose symbols are the first `size` ones, as `symbols` has them.

        Raises DamagedError where it cannot be written as its kind demands.
        """
        header = np.frombuffer(block.header, np.uint8)
        chosen = self._usual if block.kind == CHOOSE else block.kind
        if block.kind == GIVEN and read_header(header, self._codes, self._table) != block.bits:
            raise DamagedError("what is kept of a deflate stream has a header that is none")
        room = max(BYTES_PER_SYMBOL * size, min(end - begin, 65535)) + HEADER_BYTES + len(block.header)
        if self._out.size < room:
            self._out = np.empty(room + room // 4, np.uint8)
        kind, written, self.bits, self.used = put_block(
            self._out, 0, self.bits, self.used, self._raw, begin, end, last, chosen, self._fixed, self._ordered, header,
            block.bits, self._codes, lengths, distances, size,
        )  # fmt: skip
        if kind == IMPOSSIBLE:
            raise DamagedError("what is kept of a deflate stream has a block that cannot be written")
        return self._out[:written].tobytes()


def blocks(raw: np.ndarray, plan: Plan) -> Iterator[bytes]:
    """Yield the bytes of each block, then what follows the last one. DamagedError where the plan makes no sense."""
    segments = None if plan.segments is None else np.cumsum(plan.segments)
    model = plan.model
    of_raw = search(model, raw.size, segments, anew=plan.anew)
    ends = None if plan.blocks is None else np.cumsum(plan.blocks).tolist()
    most = model.block if plan.blocks is None else int(plan.blocks.max()) + 1
    lengths = np.empty(min(most, raw.size + 1), np.uint16)
    distances = np.empty_like(lengths)
    code = reader(plan.corrections)
    writer = BlockWriter(raw, plan)
    end = next_forced = number = 0
    last = False
    while not last:
        begin = end
        size, next_forced, full = symbols(
            raw, of_raw, plan.forced, next_forced, code, raw.size if ends is None else ends[number], lengths, distances
        )
        if size < 0:
            raise DamagedError("what is kept of a deflate stream belongs to other bytes")
        end = int(of_raw.state[POSITION])
        last = not full if ends is None else number + 1 == len(ends)
        block = plan.exceptions.get(number, Exceptional(CHOOSE))
        yield writer.write(block, begin, end, last, lengths, distances, size)
        number += 1
    yield bytes([(writer.bits | plan.fill << writer.used) & 255]) if writer.used else b""
    yield plan.tail
