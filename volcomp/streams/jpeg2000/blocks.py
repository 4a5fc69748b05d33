"""What tables say about code blocks, and the scratch of the loops that code them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import mq

# The fields of a block, int32: its component, where it lies among that component's coefficients, its size, the
# orientation of its band, and the bit planes that the header allows, Mb (ITU-T T.800, Equation E-2).
FIELDS = 7
LARGEST = 4096  # coefficients of a block (Table A.18)
MOST_PLANES = 30  # of a block, so that values fit 32 bits

# Bits of the code block style (Table A.19)
BYPASS, RESET, TERMINATE, CAUSAL, PREDICTABLE, SEGMENTATION, HIGH_THROUGHPUT = 1, 2, 4, 8, 16, 32, 64


class Scratch(NamedTuple):
    """The scratch of one thread.

    flags uint32     see `contexts`: of each stripe's columns, with one column and one stripe more on every side
    values int32     2 · magnitude + sign, column by column of each stripe
    symbols uint8    of one pass
    states uint8     of the contexts, and of those of a second coder
    out uint8        of one block; twice what any image needs
    upper uint8      of the end of a segment
    """

    flags: np.ndarray
    values: np.ndarray
    symbols: np.ndarray
    states: np.ndarray
    states_again: np.ndarray
    out: np.ndarray
    upper: np.ndarray


def scratch() -> Scratch:
    """Allocate scratch. Narrow blocks have the most flags: 1024 stripes or columns of 4 coefficients or fewer."""
    return Scratch(
        np.empty(2 * LARGEST, np.uint32),
        np.empty(LARGEST, np.int32),
        np.empty(3 * LARGEST, np.uint8),
        np.empty(mq.CONTEXTS, np.uint8),
        np.empty(mq.CONTEXTS, np.uint8),
        np.empty(16 * LARGEST, np.uint8),
        np.empty(mq.FLUSHED + 1, np.uint8),
    )
