"""Segments of bytes to code blocks (ITU-T T.800, Annex D), each one segment of the MQ coder."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import smaller
from . import contexts, mq
from .blocks import CAUSAL, RESET, SEGMENTATION, Scratch
from .contexts import AROUND, OWN, REFINED, SIGNIFICANT, VISITED, ZERO_CONTEXTS


@part
def _significance(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any,
) -> Any:  # fmt: skip
    """Decode a significance propagation pass (D.3.1); returns the coder's registers."""
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
                flags[here] |= np.uint32(1 << (VISITED + r))
                if one:
                    sign = contexts.sign_context(flags, here, word, r)
                    flipped, c, a, ct, at = mq.decode(states, sign >> 1, data, c, a, ct, at)
                    sign = sign & 1 ^ flipped
                    values[4 * (stripe * w + x) + r] = 1 << bit | sign
                    word = contexts.become_significant(flags, here, stride, r, sign, causal)
    return c, a, ct, at


@part
def _refinement(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any,
) -> Any:  # fmt: skip
    """Decode a magnitude refinement pass (D.3.3); returns the coder's registers."""
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
                    values[4 * (stripe * w + x) + r] |= one << bit
            flags[row + x] = np.uint32(word | new)
    return c, a, ct, at


@part
def _cleanup(
    flags: np.ndarray, values: np.ndarray, h: Any, w: Any, bit: Any, orientation: Any, causal: Any, states: np.ndarray,
    data: np.ndarray, c: Any, a: Any, ct: Any, at: Any,
) -> Any:  # fmt: skip
    """Decode a cleanup pass (D.3.4), and forget which coefficients were visited; returns the coder's registers."""
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
                if not one:
                    continue
                begin, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
                one, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
                begin, known = 2 * begin + one, True
            for r in range(begin, rows):
                if word >> (3 * r + 4) & 1 or word >> (VISITED + r) & 1:
                    continue
                one = np.int64(1)
                if not known:
                    context = np.int64(ZERO_CONTEXTS[orientation, word >> (3 * r) & 0x1FF])
                    one, c, a, ct, at = mq.decode(states, context, data, c, a, ct, at)
                known = False
                if one:
                    sign = contexts.sign_context(flags, here, word, r)
                    flipped, c, a, ct, at = mq.decode(states, sign >> 1, data, c, a, ct, at)
                    sign = sign & 1 ^ flipped
                    values[4 * (stripe * w + x) + r] = 1 << bit | sign
                    word = contexts.become_significant(flags, here, stride, r, sign, causal)
            flags[here] &= np.uint32(0xFFFFFFFF ^ 0xF << VISITED)
    return c, a, ct, at


@part
def _decode(
    block: np.ndarray, planes: Any, passes: Any, style: Any, data: np.ndarray, at: Any, scratch: Scratch
) -> None:
    """Decode a block into scratch.values."""
    flags, values, states = scratch.flags, scratch.values, scratch.states
    h, w, orientation = np.int64(block[3]), np.int64(block[4]), np.int64(block[5])
    stripes = (h + 3) >> 2
    for n in range((stripes + 2) * (w + 2)):
        flags[n] = 0
    for n in range(4 * stripes * w):
        values[n] = 0
    mq.reset(states)
    causal = style & CAUSAL != 0
    c, a, ct, at = mq.begin(data, at)
    for n in range(passes):
        kind = (n + 2) % 3
        bit = planes - (n + 2) // 3  # of the value, whose lowest bit is the sign
        if kind == 0:
            c, a, ct, at = _significance(
                flags, values, h, w, bit, orientation, causal, states, data, c, a, ct, at
            )  # fmt: skip
        elif kind == 1:
            c, a, ct, at = _refinement(flags, values, h, w, bit, states, data, c, a, ct, at)
        else:
            c, a, ct, at = _cleanup(flags, values, h, w, bit, orientation, causal, states, data, c, a, ct, at)
            if style & SEGMENTATION:
                for _ in range(4):
                    _, c, a, ct, at = mq.decode(states, mq.UNIFORM, data, c, a, ct, at)
        if style & RESET:
            mq.reset(states)


@entry
def decode(
    blocks: np.ndarray, coded: np.ndarray, styles: np.ndarray, data: np.ndarray, begins: np.ndarray, scratch: Scratch,
    coefficients: np.ndarray,
) -> None:  # fmt: skip
    """Decode blocks into coefficients int32 [planes, Y, X]. Any bytes decode to some coefficients.

    blocks int32 [blocks, FIELDS]     see `blocks`
    coded int32 [blocks, 2]           bit planes and passes; a block without passes is 0
    styles uint8 [blocks]
    data uint8                        each block's segment, followed by mq.SEGMENT_END bytes 0xFF
    begins int64 [blocks]             where the segments begin
    """
    values = scratch.values
    for b in range(blocks.shape[0]):
        block = blocks[b]
        plane, y0, x0, h, w = block[0], block[1], block[2], block[3], block[4]
        if coded[b, 1] == 0:
            for y in range(h):
                for x in range(w):
                    coefficients[plane, y0 + y, x0 + x] = 0
            continue
        _decode(
            block, np.int64(coded[b, 0]), np.int64(coded[b, 1]), np.int64(styles[b]), data, begins[b], scratch
        )  # fmt: skip
        for y in range(h):
            for x in range(w):
                value = values[4 * ((y >> 2) * w + x) + (y & 3)]
                coefficients[plane, y0 + y, x0 + x] = -(value >> 1) if value & 1 else value >> 1
