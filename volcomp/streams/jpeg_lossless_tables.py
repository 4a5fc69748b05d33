"""Huffman tables of lossless JPEG (ITU-T T.81, Annex C and H.1.2.2), as the loops of `jpeg_lossless_scan` use them.

A difference d has the category of its size: 0 for 0, else the number of bits of |d|. Its code is that of the category;
then follow as many bits, of d if it is positive, else of d - 1. Category 16 has one difference, 32768, and no bits.
Some encoders write 16 bits for it all the same; how they come to them is what a `Sixteen` states.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from ..runtime.compiled import entry
from .jpeg_lossless_header import LARGEST_CATEGORY

SHORT_BITS = 12  # of a code and the bits that follow, for the decoder's quick table
NEAR = 2048  # |difference| of the encoder's quick table: 16 + 11 bits, and 5 for their number, are a word
LENGTH_BITS = 5


class Sixteen(IntEnum):
    """What an encoder does with differences of 16 bits.

    BARE       reduced to -32767 … 32768; category 16 has no bits, as T.81 says
    NEGATIVE   reduced to -32768 … 32767; the bits of -32768 follow
    POSITIVE   reduced to -32767 … 32768; the bits of 32768 follow
    WHOLE      not reduced; category 16 is all differences of 16 bits, and the bits of each follow
    """

    BARE = 0
    NEGATIVE = 1
    POSITIVE = 2
    WHOLE = 3


def codes(table: bytes) -> np.ndarray | None:
    """Assign the codes of a table (C.2): uint32 [17], code << 5 | its length, 0 for categories that have none.

    A category with several codes has the first. Returns None for numbers of codes that no prefix code has.
    """
    assigned = np.zeros(LARGEST_CATEGORY + 1, np.uint32)
    code, at = 0, 16
    for length in range(1, 17):
        for category in table[at : at + table[length - 1]]:
            if code >> length:
                return None
            if category <= LARGEST_CATEGORY and not assigned[category]:
                assigned[category] = code << LENGTH_BITS | length
            code += 1
        at += table[length - 1]
        code <<= 1
    return assigned


@lru_cache(maxsize=16)
def decoding(table: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Prepare a table for the decoder; None if it is no prefix code.

    Parameters:
        table: as in `Scan.tables`.

    Returns:
        short int32 [2^12]    by the next 12 bits: difference << 8 | number of all its bits; 0 if there are more
        whole uint16 [2^16]   by the next 16 bits: category << 8 | bits of its code; 0 for what no code begins with
    """
    assigned = codes(table)
    if assigned is None:
        return None
    short, whole = np.zeros(1 << SHORT_BITS, np.int32), np.zeros(1 << 16, np.uint16)
    _fill_lookups(short, whole, assigned)
    short.flags.writeable = whole.flags.writeable = False
    return short, whole


@lru_cache(maxsize=16)
def encoding(table: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Prepare a table for the encoder; None if it is no prefix code.

    Returns:
        near uint32 [2 NEAR]   by difference + NEAR: all its bits << 5 | their number; 0 if its category has no code
        codes uint32 [17]      see `codes`
    """
    assigned = codes(table)
    if assigned is None:
        return None
    near = np.zeros(2 * NEAR, np.uint32)
    _fill_near(near, assigned)
    near.flags.writeable = assigned.flags.writeable = False
    return near, assigned


@entry
def _fill_near(near: Any, assigned: Any) -> None:
    """Fill the quick table of `encoding`."""
    for i in range(2 * NEAR):
        difference = i - NEAR
        category, size = 0, abs(difference)
        while size >> category:
            category += 1
        code = np.int64(assigned[category])
        if code:
            low = (difference if difference >= 0 else difference - 1) & ((1 << category) - 1)
            near[i] = (code >> LENGTH_BITS << category | low) << LENGTH_BITS | (code & 31) + category


@entry
def _fill_lookups(short: Any, whole: Any, assigned: Any) -> None:
    """Fill the tables of `decoding`."""
    for category in range(LARGEST_CATEGORY + 1):
        code, length = np.int64(assigned[category]) >> LENGTH_BITS, np.int64(assigned[category]) & 31
        if length == 0:
            continue
        for i in range(code << (16 - length), (code + 1) << (16 - length)):
            whole[i] = category << 8 | length
        unused = SHORT_BITS - length - category
        if unused < 0:
            continue
        for i in range(1 << (category + unused)):
            low = i >> unused
            difference = low if low << 1 >> category else low - (1 << category) + 1
            short[(code << (SHORT_BITS - length)) + i] = difference << 8 | (length + category)
