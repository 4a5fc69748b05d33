"""The Huffman codes that zlib builds for a block, and the header that states them (RFC 1951, 3.2.2 and 3.2.7).

Codes of the same total length are many. Which one comes out depends on the order in which nodes of equal frequency
leave the heap, and on how codes beyond the longest allowed are shortened. Both are part of what is made again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import part
from .deflate_tables import DISTANCES, NODES, ORDER_OF_ORDERS, ORDERS, SYMBOLS

HEAP, DEPTH, PARENT = 0, 1, 2  # rows of the scratch
SCRATCH = 3
FIELDS = 640  # no header has more: a code length takes 14 bits at most, and a field has one of them, or 8 bits


@part
def _before(frequency: np.ndarray, depth: np.ndarray, a: Any, b: Any) -> Any:
    """Return whether node a leaves the heap before b: the rarer, then the one that is less deep, then a."""
    return frequency[a] < frequency[b] or (frequency[a] == frequency[b] and depth[a] <= depth[b])


@part
def _sift(frequency: np.ndarray, heap: np.ndarray, depth: np.ndarray, size: Any, k: Any) -> None:
    """Move the node at place k of the heap down to where it belongs."""
    node = heap[k]
    child = 2 * k
    while child <= size:
        if child < size and _before(frequency, depth, heap[child + 1], heap[child]):
            child += 1
        if _before(frequency, depth, node, heap[child]):
            break
        heap[k] = heap[child]
        k = child
        child *= 2
    heap[k] = node


@part
def build(frequency: np.ndarray, lengths: np.ndarray, longest: Any, scratch: np.ndarray, counts: np.ndarray) -> Any:
    """Compute the lengths of the codes of an alphabet.

    frequency int64 [NODES]         of each symbol, with room for the nodes of the tree
    lengths int64 [alphabet]        becomes the lengths
    longest                         the longest code allowed
    scratch int64 [SCRATCH, NODES]
    counts int64 [17]               scratch

    Returns the last symbol that has a code; there are two codes at least, if need be of symbols that do not occur.
    """
    heap, depth, parent = scratch[HEAP], scratch[DEPTH], scratch[PARENT]
    alphabet = lengths.shape[0]
    size, last = 0, -1
    needless, other = -1, -1
    for n in range(alphabet):
        lengths[n] = 0
        if frequency[n] > 0:
            size += 1
            heap[size] = n
            last = n
            depth[n] = 0
    while size < 2:
        node = 0
        if last < 2:
            last += 1
            node = last
        size += 1
        heap[size] = node
        frequency[node] = 1
        depth[node] = 0
        needless, other = node, needless
    for k in range(size // 2, 0, -1):
        _sift(frequency, heap, depth, size, k)
    node, top = alphabet, NODES  # what has left the heap is kept behind it, the last one first
    while size >= 2:
        a = heap[1]
        heap[1] = heap[size]
        size -= 1
        _sift(frequency, heap, depth, size, 1)
        b = heap[1]
        heap[top - 1], heap[top - 2] = a, b
        top -= 2
        frequency[node] = frequency[a] + frequency[b]
        depth[node] = 1 + (depth[a] if depth[a] >= depth[b] else depth[b])
        parent[a] = parent[b] = node
        heap[1] = node
        node += 1
        _sift(frequency, heap, depth, size, 1)
    top -= 1
    heap[top] = heap[1]
    _limit(lengths, longest, scratch, counts, top)
    if needless >= 0:
        frequency[needless] = 0
    if other >= 0:
        frequency[other] = 0
    return last


@part
def _limit(lengths: np.ndarray, longest: Any, scratch: np.ndarray, counts: np.ndarray, top: Any) -> None:
    """Compute code lengths from the tree, whose nodes are in heap[top …] from the root on, none above `longest`."""
    heap, depth, parent = scratch[HEAP], scratch[DEPTH], scratch[PARENT]
    alphabet = lengths.shape[0]
    for n in range(17):
        counts[n] = 0
    over = 0
    depth[heap[top]] = 0  # from here on, the distance from the root
    for h in range(top + 1, NODES):
        n = heap[h]
        bits = depth[parent[n]] + 1
        if bits > longest:
            bits = np.int64(longest)
            over += 1
        depth[n] = bits
        if n < alphabet:
            lengths[n] = bits
            counts[bits] += 1
    if over == 0:
        return
    while over > 0:
        bits = longest - 1
        while counts[bits] == 0:
            bits -= 1
        counts[bits] -= 1
        counts[bits + 1] += 2
        counts[longest] -= 1
        over -= 2
    h = NODES
    for bits in range(longest, 0, -1):
        n = counts[bits]
        while n > 0:
            h -= 1
            if heap[h] < alphabet:
                lengths[heap[h]] = bits
                n -= 1


@part
def assign(lengths: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> None:
    """Compute the codes of given lengths, as they are written: bits reversed (RFC 1951, 3.2.2)."""
    for n in range(17):
        counts[n] = 0
    for n in range(lengths.shape[0]):
        counts[lengths[n]] += 1
    code = 0
    counts[0] = 0
    for bits in range(1, 16):
        code, counts[bits] = (code + counts[bits]) << 1, code
    for n in range(lengths.shape[0]):
        bits = lengths[n]
        if bits > 0:
            value, turned = counts[bits], 0
            counts[bits] += 1
            for _ in range(bits):
                turned = turned << 1 | value & 1
                value >>= 1
            codes[n] = turned


@part
def run_lengths(lengths: np.ndarray, size: Any, out: np.ndarray, at: Any) -> Any:
    """Append the lengths of the first `size` codes to `out` int64 [2, m] as symbols with their extra bits.

    zlib counts at most 138 zeros, 7 equal lengths of which the first is stated, or 6 that repeat the one before.
    """
    before = -1
    n = 0
    while n < size:
        length = lengths[n]
        most = 138 if length == 0 else (6 if length == before else 7)
        least = 3 if length == 0 or length == before else 4
        count = 1
        while count < most and n + count < size and lengths[n + count] == length:
            count += 1
        n += count
        if count < least:
            for _ in range(count):
                out[0, at], out[1, at] = length, 0
                at += 1
        elif length != 0:
            if length != before:
                out[0, at], out[1, at] = length, 0
                at += 1
                count -= 1
            out[0, at], out[1, at] = 16, count - 3
            at += 1
        elif count <= 10:
            out[0, at], out[1, at] = 17, count - 3
            at += 1
        else:
            out[0, at], out[1, at] = 18, count - 11
            at += 1
        before = length
    return at


@part
def orders_stated(orders: np.ndarray) -> Any:
    """Count the code lengths of the third alphabet that a header states; the last ones are left out if 0."""
    count = ORDERS
    while count > 4 and orders[ORDER_OF_ORDERS[count - 1]] == 0:
        count -= 1
    return count


class Codes(NamedTuple):
    """The codes of a block, and scratch to build them. Rows: literals and lengths, distances, code lengths.

    frequency int64 [3, NODES]
    lengths int64 [3, NODES]
    codes int64 [3, NODES]
    tree int64 [SCRATCH, NODES]
    counts int64 [17]
    runs int64 [2, SYMBOLS + DISTANCES]   the code lengths as run lengths, and their extra bits
    fields int64 [2, FIELDS]              the values and widths of what is written before the symbols of a block
    """

    frequency: np.ndarray
    lengths: np.ndarray
    codes: np.ndarray
    tree: np.ndarray
    counts: np.ndarray
    runs: np.ndarray
    fields: np.ndarray


def codes() -> Codes:
    """Allocate the codes of a block."""
    frequency, lengths, assigned, tree = (np.zeros((rows, NODES), np.int64) for rows in (3, 3, 3, SCRATCH))
    counts, runs = np.zeros(17, np.int64), np.zeros((2, SYMBOLS + DISTANCES), np.int64)
    return Codes(frequency, lengths, assigned, tree, counts, runs, np.zeros((2, FIELDS), np.int64))
