"""The Huffman codes that libdeflate builds for a block, and how it states them; `deflate_huffman` has those of zlib.

Symbols are sorted by frequency once, and no heap is needed: inner nodes come out in ascending order by themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import part

LONGEST = np.array([14, 15, 7], np.int64)  # codes of each alphabet
_ORDER, _INNER, _PARENT = 0, 1, 2  # rows of the scratch: symbols by frequency; inner nodes, their parents and depths


@part
def _sort(frequency: np.ndarray, alphabet: Any, order: np.ndarray) -> Any:
    """Sort the symbols that occur by frequency, then by number; returns how many do."""
    count = 0
    for n in range(alphabet):
        if frequency[n] > 0:
            k = count
            while k > 0 and frequency[order[k - 1]] > frequency[n]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = n
            count += 1
    return count


@part
def build_ordered(
    frequency: np.ndarray, lengths: np.ndarray, longest: Any, scratch: np.ndarray, counts: np.ndarray
) -> Any:
    """Compute the lengths of the codes of an alphabet; as `deflate_huffman.build`. Returns the last one with a code."""
    order, inner, parent = scratch[_ORDER], scratch[_INNER], scratch[_PARENT]
    alphabet = lengths.shape[0]
    for n in range(alphabet):
        lengths[n] = 0
    for n in range(17):
        counts[n] = 0
    size = _sort(frequency, alphabet, order)
    if size < 2:
        # There are two codes: that of the symbol, and that of 0, or of 1 beside 0.
        other = order[0] if size == 1 and order[0] > 0 else 1
        lengths[0] = lengths[other] = 1
        return np.int64(other)
    leaf, node = 0, 0  # the rarest that have no parent yet
    for made in range(size - 1):
        leaves = leaf + 1 < size and (node == made or frequency[order[leaf + 1]] <= inner[node])
        if leaves:
            inner[made] = frequency[order[leaf]] + frequency[order[leaf + 1]]
            leaf += 2
        elif node + 2 <= made and (leaf >= size or inner[node + 1] < frequency[order[leaf]]):
            inner[made] = inner[node] + inner[node + 1]
            parent[node] = parent[node + 1] = made
            node += 2
        else:
            inner[made] = frequency[order[leaf]] + inner[node]
            parent[node] = made
            leaf += 1
            node += 1
    # From the root on, each inner node takes the place of a leaf, which two leaves below it replace.
    counts[1] = 2
    parent[size - 2] = 0
    for n in range(size - 3, -1, -1):
        depth = parent[parent[n]] + 1
        parent[n] = depth
        if depth >= longest:
            depth = np.int64(longest - 1)
            while counts[depth] == 0:
                depth -= 1
        counts[depth] -= 1
        counts[depth + 1] += 2
    k = 0
    for bits in range(longest, 0, -1):
        for _ in range(counts[bits]):
            lengths[order[k]] = bits
            k += 1
    last = alphabet - 1
    while lengths[last] == 0:
        last -= 1
    return np.int64(last)


@part
def run_lengths_of_both(lengths: np.ndarray, first: Any, second: Any, out: np.ndarray) -> Any:
    """Write the lengths of the first codes of both alphabets as `deflate_huffman.run_lengths`, one after the other.

    A run may begin in one and end in the other. Returns how many symbols there are.
    """
    at, n = 0, 0
    total = first + second
    while n < total:
        length = lengths[0, n] if n < first else lengths[1, n - first]
        end = n + 1
        while end < total and (lengths[0, end] if end < first else lengths[1, end - first]) == length:
            end += 1
        if length == 0:
            while end - n >= 3:
                symbol = 18 if end - n >= 11 else 17
                least, most = (11, 138) if symbol == 18 else (3, 10)
                count = end - n if end - n < most else most
                out[0, at], out[1, at] = symbol, count - least
                at += 1
                n += count
        elif end - n >= 4:
            out[0, at], out[1, at] = length, 0
            at += 1
            n += 1
            while end - n >= 3:
                count = end - n if end - n < 6 else 6
                out[0, at], out[1, at] = 16, count - 3
                at += 1
                n += count
        while n < end:
            out[0, at], out[1, at] = length, 0
            at += 1
            n += 1
    return at
