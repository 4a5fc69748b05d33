"""Code blocks to segments of bytes (ITU-T T.800, Annex D), as one segment of the MQ coder per block.

A pass first lists its symbols with their contexts, and then codes them: two short loops are faster than one long one.
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
def _load(coefficients: np.ndarray, block: np.ndarray, values: np.ndarray) -> Any:
    """Copy a block, as 2 · magnitude + sign, column by column of each stripe; returns how many bit planes it has."""
    plane, y0, x0, h, w = block[0], block[1], block[2], block[3], block[4]
    largest = np.int64(0)
    for y in range(h):
        at = (y >> 2) * 4 * w + (y & 3)
        for x in range(w):
            value = np.int64(coefficients[plane, y0 + y, x0 + x])
            value = -2 * value + 1 if value < 0 else 2 * value
            values[at + 4 * x] = value
            largest |= value
    planes = np.int64(0)
    while largest > 1:
        planes += 1
        largest >>= 1
    return planes


@part
def _significance(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, symbols: np.ndarray
) -> Any:
    """List the symbols of a significance propagation pass (D.3.1); returns their number."""
    n = 0
    stride = w + 2
    for stripe in range((h + 3) >> 2):
        rows = smaller(4, h - 4 * stripe)
        row = (stripe + 1) * stride + 1
        for x in range(w):
            at = row + x
            word = np.int64(flags[at])
            if word & SIGNIFICANT == 0:
                continue
            for r in range(rows):
                near = word >> (3 * r) & 0x1FF
                if near & 0x10 or near == 0:
                    continue
                value = np.int64(values[4 * (stripe * w + x) + r])
                one = value >> bit & 1
                symbols[n] = ZERO_CONTEXTS[orientation, near] << 1 | one
                n += 1
                flags[at] |= np.uint32(1 << (VISITED + r))
                if one:
                    symbols[n] = contexts.sign_context(flags, at, word, r) ^ (value & 1)
                    n += 1
                    word = contexts.become_significant(flags, at, stride, r, value & 1, causal)
    return n


@part
def _refinement(flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, symbols: np.ndarray) -> Any:
    """List the symbols of a magnitude refinement pass (D.3.3); returns their number."""
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
                    symbols[n] = context << 1 | (np.int64(values[4 * (stripe * w + x) + r]) >> bit & 1)
                    n += 1
            flags[row + x] = np.uint32(word | new)
    return n


@part
def _cleanup(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, symbols: np.ndarray
) -> Any:
    """List the symbols of a cleanup pass (D.3.4), and forget which coefficients were visited; returns their number."""
    n = 0
    stride = w + 2
    for stripe in range((h + 3) >> 2):
        rows = smaller(4, h - 4 * stripe)
        row = (stripe + 1) * stride + 1
        for x in range(w):
            at = row + x
            word = np.int64(flags[at])
            column = 4 * (stripe * w + x)
            begin, known = 0, False
            if rows == 4 and word & SIGNIFICANT == 0:
                while begin < 4 and not np.int64(values[column + begin]) >> bit & 1:
                    begin += 1
                symbols[n] = mq.RUN << 1 | (begin < 4)
                n += 1
                if begin == 4:
                    continue
                symbols[n] = mq.UNIFORM << 1 | begin >> 1
                symbols[n + 1] = mq.UNIFORM << 1 | begin & 1
                n += 2
                known = True
            for r in range(begin, rows):
                if word >> (3 * r + 4) & 1 or word >> (VISITED + r) & 1:
                    continue
                value = np.int64(values[column + r])
                one = value >> bit & 1
                if not known:
                    symbols[n] = ZERO_CONTEXTS[orientation, word >> (3 * r) & 0x1FF] << 1 | one
                    n += 1
                known = False
                if one:
                    symbols[n] = contexts.sign_context(flags, at, word, r) ^ (value & 1)
                    n += 1
                    word = contexts.become_significant(flags, at, stride, r, value & 1, causal)
            flags[at] &= np.uint32(0xFFFFFFFF ^ 0xF << VISITED)
    return n


@part
def _encode(
    coefficients: np.ndarray, block: np.ndarray, planes: Any, passes: Any, style: Any, short: Any, scratch: Scratch
) -> Any:
    """Encode a block into scratch.out, from byte 1 on. A negative number of planes is as many as it has.

    Returns planes, passes and the number of bytes. The number of passes is what the planes allow at most. A block that
    has more planes than given returns -1 planes.
    """
    flags, values, symbols, states, out = scratch.flags, scratch.values, scratch.symbols, scratch.states, scratch.out
    has = _load(coefficients, block, values)
    if planes < 0:
        planes = has
    if has > planes:
        return -1, 0, 0
    most = larger(3 * planes - 2, 0)
    passes = most if passes < 0 else smaller(most, passes)
    if passes == 0:
        return planes, 0, 0
    h, w, orientation = np.int64(block[3]), np.int64(block[4]), np.int64(block[5])
    for n in range((((h + 3) >> 2) + 2) * (w + 2)):
        flags[n] = 0
    mq.reset(states)
    out[0] = 0
    c, a, ct, at = mq.begin_encoding()
    causal = style & CAUSAL != 0
    for n in range(passes):
        kind = (n + 2) % 3
        bit = planes - (n + 2) // 3  # of the value, whose lowest bit is the sign
        if kind == 0:
            count = _significance(flags, values, h, w, bit, orientation, causal, symbols)
        elif kind == 1:
            count = _refinement(flags, values, h, w, bit, symbols)
        else:
            count = _cleanup(flags, values, h, w, bit, orientation, causal, symbols)
            if style & SEGMENTATION:
                for k in range(4):
                    symbols[count + k] = mq.UNIFORM << 1 | (k & 1 ^ 1)
                count += 4
        c, a, ct, at = mq.encode(symbols, count, states, out, c, a, ct, at)
        if style & RESET:
            mq.reset(states)
    end = mq.flush_short(out, scratch.upper, c, a, ct, at) if short else mq.flush(out, c, a, ct, at)
    return planes, passes, end - 1


@entry
def encode(
    coefficients: np.ndarray, blocks: np.ndarray, wanted: np.ndarray, styles: np.ndarray, short: bool, scratch: Scratch,
    begin: int, position: int, coded: np.ndarray, lengths: np.ndarray, out: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Encode blocks one after the other, from the block `begin` on and into out uint8 from the position on.

    coefficients int32 [planes, Y, X]
    blocks int32 [blocks, FIELDS]     see `blocks`
    wanted int32 [blocks, 2]          bit planes and passes, -1 for as many as there are
    styles uint8 [blocks]
    short                             whether segments end with `mq.flush_short`
    coded int32 [blocks, 2]           what it became; -1 planes for a block that has more planes than wanted
    lengths int32 [blocks]            bytes

    Returns the number of the first block that `out` has no room for, and the position after those before it.
    """
    for b in range(begin, blocks.shape[0]):
        p, n, size = _encode(coefficients, blocks[b], wanted[b, 0], wanted[b, 1], np.int64(styles[b]), short, scratch)
        if position + size > out.shape[0]:
            return b, position
        for k in range(size):
            out[position + k] = scratch.out[1 + k]
        coded[b, 0], coded[b, 1], lengths[b] = p, n, size
        position += size
    return blocks.shape[0], position
