"""Values of samples: slope and intercept of each slice (PS3.3, C.11.1), as a series of PET or an enhanced CT has them,
or those of a whole file, as NIfTI's.

The arithmetic is that of float64. The result has one type for the whole volume: int16 or int32 where slopes and
intercepts are whole numbers and all values fit, else float32 (float64 for whole numbers beyond int32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..dtypes import Float64s
from ..errors import UnsupportedError
from ..formats.facts import Facts
from ..formats.frames import Frame, Header


class Values(Protocol):
    """How the samples of a volume become values."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of values."""
        ...

    def values(self, samples: np.ndarray, first: int) -> np.ndarray:
        """Return the values [z, …] of samples [z, …] that begin with this slice."""
        ...


@dataclass(frozen=True)
class Scale:
    """One factor and offset, in float64 as nibabel has it; the offset of complex numbers [z, …, 2] is that of the real
    part."""

    slope: float
    intercept: float
    complex: bool
    dtype = np.dtype(np.float64)

    def values(self, samples: np.ndarray, first: int) -> np.ndarray:
        """Return values; see `Values`."""
        found = samples.astype(np.float64)
        found *= self.slope
        if self.complex:
            found[..., 0] += self.intercept
        else:
            found += self.intercept
        return found


def scale_of(facts: Facts) -> Scale | None:
    """Return how the numbers of a file become values; None where they are values."""
    return Scale(facts.slope, facts.intercept, facts.type.kind == "c") if facts.scaled else None


@dataclass(frozen=True)
class Rescale:
    """How the samples of a volume become values."""

    slopes: Float64s  # [Z]
    intercepts: Float64s  # [Z]
    dtype: np.dtype[Any]  # of values
    words: np.dtype[Any]  # of samples, as the header states their sign
    stored: int  # bits of a sample
    picture_alone: bool  # bits above those stored are no part of the picture

    def values(self, samples: np.ndarray, first: int) -> np.ndarray:
        """Return the values [z, …] of samples [z, …] that begin with this slice."""
        words = self.extended(samples)
        slopes, intercepts = self.slopes[first : first + len(words)], self.intercepts[first : first + len(words)]
        if self.dtype.kind == "i" and not np.any(slopes != 1):
            if not np.any(intercepts):
                return words.astype(self.dtype, copy=False)
            # In the result's own type, whose range holds all values.
            return (
                words.astype(np.int64 if self.dtype.itemsize > 2 else np.int32)
                + _along(intercepts.astype(np.int32), words.ndim)
            ).astype(self.dtype)
        values = np.empty(words.shape, self.dtype)
        for z, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):  # float64 of one slice at a time
            values[z] = words[z].astype(np.float64) * slope + intercept
        return values

    def extended(self, samples: np.ndarray) -> np.ndarray:
        """Return samples with the sign that the header states: a sign within the word is extended to its top."""
        words = samples.view(self.words)
        if self.picture_alone:
            words = words & words.dtype.type((1 << self.stored) - 1)
        if self.words.kind == "i" and self.stored < 8 * self.words.itemsize:
            half = 1 << (self.stored - 1)
            # A word that is no number of so many bits, such as padding beyond the picture, stays.
            turned = (words >= half) & (words < 2 * half)
            if turned.any():
                words = np.where(turned, words - words.dtype.type(half) - words.dtype.type(half), words)
        return words


def rescale_of(
    frames: Sequence[Frame], header: Header, dtype: np.dtype[Any], bounds: tuple[int, int] | None, *,
    picture_alone: bool,
) -> Rescale:  # fmt: skip
    """Return how the samples of a volume become values.

    Parameters:
        frames: its slices, in their order.
        header: of its first image.
        dtype: of its samples.
        bounds: the least and the greatest sample, of this type, if they are known.
        picture_alone: whether bits above those stored are no part of the picture.

    Raises:
        UnsupportedError: where a table makes values of samples, which slope and intercept cannot say.
    """
    if any(frame.curved for frame in frames):
        raise UnsupportedError("a table (ModalityLUTSequence) makes values of its samples, which is not supported")
    slopes, intercepts = np.array([f.slope for f in frames]), np.array([f.intercept for f in frames])
    words = np.dtype(f"{'i' if header.signed else 'u'}{dtype.itemsize}")
    stored = min(header.stored, 8 * dtype.itemsize)
    least, most = _range(words, dtype, bounds, stored, picture_alone)
    ends = np.concatenate([least * slopes + intercepts, most * slopes + intercepts])
    whole = not np.any(slopes % 1) and not np.any(intercepts % 1)
    kinds: tuple[Any, ...] = (np.int16, np.int32) if whole else ()
    fitting = [kind for kind in kinds if np.iinfo(kind).min <= ends.min() and ends.max() <= np.iinfo(kind).max]
    result = np.dtype(fitting[0] if fitting else np.float64 if whole else np.float32)
    return Rescale(slopes, intercepts, result, words, stored, picture_alone)


def _range(
    words: np.dtype[Any], dtype: np.dtype[Any], bounds: tuple[int, int] | None, stored: int, picture_alone: bool
) -> tuple[int, int]:
    """Return bounds of the words, signs extended."""
    full = np.iinfo(words)
    if picture_alone:
        return (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if words.kind == "i" else (0, (1 << stored) - 1)
    if bounds is None or words.kind != dtype.kind:
        return int(full.min), int(full.max)
    least, most = bounds
    if words.kind == "i" and stored < 8 * words.itemsize and most >= 1 << (stored - 1):
        least = min(least, -(1 << (stored - 1)))
    return least, most


def _along(numbers: np.ndarray, axes: int) -> np.ndarray:
    """Return numbers [z] as [z, 1, …]."""
    return numbers.reshape(-1, *[1] * (axes - 1))
