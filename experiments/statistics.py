"""Means over series with bootstrap intervals (Efron 1979): what would other twelve series have said?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

RESAMPLES, COVERED, SEED = 10_000, 0.95, 1

Row = dict[str, str]


@dataclass(frozen=True)
class Interval:
    """A mean, and the percentile interval of its bootstrap distribution."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 3, sign: bool = False) -> str:
        """As in tables: mean [low, high]."""
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def holds(self, value: float) -> bool:
        """Whether a value is inside."""
        return self.low <= value <= self.high


def interval(values: Sequence[float]) -> Interval:
    """Of the mean of one value per series; the same values give the same interval."""
    array = np.asarray(values, float)
    chosen = np.random.default_rng(SEED).integers(0, array.size, (RESAMPLES, array.size))
    low, high = np.quantile(array[chosen].mean(axis=1), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def by_series(rows: Sequence[Row], method: str, shape: str, modality: str, field: str = "bpv") -> dict[str, float]:
    """A field of every series, averaged over the folds that tested it: each CT series has one, an MR series four."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row["method"], row["shape"], row["modality"]) == (method, shape, modality) and row[field]:
            found.setdefault(row["series"], []).append(float(row[field]))
    return {series: mean(values) for series, values in found.items()}


def paired(one: Mapping[str, float], other: Mapping[str, float], relative: bool = False) -> Interval | None:
    """Of the difference one − other, series by series, or in per cent of the other; None where they share none."""
    both = sorted(one.keys() & other.keys())
    if not both:
        return None
    return interval([100 * (one[s] / other[s] - 1) if relative else one[s] - other[s] for s in both])
