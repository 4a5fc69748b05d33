"""Segments of bytes to code blocks (ITU-T T.800, Annex D), each one segment of the MQ coder.

A pass lists the symbols that it decodes, and these are coded again: that tells what our coder makes of them, in less
time than to encode the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from . import contexts, mq
from .blocks import CAUSAL, RESET, SEGMENTATION, Scratch
from .contexts import AROUND, OWN, REFINED, SIGNIFICANT, VISITED, ZERO_CONTEXTS


@part
def _significance(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any, symbols: np.ndarray,
) -> Any:  # fmt: skip
    """Decode a significance propagation pass (D.3.1); returns the number of symbols and the coder's registers."""
    n = 0
    stride = w + 2
    for stripe in range((h + 3) >> 2):
        rows = smaller(4, h - 4 * stripe)
        row = (stripe + 1) * stride + 1
        for x in range(w):
            here = row + x
            word = np.int64(flags[here])
            if word & SIGNIFICANT == 0:
                continue
            for r in range(rows):
                near = word >> (3 * r) & 0x1FF
                if near & 0x10 or near == 0:
                    continue
                context = np.int64(ZERO_CONTEXTS[orientation, near])
                one, c, a, ct, at = mq.decode(states, context, data, c, a, ct, at)
                symbols[n] = context << 1 | one
                n += 1
                flags[here] |= np.uint32(1 << (VISITED + r))
                if one:
                    sign = contexts.sign_context(flags, here, word, r)
                    flipped, c, a, ct, at = mq.decode(states, sign >> 1, data, c, a, ct, at)
                    symbols[n] = sign & 0xFE | flipped
                    n += 1
                    sign = sign & 1 ^ flipped
                    values[4 * (stripe * w + x) + r] = 1 << bit | sign
                    word = contexts.become_significant(flags, here, stride, r, sign, causal)
    return n, c, a, ct, at


@part
def _refinement(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any, symbols: np.ndarray,
) -> Any:  # fmt: skip
    """Decode a magnitude refinement pass (D.3.3); returns the same."""
    n = 0
    for stripe in range((h + 3) >> 2):
        row = (stripe + 1) * (w + 2) + 1
        for x in range(w):
            word = np.int64(flags[row + x])
            if word & OWN == 0:
                continue
            new = 0
            for r in range(4):
                if word >> (3 * r + 4) & 1 and not word >> (VISITED + r) & 1:
                    if word >> (REFINED + r) & 1:
                        context = mq.REFINE + 2
                    else:
                        context = mq.REFINE + (word >> (3 * r) & AROUND != 0)
                        new |= 1 << (REFINED + r)
                    one, c, a, ct, at = mq.decode(states, context, data, c, a, ct, at)
                    symbols[n] = context << 1 | one
                    n += 1
                    values[4 * (stripe * w + x) + r] |= one << bit
            flags[row + x] = np.uint32(word | new)
    return n, c, a, ct, at


@part
def _cleanup(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any, symbols: np.ndarray,
) -> Any:  # fmt: skip
    """Decode a cleanup pass (D.3.4), and forget which coefficients were visited; returns the same."""
    n = 0
    stride = w + 2
    for stripe in range((h + 3) >> 2):
        rows = smaller(4, h - 4 * stripe)
        row = (stripe + 1) * stride + 1
        for x in range(w):
            here = row + x
            word = np.int64(flags[here])
            begin, known = np.int64(0), False
            if rows == 4 and word & SIGNIFICANT == 0:
                one, c, a, ct, at = mq.decode(states, mq.RUN, data, c, a, ct, at)
                symbols[n] = mq.RUN << 1 | one
                n += 1
                if not one:
                    continue
                begin, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
                one, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
                symbols[n] = mq.UNIFORM << 1 | begin
                symbols[n + 1] = mq.UNIFORM << 1 | one
                n += 2
                begin, known = 2 * begin + one, True
            for r in range(begin, rows):
                if word >> (3 * r + 4) & 1 or word >> (VISITED + r) & 1:
                    continue
                one = np.int64(1)
                if not known:
                    context = np.int64(ZERO_CONTEXTS[orientation, word >> (3 * r) & 0x1FF])
                    one, c, a, ct, at = mq.decode(states, context, data, c, a, ct, at)
                    symbols[n] = context << 1 | one
                    n += 1
                known = False
                if one:
                    sign = contexts.sign_context(flags, here, word, r)
                    flipped, c, a, ct, at = mq.decode(states, sign >> 1, data, c, a, ct, at)
                    symbols[n] = sign & 0xFE | flipped
                    n += 1
                    sign = sign & 1 ^ flipped
                    values[4 * (stripe * w + x) + r] = 1 << bit | sign
                    word = contexts.become_significant(flags, here, stride, r, sign, causal)
            flags[here] &= np.uint32(0xFFFFFFFF ^ 0xF << VISITED)
    return n, c, a, ct, at


@part
def _decode(
    block: np.ndarray, planes: Any, passes: Any, style: Any, data: np.ndarray, at: Any, scratch: Scratch
) -> Any:  # fmt: skip
    """Decode a block into scratch.values, and code it again into scratch.out; returns the registers of that coder."""
    flags, values, states, symbols, out = scratch.flags, scratch.values, scratch.states, scratch.symbols, scratch.out
    again = scratch.states_again
    h, w, orientation = np.int64(block[3]), np.int64(block[4]), np.int64(block[5])
    stripes = (h + 3) >> 2
    for n in range((stripes + 2) * (w + 2)):
        flags[n] = 0
    for n in range(4 * stripes * w):
        values[n] = 0
    mq.reset(states)
    mq.reset(again)
    causal = style & CAUSAL != 0
    c, a, ct, at = mq.begin(data, at)
    out[0] = 0
    c2, a2, ct2, at2 = mq.begin_encoding()
    for n in range(passes):
        kind = (n + 2) % 3
        bit = planes - (n + 2) // 3  # of the value, whose lowest bit is the sign
        if kind == 0:
            count, c, a, ct, at = _significance(
                flags, values, h, w, bit, orientation, causal, states, data, c, a, ct, at, symbols
            )
        elif kind == 1:
            count, c, a, ct, at = _refinement(flags, values, h, w, bit, states, data, c, a, ct, at, symbols)
        else:
            count, c, a, ct, at = _cleanup(
                flags, values, h, w, bit, orientation, causal, states, data, c, a, ct, at, symbols
            )
            if style & SEGMENTATION:
                for k in range(4):  # our coder writes 1010, whatever is there (D.5)
                    _, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
                    symbols[count + k] = mq.UNIFORM << 1 | (k & 1 ^ 1)
                count += 4
        c2, a2, ct2, at2 = mq.encode(symbols, count, again, out, c2, a2, ct2, at2)
        if style & RESET:
            mq.reset(states)
            mq.reset(again)
    return c2, a2, ct2, at2


@part
def _equal(data: np.ndarray, begin: Any, length: Any, out: np.ndarray, equal: Any, size: Any) -> Any:
    """Return how many of the first bytes are equal, of which some are known to be."""
    while equal < size and equal < length and out[1 + equal] == data[begin + equal]:
        equal += 1
    return equal


@part
def _compare(
    data: np.ndarray, begin: Any, length: Any, scratch: Scratch, c: Any, a: Any, ct: Any, at: Any, same: np.ndarray
) -> None:  # fmt: skip
    """End a segment in both ways, and compare it with the one in data; see `decode`."""
    out, before = scratch.out, scratch.out[at]
    known = _equal(data, begin, length, out, 0, larger(at - 1, 0))
    same[0, 0] = mq.flush(out, c, a, ct, at) - 1
    same[0, 1] = _equal(data, begin, length, out, smaller(known, same[0, 0]), same[0, 0])
    out[at] = before
    same[1, 0] = mq.flush_short(out, scratch.upper, c, a, ct, at) - 1
    same[1, 1] = _equal(data, begin, length, out, smaller(known, same[1, 0]), same[1, 0])


@part
def _store(values: np.ndarray, block: np.ndarray, coefficients: np.ndarray) -> Any:
    """Copy a block's values to its place; returns how many bit planes it has."""
    plane, y0, x0, h, w = block[0], block[1], block[2], block[3], block[4]
    largest = np.int64(0)
    for y in range(h):
        for x in range(w):
            value = np.int64(values[4 * ((y >> 2) * w + x) + (y & 3)])
            largest |= value
            coefficients[plane, y0 + y, x0 + x] = -(value >> 1) if value & 1 else value >> 1
    planes = np.int64(0)
    while largest > 1:
        planes += 1
        largest >>= 1
    return planes


@entry
def decode(
    blocks: np.ndarray, coded: np.ndarray, styles: np.ndarray, data: np.ndarray, begins: np.ndarray,
    lengths: np.ndarray, scratch: Scratch, coefficients: np.ndarray, own: np.ndarray, same: np.ndarray,
) -> None:  # fmt: skip
    """Decode blocks into coefficients int32 [planes, Y, X]. Any bytes decode to some coefficients.

    blocks int32 [blocks, FIELDS]     see `blocks`
    coded int32 [blocks, 2]           bit planes and passes; a block without passes is 0
    styles uint8 [blocks]
    data uint8                        each block's segment, followed by mq.SEGMENT_END bytes 0xFF
    begins, lengths int64 [blocks]    where the segments begin, and their bytes
    own int32 [blocks]                result: the bit planes that each block has
    same int64 [blocks, 2, 2]         result: the bytes that our coder makes of each block with `mq.flush` and with
                                      `mq.flush_short`, and how many of the first ones equal those of its segment
    """
    for b in range(blocks.shape[0]):
        values, block = scratch.values, blocks[b]
        same[b, 0, 0], same[b, 0, 1], same[b, 1, 0], same[b, 1, 1] = 0, 0, 0, 0
        if coded[b, 1]:
            c, a, ct, at = _decode(
                block, np.int64(coded[b, 0]), np.int64(coded[b, 1]), np.int64(styles[b]), data, begins[b], scratch
            )
            _compare(data, begins[b], lengths[b], scratch, c, a, ct, at, same[b])
        else:
            for n in range(4 * ((block[3] + 3) >> 2) * block[4]):
                values[n] = 0
        own[b] = _store(values, block, coefficients)
