"""Intervals for what was measured. All of the maths is scipy's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval; `low` and `high` are NaN where no interval can be given."""

    estimate: float
    low: float
    high: float


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean over seeds with Student's t interval. One value has no spread: its interval is NaN.

    Raises `InputError` for no values at all.
    """
    from scipy import stats  # a second to import, and only needed here

    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise InputError("a mean needs at least one value")
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + confidence) / 2, array.size - 1) * stats.sem(array))
    return Interval(mean, mean - half, mean + half)


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """The accuracy `correct / n` of one network with its Wilson score interval (Wilson 1927)."""
    from scipy import stats

    if not 0 <= correct <= n or n < 1:
        raise InputError(f"cannot give an accuracy of {correct} right out of {n}")
    interval = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return Interval(correct / n, float(interval.low), float(interval.high))
