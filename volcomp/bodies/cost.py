"""Estimates of bytes, by which an encoder chooses between codes of one image."""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

_EXACT = 16  # errors below it are tokens of their own; above, an octave has four
_TOKEN_BITS = 5  # what each token of each context costs to be learnt
_STEPS = np.array([1, 3, 8, 32, 128, 512, 2048])  # of the activity, where contexts begin
# The predictor sees neighbouring slices, and far more of this one, than the median edge detector does.
_BETTER = 0.95
_SUSPICIOUS = 0.25  # of the bytes, at most, that zstd leaves


def predicted(plane: NDArray[Any], before: NDArray[Any] | None = None) -> float:
    """Estimate the bytes of a plane [Y, X] of words under prediction, as the slice after `before`.

    The errors of the median edge detector of LOCO-I (Weinberger et al. 2000) as tokens and raw bits: the entropy of
    tokens in contexts of how far neighbours differ, and of whether the slice before has what is predicted.
    """
    padded = np.pad(plane.astype(np.int64), ((1, 0), (1, 0)), mode="edge")
    above, left, corner = padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1]
    low, high = np.minimum(above, left), np.maximum(above, left)
    expected = np.where(corner >= high, low, np.where(corner <= low, high, above + left - corner))
    error = padded[1:, 1:] - expected
    folded = np.where(error < 0, -2 * error - 1, 2 * error)
    octave = np.frexp(np.maximum(folded, 1).astype(np.float64))[1] - 1
    raw = np.where(folded < _EXACT, 0, octave - 2)
    tokens = np.where(folded < _EXACT, folded, _EXACT + 4 * (octave - 4) + ((folded >> raw) & 3))
    contexts = np.searchsorted(_STEPS, np.abs(above - corner) + np.abs(left - corner), side="right")
    if before is not None:
        contexts = 2 * contexts + (before == expected)
    bits = 0.0
    for context in np.unique(contexts):
        counts = np.unique(tokens[contexts == context], return_counts=True)[1]
        bits += _TOKEN_BITS * len(counts) - float((counts * np.log2(counts / counts.sum())).sum())
    return (_BETTER * bits + float(raw.sum())) / 8


def packed(kept: bytes) -> int:
    """Return about as many bytes as kept ones take in an archive."""
    return len(lzma.compress(kept, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "pb": 0}]))


def is_repetitive(planes: NDArray[Any]) -> bool:
    """Return whether a general codec makes planes [z, Y, X] of words smaller, as it does maps of many labels."""
    raw = np.ascontiguousarray(planes).tobytes()
    if len(zstandard.compress(raw, 3)) > _SUSPICIOUS * len(raw):
        return False  # it has never been the smaller one above, and takes its time
    return general(raw) < sum(predicted(plane, planes[z - 1] if z else None) for z, plane in enumerate(planes))


def general(raw: bytes) -> int:
    """Return the bytes that a general codec makes of some: the smaller of zstd -19 and xz -6."""
    return min(len(zstandard.compress(raw, 19)), len(lzma.compress(raw, preset=6)))
