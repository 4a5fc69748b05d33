"""The entropy-coded data of a lossless JPEG scan (ITU-T T.81, Annex H): differences to a prediction, in Huffman codes.

Where 0xFF is a byte of data, 0x00 follows in the stream (F.1.2.3). That is undone, and done, in a pass of its own. The
other loops see the bits as words of 64, most significant first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.compiled import entry, part
from .jpeg_lossless_tables import LENGTH_BITS, NEAR, SHORT_BITS, Sixteen

SPARE = 3  # words that a decoder may read beyond the last bit
LONGEST = 32  # bits of a difference
_WHOLE = int(Sixteen.WHOLE)
_NEGATIVE = int(Sixteen.NEGATIVE)
_POSITIVE = int(Sixteen.POSITIVE)
_BARE = int(Sixteen.BARE)


@entry
def unstuff(data: Any, at: Any, out: Any, begin: Any, fills: Any) -> Any:
    """Copy the data of a scan's restart intervals without markers and stuffed zeros, up to another marker.

    data uint8 [n], at        the stream, and where the scan's data begin
    out uint8 [n - at]        gets the data of all intervals, one after the other
    begin int64 [k + 1]       gets where each begins, and the last ends
    fills int64 [k]           gets how many fill bytes 0xFF precede each one's marker; the first of them, if any, is in
                              `out` as well, because some encoder may have meant it as data

    Returns where in the stream the marker is that follows, or the fill bytes before it; -1 if an interval is missing.
    """
    size, n, k, i = data.shape[0], 0, 0, at
    begin[0] = 0
    fills[:] = 0
    while i < size:
        byte = data[i]
        out[n] = byte
        n += 1
        i += 1
        if byte == 0xFF:
            if i < size and data[i] == 0:
                i += 1
                continue
            first = i - 1
            while i < size and data[i] == 0xFF:
                i += 1
            fills[k] = i - 1 - first
            if fills[k] == 0:
                n -= 1
            if k + 1 < fills.shape[0] and i < size and data[i] == 0xD0 + (k & 7):
                k += 1
                begin[k] = n
                i += 1
                continue
            i = first
            break
    begin[k + 1] = n
    return i if k + 1 == fills.shape[0] else -1


@entry
def stuff(data: Any, ends: Any, last_too: Any, out: Any) -> Any:
    """Write the data of restart intervals, with zeros after 0xFF, and the markers between them.

    data uint8, ends int64 [k]   the intervals, one after the other
    last_too                     whether 0xFF as the last byte of an interval is followed by a zero as well
    out uint8                    gets the scan

    Returns its length.
    """
    n, i = 0, 0
    for k in range(ends.shape[0]):
        if k:
            out[n] = 0xFF
            out[n + 1] = 0xD0 + ((k - 1) & 7)
            n += 2
        while i < ends[k]:
            byte = data[i]
            out[n] = byte
            n += 1
            i += 1
            if byte == 0xFF and (last_too or i < ends[k]):
                out[n] = 0
                n += 1
    return n


@part
def _predict(selection: Any, left: Any, above: Any, before: Any) -> Any:
    """Predict a sample from those to the left, above, and to the left of the latter (table H.1)."""
    if selection == 1:
        return left
    if selection == 2:
        return above
    if selection == 3:
        return before
    if selection == 4:
        return left + above - before
    if selection == 5:
        return left + ((above - before) >> 1)
    if selection == 6:
        return above + ((left - before) >> 1)
    return (left + above) >> 1


@entry
def decode(
    words: Any, begin: Any, short: Any, whole: Any, sixteen: Any, selection: Any, start: Any, lines: Any, samples: Any,
    ends: Any, seen: Any,
) -> bool:  # fmt: skip
    """Decode a scan.

    words uint64                   its bits, and SPARE words more
    begin int64 [k + 1]            bytes where each restart interval begins, and the last ends
    short int32 [c, 2^12]          Huffman tables, see `jpeg_lossless_tables.decoding`
    whole uint16 [c, 2^16]
    sixteen                        whether bits follow category 16
    selection, start, lines        the predictor, that of an interval's first sample, lines of an interval
    samples uint16 [c, Y, X]       gets the samples
    ends int64 [k]                 gets where the bits of each interval end
    seen bool [1]                  gets whether category 16 occurred

    Returns False if the bits are no codes, or too few.
    """
    components, rows, columns = samples.shape
    at = np.uint64(0)
    end = np.uint64(0)
    for y in range(rows):
        fresh = y % lines == 0
        if fresh:
            k = y // lines
            at, end = np.uint64(begin[k] * 8), np.uint64(begin[k + 1] * 8)
        for x in range(columns):
            for c in range(components):
                place = at >> np.uint64(6)
                shift = at & np.uint64(63)
                window = words[place] << shift
                window |= words[place + np.uint64(1)] >> np.uint64(1) >> (np.uint64(63) - shift)
                known = np.int64(short[c, window >> np.uint64(64 - SHORT_BITS)])
                difference: Any = known >> 8
                at += np.uint64(known & 255)
                if known == 0:
                    found = np.uint64(whole[c, window >> np.uint64(48)])
                    category, length = found >> np.uint64(8), found & np.uint64(255)
                    if length == 0:
                        return False
                    at += length
                    if category == 16 and not sixteen:
                        difference = 1 << 15
                    elif category > 0:
                        low = np.int64(window << length >> (np.uint64(64) - category))
                        half = np.int64(1) << np.int64(category - np.uint64(1))
                        difference = low if low >= half else low - 2 * half + 1
                        at += category
                    seen[0] |= category == 16
                if at > end:
                    return False
                if fresh:
                    predicted = np.int64(samples[c, y, x - 1]) if x else np.int64(start)
                elif x == 0:
                    predicted = np.int64(samples[c, y - 1, x])
                else:
                    predicted = _predict(
                        selection,
                        np.int64(samples[c, y, x - 1]),
                        np.int64(samples[c, y - 1, x]),
                        np.int64(samples[c, y - 1, x - 1]),
                    )
                samples[c, y, x] = predicted + difference
        if (y + 1) % lines == 0 or y + 1 == rows:
            ends[y // lines] = at
    return True


@entry
def encode(
    samples: Any, near: Any, codes: Any, sixteen: Any, selection: Any, start: Any, lines: Any, ones: Any, words: Any,
    ends: Any,
) -> bool:  # fmt: skip
    """Encode a scan, the inverse of `decode`.

    near uint32 [c, 2 NEAR]   Huffman tables, see `jpeg_lossless_tables.encoding`
    codes uint32 [c, 17]
    sixteen                   a `Sixteen`
    ones                      whether ones fill the last byte of an interval, or zeros
    words uint64              gets the bits; it must have room for LONGEST of each sample, 8 of each interval, and 64
    ends int64 [k]            gets the bytes where each interval ends

    Returns False if a difference has no code.
    """
    components, rows, columns = samples.shape
    done, word = np.uint64(0), np.uint64(0)
    free: Any = 64  # bits of `word`
    for y in range(rows):
        fresh = y % lines == 0
        for x in range(columns):
            for c in range(components):
                if fresh:
                    predicted = np.int64(samples[c, y, x - 1]) if x else np.int64(start)
                elif x == 0:
                    predicted = np.int64(samples[c, y - 1, x])
                else:
                    predicted = _predict(
                        selection,
                        np.int64(samples[c, y, x - 1]),
                        np.int64(samples[c, y - 1, x]),
                        np.int64(samples[c, y - 1, x - 1]),
                    )
                difference: Any = np.int64(samples[c, y, x]) - predicted
                if sixteen != _WHOLE:
                    difference = ((difference + (1 << 15)) & 0xFFFF) - (1 << 15)  # -32768 … 32767
                if -NEAR <= difference < NEAR:
                    known = np.uint64(near[c, difference + NEAR])
                    bits, length = known >> np.uint64(LENGTH_BITS), np.int64(known & np.uint64(31))
                    if length == 0:
                        return False
                else:
                    if difference == -(1 << 15) and sixteen in (_BARE, _POSITIVE):
                        difference = 1 << 15
                    category, size = 12, abs(difference)
                    while size >> category:
                        category += 1
                    if category > 16 or codes[c, category] == 0:
                        return False
                    code = np.uint64(codes[c, category])
                    bits, length = code >> np.uint64(LENGTH_BITS), np.int64(code & np.uint64(31))
                    if category < 16 or sixteen != _BARE:
                        low = np.uint64(difference if difference >= 0 else difference - 1)
                        low &= (np.uint64(1) << np.uint64(category)) - np.uint64(1)
                        bits = bits << np.uint64(category) | low
                        length += category
                free -= length
                if free >= 0:
                    word |= bits << np.uint64(free)
                else:
                    words[done] = word | bits >> np.uint64(-free)
                    done += np.uint64(1)
                    free += 64
                    word = bits << np.uint64(free)
        if (y + 1) % lines == 0 or y + 1 == rows:
            if free & 7:
                if ones:
                    word |= ((np.uint64(1) << np.uint64(free & 7)) - np.uint64(1)) << np.uint64(free - (free & 7))
                free -= free & 7
            ends[y // lines] = np.int64(done) * 8 + (64 - free) // 8
    words[done] = word
    return True
