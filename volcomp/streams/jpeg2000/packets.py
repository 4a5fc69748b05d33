"""Packets: which code blocks a layer adds to, and how (ITU-T T.800, B.9 and B.10).

A *head* is a packet without the bytes of its blocks: an SOP marker segment, the packet header and an EPH marker.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import larger
from . import tag_trees
from .blocks import MOST_PLANES
from .geometry import Geometry

NEXT, POSITION, PIECES, DAMAGED = range(4)  # of `Reading.state`
_LONGEST_LENGTH = 31  # bits of a length
_MOST_ZERO_PLANES = 64
_SOP_SIZE = 6
# Habits of encoders: in the tag tree of zero bit planes a block without segment counts as 0, not as all that there are;
# the header of a packet to which no block adds is the bit 0, not 1 and what inclusion then needs.
NOTHING_IS_ZERO, EMPTY_IS_A_BIT, SHORT_ENDS = 1, 2, 4  # the last is one of `mq.flush_short`
_OF_A_PACKET, _OF_A_BLOCK, _OF_A_NODE = 16, 16, 6  # bytes at most in a head: markers; passes and a length; its own bits


class Reading(NamedTuple):
    """What heads have told so far.

    state int64 [4]              the next packet, the position after the last one, the number of pieces, 1 if damaged
    included, empty int32 [nodes]   tag trees of inclusion and of bit planes that are zero
    coded int32 [blocks, 2]      coded bit planes and passes of each block
    length_bits uint8 [blocks]   Lblock
    heads int64 [packets, 4]     where each packet's head begins and ends, and where its pieces do
    pieces int64 [pieces, 3]     what packets add to blocks: block, position, length
    """

    state: np.ndarray
    included: np.ndarray
    empty: np.ndarray
    coded: np.ndarray
    length_bits: np.ndarray
    heads: np.ndarray
    pieces: np.ndarray


def reading(geometry: Geometry, most: int) -> Reading:
    """Begin to read the packets of an image, of this many bytes in all: a piece takes at least 6 bits of a head."""
    blocks, packets = len(geometry.blocks), len(geometry.packets)
    pieces = min(blocks * geometry.layers, most * 8 // 6 + 1)
    return Reading(
        np.zeros(4, np.int64),
        np.zeros(geometry.nodes, np.int32),
        np.zeros(geometry.nodes, np.int32),
        np.zeros((blocks, 2), np.int32),
        np.full(blocks, 3, np.uint8),
        np.zeros((packets, 4), np.int64),
        np.empty((pieces, 3), np.int64),
    )


@part
def _passes(data: np.ndarray, bits: np.ndarray) -> Any:
    """Read a number of passes (Table B.4)."""
    if not tag_trees.get(data, bits):
        return np.int64(1)
    if not tag_trees.get(data, bits):
        return np.int64(2)
    more = tag_trees.get_number(data, bits, 2)
    if more < 3:
        return 3 + more
    more = tag_trees.get_number(data, bits, 5)
    if more < 31:
        return 6 + more
    return 37 + tag_trees.get_number(data, bits, 7)


@part
def _put_passes(out: np.ndarray, bits: np.ndarray, n: Any) -> None:
    """Write a number of passes."""
    if n == 1:
        tag_trees.put_number(out, bits, 0, 1)
    elif n == 2:
        tag_trees.put_number(out, bits, 2, 2)
    elif n < 6:
        tag_trees.put_number(out, bits, 12 + n - 3, 4)
    elif n < 37:
        tag_trees.put_number(out, bits, 15 << 5 | n - 6, 9)
    else:
        tag_trees.put_number(out, bits, 511 << 7 | n - 37, 16)


@part
def _log2(n: Any) -> Any:
    """Return the integer part of log2 of n >= 1."""
    power = 0
    while n >> (power + 1):
        power += 1
    return power


@part
def _marker(data: np.ndarray, at: Any, end: Any, low: Any) -> Any:
    """Return whether the marker 0xFF and `low` is at a position. No packet header or segment of a block has it."""
    return at + 2 <= end and data[at] == 0xFF and data[at + 1] == low


@part
def _read_block(
    data: np.ndarray, bits: np.ndarray, block: Any, band: np.ndarray, y: Any, x: Any, layer: Any, allowed: Any,
    reading: Reading,
) -> None:  # fmt: skip
    """Read what a packet header says of one block, and add a piece if the packet has one."""
    included, empty = reading.included[band[3] :], reading.empty[band[3] :]
    high, wide = band[1], band[2]
    known = np.int64(reading.coded[block, 1])
    if known:
        if not tag_trees.get(data, bits):
            return
    else:
        if tag_trees.read(data, bits, included, high, wide, y, x, layer + 1) > layer:
            return
        zero = tag_trees.read(data, bits, empty, high, wide, y, x, _MOST_ZERO_PLANES)
        planes = allowed - zero
        if planes < 1 or planes > MOST_PLANES:
            bits[tag_trees.ERROR] = 1
            return
        reading.coded[block, 0] = planes
    passes = _passes(data, bits)
    length_bits = np.int64(reading.length_bits[block])
    while tag_trees.get(data, bits):
        length_bits += 1
    count = length_bits + _log2(passes)
    if count > _LONGEST_LENGTH or known + passes > 3 * reading.coded[block, 0] - 2:
        bits[tag_trees.ERROR] = 1
        return
    reading.length_bits[block] = length_bits
    reading.coded[block, 1] = known + passes
    n = reading.state[PIECES]
    if n == reading.pieces.shape[0]:
        bits[tag_trees.ERROR] = 1
        return
    piece = reading.pieces[n]
    piece[0], piece[1], piece[2] = block, 0, tag_trees.get_number(data, bits, count)
    reading.state[PIECES] = n + 1


@entry
def read(
    data: np.ndarray, at: int, end: int, last: int, bodies: bool, packets: np.ndarray, precincts: np.ndarray,
    blocks: np.ndarray, bits: np.ndarray, reading: Reading,
) -> None:  # fmt: skip
    """Read packets from the next one on, until `last` or until data uint8 end, and note them in `reading`.

    Parameters:
        at, end: where the packets lie in the data.
        bodies: whether the bytes of the blocks follow each head.
        packets, precincts, blocks: see `Geometry`
        bits: scratch, int64 [BITS]
    """
    state = reading.state
    while state[NEXT] < last and at < end:
        k = state[NEXT]
        head = reading.heads[k]
        head[0], head[2] = at, state[PIECES]
        if _marker(data, at, end, 0x91):
            at += _SOP_SIZE
        tag_trees.begin(bits, at, end)
        layer = packets[k, 1]
        if tag_trees.get(data, bits):
            precinct = precincts[packets[k, 0]]
            for b in range(precinct.shape[0]):
                band = precinct[b]
                for n in range(band[1] * band[2]):
                    block = band[0] + n
                    y, x = n // band[2], n % band[2]
                    _read_block(data, bits, block, band, y, x, layer, np.int64(blocks[block, 6]), reading)
                    if bits[tag_trees.ERROR]:
                        state[DAMAGED] = 1
                        return
        at = tag_trees.end_of_reading(bits)
        if bits[tag_trees.ERROR]:
            state[DAMAGED] = 1
            return
        if _marker(data, at, end, 0x92):
            at += 2
        head[1], head[3] = at, state[PIECES]
        if bodies:
            for n in range(head[2], head[3]):
                reading.pieces[n, 1] = at
                at += reading.pieces[n, 2]
            if at > end:
                state[DAMAGED] = 1
                return
        state[NEXT] = k + 1
    state[POSITION] = at


def head_sizes(geometry: Geometry) -> int:
    """Return how many bytes the heads that `write` makes have at most."""
    return _OF_A_PACKET * len(geometry.packets) + _OF_A_BLOCK * len(geometry.blocks) + _OF_A_NODE * geometry.nodes


@part
def _write_band(
    out: np.ndarray, bits: np.ndarray, band: np.ndarray, blocks: np.ndarray, coded: np.ndarray, lengths: np.ndarray,
    fewer: Any, habits: Any, states: np.ndarray, values: np.ndarray,
) -> Any:  # fmt: skip
    """Write what a packet header says of a band's blocks; returns whether that can be said."""
    first, high, wide, root = band[0], band[1], band[2], band[3]
    nodes = tag_trees.size(high, wide)
    included, empty = states[0, root : root + nodes], states[1, root : root + nodes]
    inclusion, zeros = values[0, root : root + nodes], values[1, root : root + nodes]
    for n in range(nodes):
        included[n] = 0
        empty[n] = 0
    for n in range(high * wide):
        some = coded[first + n, 1] > fewer
        inclusion[n] = 0 if some else 1
        zeros[n] = blocks[first + n, 6] - coded[first + n, 0] if some else blocks[first + n, 6]
        if not some and habits & NOTHING_IS_ZERO:
            zeros[n] = 0
        if zeros[n] < 0:
            return False
    tag_trees.fill(inclusion, high, wide)
    tag_trees.fill(zeros, high, wide)
    for n in range(high * wide):
        y, x = n // wide, n % wide
        tag_trees.write(out, bits, included, inclusion, high, wide, y, x, 1)
        if inclusion[n]:
            continue
        tag_trees.write(out, bits, empty, zeros, high, wide, y, x, zeros[n] + 1)
        passes, length = np.int64(coded[first + n, 1]) - fewer, np.int64(lengths[first + n])
        _put_passes(out, bits, passes)
        more = larger(0, _log2(larger(length, 1)) + 1 - _log2(passes) - 3)
        tag_trees.put_number(out, bits, (1 << (more + 1)) - 2, more + 1)
        tag_trees.put_number(out, bits, length, 3 + more + _log2(passes))
    return True


@entry
def write(
    packets: np.ndarray, precincts: np.ndarray, blocks: np.ndarray, first: np.ndarray, sop: np.ndarray,
    eph: np.ndarray, coded: np.ndarray, lengths: np.ndarray, fewer: int, habits: int, bits: np.ndarray,
    states: np.ndarray, values: np.ndarray, out: np.ndarray, ends: np.ndarray,
) -> bool:  # fmt: skip
    """Write the heads of all packets of an image with one layer, as short as they can be.

    Parameters:
        packets, precincts, blocks, first, sop, eph: see `Geometry`
        coded int32 [blocks, 2], lengths int32 [blocks]: bit planes, passes and bytes of each block.
        fewer: how many passes fewer than it has a header declares.
        habits: NOTHING_IS_ZERO and EMPTY_IS_A_BIT, or neither.
        bits int64 [BITS]; states, values int32 [2, nodes]: scratch.
        out uint8: the heads.
        ends int64 [packets]: the end of each head in `out`.

    Returns False where a block has more bit planes than the main header allows.
    """
    at = 0
    for tile in range(first.shape[0] - 1):
        for k in range(first[tile], first[tile + 1]):
            if sop[tile]:
                number = k - first[tile]
                out[at], out[at + 1], out[at + 2], out[at + 3] = 0xFF, 0x91, 0, 4
                out[at + 4], out[at + 5] = number >> 8 & 0xFF, number & 0xFF
                at += _SOP_SIZE
            precinct = precincts[packets[k, 0]]
            tag_trees.begin(bits, at, 0)
            some = habits & EMPTY_IS_A_BIT == 0
            for b in range(precinct.shape[0]):
                for block in range(precinct[b, 0], precinct[b, 0] + precinct[b, 1] * precinct[b, 2]):
                    some |= coded[block, 1] > fewer
            tag_trees.put(out, bits, 1 if some else 0)
            for b in range(precinct.shape[0] if some else 0):
                if not _write_band(out, bits, precinct[b], blocks, coded, lengths, fewer, habits, states, values):
                    return False
            at = tag_trees.end_of_writing(out, bits)
            if eph[tile]:
                out[at], out[at + 1] = 0xFF, 0x92
                at += 2
            ends[k] = at
    return True


@entry
def assemble(
    begin: int, end: int, packets: np.ndarray, precincts: np.ndarray, kept: np.ndarray, reading: Reading,
    heads: np.ndarray, ends: np.ndarray, coded: np.ndarray, lengths: np.ndarray, fewer: int, data: np.ndarray,
    taken: np.ndarray, out: np.ndarray, at: int,
) -> int:  # fmt: skip
    """Put packets together from their heads and the segments of their blocks.

    Parameters:
        begin, end: the packets.
        kept uint8 [kept]: the heads that were kept, which `reading` has read.
        heads uint8, ends int64 [packets]: the other heads, and where each ends; one that is kept is empty.
        data uint8: the segments of the blocks.
        taken int64 [blocks, 2]: where the rest of each segment begins and ends in the data.
        out uint8: written from the position `at` on.

    Returns the position after the packets, -1 where they need more bytes than there are.
    """
    for k in range(begin, end):
        own = reading.heads[k]
        if own[1] > own[0]:
            if at + own[1] - own[0] > out.shape[0]:
                return -1
            for n in range(own[0], own[1]):
                out[at] = kept[n]
                at += 1
            for n in range(own[2], own[3]):
                at = _take(data, taken[reading.pieces[n, 0]], reading.pieces[n, 2], out, at)
                if at < 0:
                    return -1
            continue
        first = ends[k - 1] if k else 0
        if at + ends[k] - first > out.shape[0]:
            return -1
        for n in range(first, ends[k]):
            out[at] = heads[n]
            at += 1
        precinct = precincts[packets[k, 0]]
        for b in range(precinct.shape[0]):
            for block in range(precinct[b, 0], precinct[b, 0] + precinct[b, 1] * precinct[b, 2]):
                if coded[block, 1] > fewer:
                    at = _take(data, taken[block], np.int64(lengths[block]), out, at)
                    if at < 0:
                        return -1
    return at


@part
def _take(data: np.ndarray, rest: np.ndarray, count: Any, out: np.ndarray, at: Any) -> Any:
    """Copy bytes of a segment; returns the position after them, -1 where there are not as many."""
    if count > rest[1] - rest[0] or at + count > out.shape[0]:
        return -1
    for n in range(count):
        out[at + n] = data[rest[0] + n]
    rest[0] += count
    return at + count
