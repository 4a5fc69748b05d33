"""Deflate streams (RFC 1951): of whole data sets, transfer syntax 1.2.840.10008.1.2.1.99, and of frames, …1.2.8.1.

Nearly all of them were made by zlib with some settings. Here are zlib's choices in code of our own, since the zlib that
is installed years from now may choose otherwise. What a stream has that they do not give is kept beside the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import DamagedError
from . import deflate_side
from .deflate_huffman import Codes, codes
from .deflate_match import search, symbols
from .deflate_read import AT, BEGIN, BODY, DONE, FINISH, HEADER, KIND, TABLE, read, read_header
from .deflate_search import Symbols, choose
from .deflate_side import Exceptional, Plan
from .deflate_tables import DYNAMIC, FIXED_CODES, STORED
from .deflate_write import BYTES_PER_SYMBOL, CHOOSE, GIVEN, HEADER_BYTES, IMPOSSIBLE, put_block
from .protocol import FrameInfo, NotReproducible, Parts, Samples

SHARE, GRACE = 50, 256  # what is kept may take a share of 1 / SHARE of the bytes, and GRACE
LARGEST = (1 << 31) - 1  # bytes; positions are 32-bit integers


class _Blocks:
    """The blocks of a stream, one after the other, with the symbols that settings or a plan give."""

    def __init__(self, raw: np.ndarray, plan: Plan) -> None:
        self._raw, self._plan = raw, plan
        self._search = search(plan.settings)
        most = plan.settings.block if plan.blocks is None else int(plan.blocks.max()) + 1
        self._lengths = np.empty(min(most, raw.size + 1), np.uint16)
        self._distances = np.empty_like(self._lengths)
        self._next_forced = 0
        self._codes, self._table = codes(), np.zeros(TABLE, np.int32)
        self._usual = STORED if plan.settings.level == 0 else CHOOSE
        self._fixed = plan.settings.strategy == FIXED_CODES
        self._size = self._begin = self._end = 0
        self._last = False
        self.bits = self.used = 0  # what does not fill a byte yet

    def __iter__(self) -> Iterator[int]:
        """Find the symbols of each block in turn; the number of the block is generated."""
        ends = None if self._plan.blocks is None else np.cumsum(self._plan.blocks).tolist()
        number = 0
        while not self._last:
            end = self._raw.size if ends is None else ends[number]
            self._begin = self._end
            self._size, self._next_forced, full = symbols(
                self._raw, self._search, self._plan.forced, self._next_forced, end, self._lengths, self._distances
            )
            if self._size < 0:
                raise DamagedError("what is kept of a deflate stream belongs to other bytes")
            self._end = int(self._search.state[0])
            self._last = not full if ends is None else number + 1 == len(ends)
            yield number
            number += 1

    def write(self, block: Exceptional) -> bytes:
        """Write the block whose symbols were found."""
        header = np.frombuffer(block.header, np.uint8)
        chosen = self._usual if block.kind == CHOOSE else block.kind
        if block.kind == GIVEN and read_header(header, self._codes, self._table) != block.bits:
            raise DamagedError("what is kept of a deflate stream has a header that is none")
        room = max(BYTES_PER_SYMBOL * self._size, min(self._end - self._begin, 65535)) + HEADER_BYTES
        out = np.empty(room + len(block.header), np.uint8)
        kind, size, self.bits, self.used = put_block(
            out, 0, self.bits, self.used, self._raw, self._begin, self._end, self._last, chosen, self._fixed,
            header, block.bits, self._codes, self._lengths, self._distances, self._size,
        )  # fmt: skip
        if kind == IMPOSSIBLE:
            raise DamagedError("what is kept of a deflate stream has a block that cannot be written")
        return out[:size].tobytes()

    def finish(self) -> bytes:
        """Return the last byte, if bits are left, and what follows it."""
        last = bytes([(self.bits | self._plan.fill << self.used) & 255]) if self.used else b""
        return last + self._plan.tail


def _inflated(data: bytes | memoryview, limit: int) -> tuple[bytes, int]:
    """Inflate, `limit` bytes at most; returns the bytes and the size of the stream."""
    machine = zlib.decompressobj(-15)
    try:
        raw = machine.decompress(data, limit + 1)
    except zlib.error:
        raise NotReproducible("its deflate stream is damaged") from None
    if len(raw) > limit:
        raise NotReproducible("its deflate stream holds more bytes than are allowed")
    if not machine.eof:
        raise NotReproducible("its deflate stream is cut short")
    return raw, len(data) - len(machine.unused_data)


def _parsed(data: np.ndarray, raw: bytes, scratch: Codes) -> tuple[Symbols, int]:
    """Read the symbols of a stream; returns them and the bit where it ends."""
    lengths, distances = np.zeros(len(raw), np.uint16), np.zeros(len(raw), np.uint16)
    state = np.zeros(3, np.int64)
    table = np.zeros((2, TABLE), np.int32)
    parts = []
    while not state[DONE]:
        blocks = np.zeros((1024, 6), np.int64)
        count = read(data, state, lengths, distances, blocks, scratch, table)
        if count < 0:
            raise NotReproducible("its deflate stream is damaged")
        parts.append(blocks[:count])
    blocks = np.concatenate(parts)
    if blocks[-1, FINISH] != len(raw) or len(blocks) > len(raw) + deflate_side.EMPTY_BLOCKS:
        raise NotReproducible("its deflate stream has blocks of an unknown kind")
    return Symbols(np.frombuffer(raw, np.uint8), lengths, distances, blocks), int(state[AT])


def _header_bits(data: bytes, begin: int, end: int) -> bytes:
    """Return the bits begin … end - 1 of a stream as bytes, with zeros at the end."""
    value = int.from_bytes(data[begin // 8 : (end + 7) // 8], "little") >> begin % 8
    return (value & ((1 << (end - begin)) - 1)).to_bytes((end - begin + 7) // 8, "little")


def _planned(stream: Symbols, most: int) -> Plan:
    """Plan symbols and blocks; what is special about single blocks comes later."""
    found = choose(stream, most)
    if found is None:
        raise NotReproducible("its deflate stream was made by an encoder too unlike zlib")
    chosen, difference = found
    at = difference.at
    lengths = stream.lengths[at].astype(np.int64)
    distances = np.where(lengths > 1, stream.distances[at].astype(np.int64) + 1, 0)
    ends = stream.blocks[:, FINISH]
    as_usual = np.array_equal(ends, np.append(difference.ends, stream.raw.size))
    blocks = None if as_usual else ends - stream.blocks[:, BEGIN]
    return Plan(chosen, blocks, np.stack([at, lengths, distances]), {}, 0, b"")


class Apart(NamedTuple):
    """A stream taken apart."""

    raw: bytes  # what it holds
    side: bytes  # what `pieces` needs to make it again, without what follows it
    size: int  # of the stream, bytes


def apart(data: bytes | memoryview, limit: int) -> Apart:
    """Inflate a raw deflate stream, which bytes may follow; they are not part of `side`. See `take_apart`."""
    raw, size = _inflated(data, min(limit, LARGEST))
    try:
        return Apart(raw, _side(bytes(data[:size]), raw), size)
    except MemoryError:
        raise NotReproducible("memory does not suffice for its deflate stream") from None
    except DamagedError:
        raise NotReproducible("its deflate stream does not come back identical") from None


def take_apart(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """Inflate a raw deflate stream, which bytes may follow.

    Parameters:
        data: the stream. It may be damaged or hostile.
        limit: how many bytes it may hold.

    Returns:
        The bytes that it holds, and what `make` needs to deflate them to `data` again.

    Raises:
        NotReproducible: where `make` could not, or would need more than a fiftieth of the bytes; where the stream is
            damaged or holds more than `limit` bytes. No content may raise another error.
    """
    raw, side, size = apart(data, limit)
    return raw, side + data[size:]


def _side(data: bytes, raw: bytes) -> bytes:
    most = len(raw) // SHARE + GRACE
    stream, bit = _parsed(np.frombuffer(data, np.uint8), raw, codes())
    plan = _planned(stream, most // 2)
    end = (bit + 7) // 8
    plan = plan._replace(tail=data[end:], fill=data[end - 1] >> bit % 8 if bit % 8 else 0)
    made = _Blocks(stream.raw, plan)
    exceptions = {}
    at = extra = 0
    for number in made:
        kind, begin, body = (int(stream.blocks[number, column]) for column in (KIND, HEADER, BODY))
        ways = [Exceptional(CHOOSE), Exceptional(kind)]
        if kind == DYNAMIC:
            ways.append(Exceptional(GIVEN, body - begin, _header_bits(data, begin, body)))
        before = made.bits, made.used
        for way in ways:
            made.bits, made.used = before
            piece = made.write(way)
            stop = at + len(piece)
            rest = data[stop] & ((1 << made.used) - 1) if made.used and stop < len(data) else 0
            if data[at:stop] == piece and rest == made.bits:
                break
        else:
            raise NotReproducible("its deflate stream does not come back identical")
        if way.kind != CHOOSE:
            exceptions[number] = way
            extra += 3 + len(way.header)
        if extra > most:
            break
        at = stop
    side = deflate_side.write(plan._replace(exceptions=exceptions))
    if extra > most or len(side) - len(plan.tail) > most:
        raise NotReproducible("its deflate stream was made by an encoder too unlike zlib")
    if at + len(made.finish()) != len(data) or data[at:] != made.finish():
        raise NotReproducible("its deflate stream does not come back identical")
    return side


def make(raw: bytes, side: bytes) -> bytes:
    """Deflate bytes as `side` demands, the inverse of `take_apart`; DamagedError where it makes no sense for them."""
    return b"".join(pieces(np.frombuffer(raw, np.uint8), side))


def pieces(raw: np.ndarray, side: bytes) -> Iterator[bytes]:
    """Yield what `make` returns, block by block; `raw` is uint8 [n]."""
    if raw.size > LARGEST:
        raise DamagedError("what is kept of a deflate stream belongs to fewer bytes")
    plan = deflate_side.read(side, raw.size)
    made = _Blocks(raw, plan)
    for number in made:
        yield made.write(plan.exceptions.get(number, Exceptional(CHOOSE)))
    yield made.finish()


class Deflate:
    """Deflated frames. The bytes of a frame are its native samples, little endian, those of a pixel side by side."""

    number = 4
    name = "Deflate"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Inflate one frame; see `Stream.take_apart`."""
        if frame.bits not in (8, 16):
            raise NotReproducible(f"its samples have {frame.bits} bits")
        shape = (frame.rows, frame.columns, frame.components)
        size = frame.rows * frame.columns * frame.components * frame.bits // 8
        raw, side = take_apart(data, size)
        if len(raw) != size:
            raise NotReproducible("its deflate stream holds fewer bytes than the frame")
        samples = np.frombuffer(raw, f"<u{frame.bits // 8}").reshape(shape)
        native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
        return Parts(np.ascontiguousarray(native.transpose(2, 0, 1)), side)

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side; see `Stream.make`."""
        if samples.ndim != 3 or samples.dtype.kind not in "iu" or samples.itemsize > 2:
            raise DamagedError("what is kept of a deflate stream belongs to other samples")
        little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
        return make(little.transpose(1, 2, 0).tobytes(), side)
