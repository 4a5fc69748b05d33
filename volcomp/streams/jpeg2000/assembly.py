"""A stream as its frame, the heads of its packets and the segments of its blocks, and the stream made of these."""

from __future__ import annotations

import struct

import numpy as np

from ...errors import DamagedError
from ..protocol import NotReproducible
from . import packets, tag_trees
from .coder import Segments
from .codestream import PSOT, Codestream
from .geometry import Geometry
from .packets import DAMAGED, NEXT, POSITION, Reading
from .side import Correction, Side


def read(stream: Codestream, layout: Geometry, data: np.ndarray) -> tuple[Reading, list[int]]:
    """Read all packets of a stream; returns what heads tell, and how many packets each tile-part has.

    Raises NotReproducible where packets are damaged or missing, or something else is among them.
    """
    reading = packets.reading(layout, len(data))
    bits = np.zeros(tag_trees.BITS, np.int64)
    following, last = layout.first[:-1].copy(), layout.first[1:]
    counts = []
    for part in stream.parts:
        reading.state[NEXT] = following[part.tile]
        packets.read(
            data, part.packets, part.end, last[part.tile], True, layout.packets, layout.precincts, layout.blocks, bits,
            reading,
        )  # fmt: skip
        if reading.state[DAMAGED]:
            raise NotReproducible("a packet header of its JPEG 2000 stream is damaged")
        if reading.state[POSITION] != part.end:
            raise NotReproducible("its JPEG 2000 stream holds more than its packets")
        counts.append(int(reading.state[NEXT] - following[part.tile]))
        following[part.tile] = reading.state[NEXT]
    if (following != last).any():
        raise NotReproducible("its JPEG 2000 stream lacks packets")
    return reading, counts


def read_kept(layout: Geometry, heads: list[tuple[int, bytes]]) -> tuple[np.ndarray, Reading]:
    """Read heads alone; returns them, one after the other, and what they tell."""
    data = np.frombuffer(b"".join(head for _, head in heads), np.uint8)
    reading = packets.reading(layout, len(data))
    bits = np.zeros(tag_trees.BITS, np.int64)
    if layout.layers > 1 and len(heads) != len(layout.packets):
        raise DamagedError("the side information of a JPEG 2000 stream lacks packet headers")
    at = 0
    for number, head in heads:
        if number >= len(layout.packets):
            raise DamagedError("the side information of a JPEG 2000 stream has headers of packets that do not exist")
        reading.state[NEXT] = number
        end = at + len(head)
        packets.read(
            data, at, end, number + 1, False, layout.packets, layout.precincts, layout.blocks, bits, reading
        )  # fmt: skip
        if reading.state[DAMAGED] or reading.state[NEXT] != number + 1 or reading.state[POSITION] != end:
            raise DamagedError("a packet header in the side information of a JPEG 2000 stream is damaged")
        at = end
    return data, reading


def fewer(coded: np.ndarray) -> int:
    """Return 1 where most blocks, int32 [blocks, 2], lack their last pass: early GDCM declares it so, but codes it."""
    some = coded[coded[:, 1] > 0]
    return int(2 * np.count_nonzero(some[:, 1] == 3 * some[:, 0] - 3) > len(some))


def complete(coded: np.ndarray, fewer: int) -> np.ndarray:
    """Return the bit planes and passes that blocks have, int32 [blocks, 2], given what their headers declare."""
    passes = np.minimum(coded[:, 1] + fewer, 3 * coded[:, 0] - 2)
    return np.where(coded[:, 1:] > 0, np.stack([coded[:, 0], passes], axis=1), 0).astype(np.int32)


def _heads(
    layout: Geometry, coded: np.ndarray, lengths: np.ndarray, fewer: int, habits: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the heads of an image with one layer, as short as they can be, and their ends."""
    out = np.empty(packets.head_sizes(layout), np.uint8)
    ends = np.zeros(len(layout.packets), np.int64)
    scratch = np.empty((2, 2, layout.nodes), np.int32)
    if not packets.write(
        layout.packets, layout.precincts, layout.blocks, layout.first, layout.sop, layout.eph, coded, lengths, fewer,
        habits, np.zeros(tag_trees.BITS, np.int64), scratch[0], scratch[1], out, ends,
    ):  # fmt: skip
        raise DamagedError("the samples of a JPEG 2000 stream exceed what its headers allow")
    return out, ends


def kept(
    layout: Geometry, reading: Reading, data: np.ndarray, coded: np.ndarray, lengths: np.ndarray, fewer: int
) -> tuple[int, list[tuple[int, bytes]]]:
    """Return habits, and the heads, with their numbers, that do not follow from them and the blocks in data."""
    heads = [data[begin:end].tobytes() for begin, end in reading.heads[:, :2].tolist()]
    if layout.layers > 1:
        return 0, list(enumerate(heads))
    best = 0, list(enumerate(heads))
    for habits in range(packets.NOTHING_IS_ZERO + packets.EMPTY_IS_A_BIT + 1):
        out, ends = _heads(layout, coded, lengths, fewer, habits)
        made, begins = out.tobytes(), [0, *ends.tolist()]
        others = [(k, head) for k, head in enumerate(heads) if head != made[begins[k] : begins[k + 1]]]
        if len(others) < len(best[1]):
            best = habits, others
        if not others:
            break
    return best


def want(wanted: np.ndarray, layout: Geometry, numbers: list[int], declared: np.ndarray) -> None:
    """Write into wanted, int32 [blocks, 2], what is declared of all blocks that packets with these numbers may have."""
    for precinct in np.unique(layout.packets[numbers, 0]).tolist() if numbers else ():
        for first, high, wide, _ in layout.precincts[precinct].tolist():
            wanted[first : first + high * wide] = declared[first : first + high * wide]


def corrections(same: np.ndarray, data: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> list[Correction]:
    """Return how segments that lie in data differ from those that our coder makes, given `coder.Decoded.same`."""
    found = []
    for block in np.flatnonzero((same[:, 0] != same[:, 1]) | (lengths != same[:, 1])).tolist():
        made, equal = same[block].tolist()
        begin = int(begins[block])
        found.append(Correction(block, made - equal, data[begin + equal : begin + int(lengths[block])].tobytes()))
    return found


def correct(made: Segments, corrections: list[Correction]) -> Segments:
    """Return segments with corrections; DamagedError where there is nothing to correct."""
    if not corrections:
        return made
    ends, lengths = made.ends, made.lengths.copy()
    pieces, at = [], 0
    for block, cut, tail in corrections:
        if block >= len(lengths) or cut > lengths[block]:
            raise DamagedError("the side information of a JPEG 2000 stream corrects blocks that do not exist")
        end = int(ends[block])
        pieces += [made.data[at : end - cut], np.frombuffer(tail, np.uint8)]
        lengths[block] += len(tail) - cut
        at = end
    return Segments(np.concatenate([*pieces, made.data[at:]]), lengths, made.coded)


def frame(data: bytes, stream: Codestream) -> tuple[bytes, bool]:
    """Return a stream without its packets, and whether the lengths of its tile-parts are 0 in it, to be counted."""
    counted = all(
        struct.unpack_from(">I", data, part.begin + PSOT)[0] == part.end - part.begin for part in stream.parts
    )
    pieces = [data[: stream.parts[0].begin]]
    for part in stream.parts:
        header = bytearray(data[part.begin : part.packets])
        if counted:
            header[PSOT : PSOT + 4] = bytes(4)
        pieces.append(bytes(header))
    return b"".join([*pieces, data[stream.end :]]), counted


def assemble(
    stream: Codestream, layout: Geometry, side: Side, kept: np.ndarray, reading: Reading, made: Segments
) -> bytes:
    """Return the stream of a frame, heads and segments; DamagedError where these do not fit each other."""
    damaged = DamagedError("the side information of a JPEG 2000 stream does not fit its samples")
    heads, ends = np.empty(0, np.uint8), np.zeros(len(layout.packets), np.int64)
    if len(side.heads) < len(layout.packets):
        heads, ends = _heads(layout, made.coded, made.lengths, side.fewer, side.habits)
    taken = np.stack([made.ends - made.lengths, made.ends], axis=1)
    out = np.empty(len(side.frame) + len(kept) + int(ends[-1]) + len(made.data), np.uint8)
    following, last = layout.first[:-1].tolist(), layout.first[1:].tolist()
    if len(side.packets) != len(stream.parts):
        raise damaged
    source = np.frombuffer(side.frame, np.uint8)
    at = 0
    for part, count in zip(stream.parts, side.packets, strict=True):
        before = at if at else part.begin
        if not at:
            out[:before] = source[:before]
        at = before + part.packets - part.begin
        out[before:at] = source[part.begin : part.packets]
        begin = following[part.tile]
        if count > last[part.tile] - begin:
            raise damaged
        at = packets.assemble(
            begin, begin + count, layout.packets, layout.precincts, kept, reading, heads, ends, made.coded,
            made.lengths, side.fewer, made.data, taken, out, at,
        )  # fmt: skip
        if at < 0:
            raise damaged
        following[part.tile] = begin + count
        if side.lengths:
            out[before + PSOT : before + PSOT + 4] = np.frombuffer(struct.pack(">I", at - before), np.uint8)
    if following != last or (taken[:, 0] != taken[:, 1]).any():
        raise damaged
    return out[:at].tobytes() + side.frame[stream.end :]
