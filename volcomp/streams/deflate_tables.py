"""The alphabets of deflate (RFC 1951, 3.2.5 to 3.2.7) and the settings of zlib's levels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STORED, FIXED, DYNAMIC = 0, 1, 2  # the types of blocks
END = 256  # the symbol that ends a block
SHORTEST, LONGEST = 3, 258  # matches
SYMBOLS, DISTANCES, ORDERS = 286, 30, 19  # of the three alphabets: literals and lengths, distances, code lengths
NODES = 2 * SYMBOLS + 1  # of a Huffman tree, and of the heap that builds it

# How many distances or lengths share each code, as bits that follow it
LENGTH_EXTRA = np.array([0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0], np.int64)
DISTANCE_EXTRA = np.array([0, 0, *(n for n in range(14) for _ in range(2))], np.int64)
LENGTH_BASE = SHORTEST + np.cumsum(np.concatenate([[0], 1 << LENGTH_EXTRA[:-1]]))
LENGTH_BASE[-1] = LONGEST  # it has a code of its own
DISTANCE_BASE = 1 + np.cumsum(np.concatenate([[0], 1 << DISTANCE_EXTRA[:-1]]))
LENGTH_CODE = (np.searchsorted(LENGTH_BASE, np.arange(LONGEST + 1), "right") - 1).clip(0).astype(np.uint8)
DISTANCE_CODE = (np.searchsorted(DISTANCE_BASE, np.arange(32769), "right") - 1).clip(0).astype(np.uint8)

FIXED_SYMBOL_BITS = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, np.int64)
FIXED_DISTANCE_BITS = np.full(DISTANCES, 5, np.int64)
ORDER_OF_ORDERS = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int64)
ORDER_EXTRA = np.array([0] * 16 + [2, 3, 7], np.int64)


class Level(NamedTuple):
    """What a level of zlib searches. Its documentation names these `deflateTune` parameters."""

    good: int  # a match of this length shortens the search for a better one
    lazy: int  # a longer match is taken at once; without lazy matching, positions within it are not indexed
    nice: int  # a match of this length ends the search
    chain: int  # positions that are tried


LEVELS = (
    Level(0, 0, 0, 0), Level(4, 4, 8, 4), Level(4, 5, 16, 8), Level(4, 6, 32, 32), Level(4, 4, 16, 16),
    Level(8, 16, 32, 32), Level(8, 16, 128, 128), Level(8, 32, 128, 256), Level(32, 128, 258, 1024),
    Level(32, 258, 258, 4096),
)  # fmt: skip
FIRST_LAZY = 4  # levels below it take the first match
DEFAULT, FILTERED, HUFFMAN, RUNS, FIXED_CODES = range(5)  # zlib's strategies


class Settings(NamedTuple):
    """The settings of zlib that a stream is made with."""

    level: int  # 0 … 9
    memory: int  # memLevel, 1 … 9
    window: int  # windowBits, 9 … 15
    strategy: int

    @property
    def block(self) -> int:
        """The number of symbols that fills a block."""
        return (1 << (self.memory + 6)) - 1
