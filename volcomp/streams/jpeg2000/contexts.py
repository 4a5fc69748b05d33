"""The contexts of code blocks as tables (ITU-T T.800, D.3), and the layout of the flags from which they are read.

A uint32 holds what four coefficients of one column, a stripe's height, and those around them have become so far:

    bits 0 … 17    significance of six rows, from the one above to the one below, of three columns: 3 · row + column
    bits 18 … 23   the signs of the middle column's six rows, 0 where not significant
    bits 24 … 27   which of the four were coded in this bit plane's significance propagation pass
    bits 28 … 31   which of the four have been refined before
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.compiled import part
from . import mq

LL, HL, LH, HH = range(4)  # the orientation of a band, in the order in which bands follow each other
SIGNIFICANT = 0x3FFFF  # any significance around the four coefficients
OWN = 1 << 4 | 1 << 7 | 1 << 10 | 1 << 13  # that of the four themselves
SIGNS, VISITED, REFINED = 18, 24, 28  # the first bit of each kind
AROUND = 0x1EF  # in the nine bits 3 · r … 3 · r + 8, the eight neighbours of the coefficient in row r


def _zero_contexts() -> np.ndarray:
    """Return Table D.1: uint8 [orientation, 512]."""
    table = np.zeros((4, 512), np.uint8)
    for near in range(512):
        bit = [near >> n & 1 for n in range(9)]
        across, down = bit[3] + bit[5], bit[1] + bit[7]
        diagonal = bit[0] + bit[2] + bit[6] + bit[8]
        for orientation in (LL, HL, LH, HH):
            h, v = (down, across) if orientation == HL else (across, down)
            if orientation == HH:
                label = ((0, 1, 2), (3, 4, 5), (6, 7, 7), (8, 8, 8))[min(diagonal, 3)][min(h + v, 2)]
            elif h == 2:
                label = 8
            elif h == 1:
                label = 7 if v else 6 if diagonal else 5
            else:
                label = (0, 3, 4)[v] or min(diagonal, 2)
            table[orientation, near] = mq.ZERO + label
    return table


def _sign_contexts() -> np.ndarray:
    """Return Tables D.2 and D.3: uint8 [256] of twice the context plus the bit that flips the sign.

    The index has the significance of the left, right, upper and lower neighbour, and then their signs.
    """
    table = np.zeros(256, np.uint8)
    for near in range(256):
        left, right, up, down = ((near >> n & 1) * (1 - 2 * (near >> (n + 4) & 1)) for n in range(4))
        h, v = max(-1, min(1, left + right)), max(-1, min(1, up + down))
        flip = h < 0 or (h == 0 and v < 0)
        label = 1 if h == 0 and v else 3 + h * v if h else 0
        table[near] = 2 * (mq.SIGN + label) + flip
    return table


ZERO_CONTEXTS = _zero_contexts()
SIGN_CONTEXTS = _sign_contexts()


@part
def sign_context(flags: np.ndarray, at: Any, word: Any, r: Any) -> Any:
    """Return the entry of SIGN_CONTEXTS for row r of the column with these flags, at `at`."""
    near = word >> (3 * r)
    index = near >> 3 & 1 | near >> 4 & 2 | near << 1 & 4 | near >> 4 & 8
    signs = word >> (SIGNS + r)
    index |= (np.int64(flags[at - 1]) >> (SIGNS + 1 + r) & 1) << 4 | (
        np.int64(flags[at + 1]) >> (SIGNS + 1 + r) & 1
    ) << 5
    index |= (signs & 1) << 6 | (signs >> 2 & 1) << 7
    return np.int64(SIGN_CONTEXTS[index])


@part
def become_significant(flags: np.ndarray, at: Any, stride: Any, r: Any, sign: Any, causal: Any) -> Any:
    """Set the significance and sign of row r of the column at `at`, and return its flags.

    If causal, the stripe above does not see it (D.7).
    """
    flags[at - 1] |= np.uint32(1 << (3 * r + 5))
    flags[at] |= np.uint32(1 << (3 * r + 4) | sign << (SIGNS + 1 + r))
    flags[at + 1] |= np.uint32(1 << (3 * r + 3))
    if r == 0 and not causal:
        above = at - stride
        flags[above - 1] |= np.uint32(1 << 17)
        flags[above] |= np.uint32(1 << 16 | sign << (SIGNS + 5))
        flags[above + 1] |= np.uint32(1 << 15)
    elif r == 3:
        below = at + stride
        flags[below - 1] |= np.uint32(1 << 2)
        flags[below] |= np.uint32(1 << 1 | sign << SIGNS)
        flags[below + 1] |= np.uint32(1 << 0)
    return np.int64(flags[at])
