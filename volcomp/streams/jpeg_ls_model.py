"""The context model of JPEG-LS (ITU-T T.87, Annex A), which its decoder and its encoder share; lossless only, NEAR = 0.

A sample is predicted from its neighbours: Ra to the left, Rb above, Rc above to the left, Rd above to the right. Their
differences select one of 365 contexts, whose counters give the bias of the prediction and the Golomb parameter. Where
all differences are 0, a run begins; two more contexts hold the counters of the samples that interrupt runs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import part
from ..runtime.scalars import larger, smaller

CONTEXTS = 367  # 365 of single samples, then those of run interruptions: 365 where Ra and Rb differ, 366 where not
INTERRUPTED = 365
A, B, C, N = 0, 1, 2, 3  # columns of the counters; those of run interruptions have Nn in the place of B (A.2.1)
# The orders of the codes of runs (A.2.1, J)
RUN_ORDER = np.array(
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15], np.int64
)
BITS_PER_SAMPLE = 80  # no sample costs more: LIMIT is 64 at most, and the code of a run that it interrupts 16


class Presets(NamedTuple):
    """The preset parameters of a scan (C.2.4.1.1); 0 means the default."""

    maxval: int = 0
    t1: int = 0
    t2: int = 0
    t3: int = 0
    reset: int = 0


class Coding(NamedTuple):
    """The parameters of a scan, for compiled loops.

    maxval   the largest sample
    half     the smallest prediction error that wraps to a negative one, (RANGE + 1) / 2
    qbpp     bits of an error that escapes the Golomb code
    limit    the longest Golomb code
    reset    the count at which counters are halved
    classes int8 [2 maxval + 1]   the class -4 … 4 of a difference, at difference + maxval
    """

    maxval: int
    half: int
    qbpp: int
    limit: int
    reset: int
    classes: np.ndarray


def _clamped(value: int, least: int, maxval: int) -> int:
    return value if least <= value <= maxval else least


def defaults(maxval: int, unclamped: bool) -> tuple[int, int, int]:
    """Return the default thresholds T1, T2, T3 (C.2.4.1.1.1).

    `unclamped`: as some encoders of Java compute them (JAI Image I/O), without the limit of 4095 on MAXVAL.
    """
    if maxval >= 128:
        factor = ((maxval if unclamped else min(maxval, 4095)) + 128) // 256
        t1 = _clamped(factor + 2, 1, maxval)
        t2 = _clamped(4 * factor + 3, t1, maxval)
        return t1, t2, _clamped(17 * factor + 4, t2, maxval)
    factor = 256 // (maxval + 1)
    t1 = _clamped(max(2, 3 // factor), 1, maxval)
    t2 = _clamped(max(3, 7 // factor), t1, maxval)
    return t1, t2, _clamped(max(4, 21 // factor), t2, maxval)


@lru_cache(maxsize=16)
def coding(precision: int, presets: Presets, unclamped: bool) -> Coding | None:
    """Return the parameters for samples of `precision` bits; None where the presets are out of range (Table C.1)."""
    maxval = presets.maxval or (1 << precision) - 1
    if maxval >= 1 << precision:
        return None
    own = defaults(maxval, unclamped)
    t1, t2, t3 = (given or default for given, default in zip(presets[1:4], own, strict=True))
    reset = presets.reset or 64
    if not (1 <= t1 <= t2 <= t3 <= maxval and 3 <= reset <= max(255, maxval)):
        return None
    bits = max(2, maxval.bit_length())
    classes = (
        np.searchsorted([-t3 + 1, -t2 + 1, -t1 + 1, 0, 1, t1, t2, t3], np.arange(-maxval, maxval + 1), "right") - 4
    )
    limit = 2 * (bits + max(8, bits))
    return Coding(maxval, (maxval + 2) // 2, maxval.bit_length(), limit, reset, classes.astype(np.int8))


def counters(coding: Coding) -> np.ndarray:
    """Return the counters of all contexts as a scan begins (A.2.1): int64 [CONTEXTS, 4]."""
    fresh = np.zeros((CONTEXTS, 4), np.int64)
    fresh[:, A] = max(2, (coding.maxval + 33) // 64)
    fresh[:, N] = 1
    return fresh


@part
def context(classes: np.ndarray, maxval: Any, left: Any, above: Any, corner: Any, right: Any) -> Any:
    """Compute the context of a sample, -364 … 364 (A.3.3, A.3.4). A negative one mirrors errors; 0 begins a run."""
    d1 = np.int64(classes[np.uint64(right - above + maxval)])
    d2 = np.int64(classes[np.uint64(above - corner + maxval)])
    d3 = np.int64(classes[np.uint64(corner - left + maxval)])
    return 81 * d1 + 9 * d2 + d3


@part
def predicted(left: Any, above: Any, corner: Any, correction: Any, maxval: Any) -> Any:
    """Predict a sample from its neighbours by edge detection, then correct the bias (A.4.1, A.4.2)."""
    low, high = (left, above) if left < above else (above, left)
    value = low if corner >= high else (high if corner <= low else left + above - corner)
    value += correction
    return 0 if value < 0 else (maxval if value > maxval else value)


@part
def golomb_order(count: Any, total: Any) -> Any:
    """Compute the Golomb parameter k of counters N and A (A.5.1)."""
    k = 0
    while count << k < total:
        k += 1
    return k


@part
def learn(counters: np.ndarray, q: Any, error: Any, reset: Any) -> None:
    """Update the counters of a context after an error (A.6). Its questions are random to a processor, so that they
    choose values, and no way through the code."""
    a, b, c, n = counters[q, 0] + abs(error), counters[q, 1] + error, counters[q, 2], counters[q, 3]
    if n == reset:
        a, b, n = a >> 1, b >> 1, n >> 1
    n += 1
    low, high = np.int64(b <= -n), np.int64(b > 0)
    b += n * (low - high)
    c += high - low
    counters[q, 0] = a
    counters[q, 1] = smaller(larger(b, 1 - n), 0)
    counters[q, 2] = smaller(larger(c, -128), 127)
    counters[q, 3] = n


@part
def interruption_order(counters: np.ndarray, equal: Any) -> Any:
    """Compute the Golomb parameter of the sample that interrupts a run; `equal` is 1 where Ra = Rb (A.7.2.1)."""
    n = counters[INTERRUPTED + equal, 3]
    return golomb_order(n, counters[INTERRUPTED + equal, 0] + (n >> 1 if equal else n * 0))


@part
def learn_interruption(counters: np.ndarray, equal: Any, error: Any, mapped: Any, reset: Any) -> None:
    """Update the counters of run interruptions after an error, whose code was of the value `mapped` (A.7.2.2)."""
    q = INTERRUPTED + equal
    counters[q, 1] += error < 0
    counters[q, 0] += (mapped + 1 - equal) >> 1
    if counters[q, 3] == reset:
        counters[q, 0] >>= 1
        counters[q, 1] >>= 1
        counters[q, 3] >>= 1
    counters[q, 3] += 1
