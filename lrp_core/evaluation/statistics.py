"""Intervals for what was measured, and tests of whether two networks differ. All distributions are scipy's."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..extras import from_extra


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
    with from_extra():  # a second to import, and only needed here
        from scipy import stats

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
    with from_extra():
        from scipy import stats

    if not 0 <= correct <= n or n < 1:
        raise InputError(f"cannot give an accuracy of {correct} right out of {n}")
    interval = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return Interval(correct / n, float(interval.low), float(interval.high))


def r2_interval(errors: np.ndarray, numbers: np.ndarray, confidence: float = 0.95, seed: int = 0) -> Interval:
    """R^2 of one network over the rows that it was measured on, with a percentile bootstrap interval (Efron 1979).

    `errors` [n] are predictions minus `numbers` [n]; 2,000 samples of the rows are drawn with `seed`. One row, or equal
    numbers, have no R^2 (NaN).
    """
    with from_extra():
        from scipy import stats

    def r2(errors: np.ndarray, numbers: np.ndarray, axis: int = -1) -> Any:
        around = np.square(numbers - numbers.mean(axis, keepdims=True)).sum(axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(around > 0, 1 - np.square(errors).sum(axis) / around, np.nan)

    if len(errors) < 2 or numbers.min() == numbers.max():
        return Interval(math.nan, math.nan, math.nan)
    drawn = stats.bootstrap(
        (errors, numbers),
        r2,
        paired=True,
        vectorized=True,
        n_resamples=2000,
        batch=max(1, 10**6 // len(errors)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(float(r2(errors, numbers)), float(low), float(high))


def crossed_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean of `values` [masks, seeds] where every mask was tried with every training seed, with its interval.

    Both scatter, and values that share a mask or a seed are not independent. The variance of the mean is that of
    the two-way random-effects model, (MS_masks + MS_seeds - MS_rest) / n, its degrees of freedom are Satterthwaite's
    (1946); it is taken as no less than that of either one alone. With one mask or one seed it is `mean_interval`.
    """
    with from_extra():
        from scipy import stats

    n_masks, n_seeds = values.shape
    if min(n_masks, n_seeds) <= 1:
        return mean_interval(values.ravel(), confidence)
    mean = float(values.mean())
    of_masks, of_seeds, of_rest = _mean_squares(values)
    degrees = (n_masks - 1, n_seeds - 1, (n_masks - 1) * (n_seeds - 1))
    total = of_masks + of_seeds - of_rest
    freedom = total**2 / max(
        sum(square**2 / d for square, d in zip((of_masks, of_seeds, of_rest), degrees, strict=True)), 1e-300
    )
    larger, its_freedom = max((of_masks, degrees[0]), (of_seeds, degrees[1]))
    if total <= larger:
        total, freedom = larger, its_freedom
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * math.sqrt(total / values.size))
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of what masks and training seeds add, and of what neither explains; of a single value."""

    masks: float
    seeds: float
    rest: float


def scatter(values: np.ndarray) -> Scatter:
    """How much of the scatter of `values` [masks, seeds] is the mask's and how much the training seed's.

    Estimates of the two-way random-effects model by the method of moments; a negative variance counts as 0. Raises
    `InputError` for fewer than two masks or seeds.
    """
    n_masks, n_seeds = values.shape
    if min(n_masks, n_seeds) <= 1:
        raise InputError(f"scatter can be told apart with at least 2 masks and 2 seeds, not {n_masks} and {n_seeds}")
    of_masks, of_seeds, of_rest = _mean_squares(values)
    shares = ((of_masks - of_rest) / n_seeds, (of_seeds - of_rest) / n_masks, of_rest)
    return Scatter(*(math.sqrt(max(share, 0.0)) for share in shares))


def _mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Between masks (rows), between seeds (columns), and of the residuals."""
    n_masks, n_seeds = values.shape
    masks, seeds = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = values - masks - seeds + values.mean()
    return (
        float(n_seeds * masks.var(ddof=1)),
        float(n_masks * seeds.var(ddof=1)),
        float((rest**2).sum() / ((n_masks - 1) * (n_seeds - 1))),
    )


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images: how many each one alone got right, and whether that is more than chance.

    `p_value` is McNemar's exact one (1947): the two-sided binomial test of `only_first` among the images on which
    they differ. `difference` is accuracy of the first minus that of the second, with its 95 % interval over images.
    """

    only_first: int
    only_second: int
    n: int
    p_value: float
    difference: Interval


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Compare two networks by which images each got right, both bool [n]. Raises `InputError` for other lengths."""
    with from_extra():
        from scipy import stats

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(
            f"McNemar's test compares two networks on the same images, not {first.shape} and {second.shape}"
        )
    a, b = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = float(stats.binomtest(a, a + b).pvalue) if a + b else 1.0
    return McNemar(a, b, len(first), p_value, mean_interval(first.astype(float) - second.astype(float)))


def pack(correct: np.ndarray) -> str:
    """Whether each image was classified right, bool [n], as text of n / 6 characters for the ledger."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack(text: str, n: int) -> np.ndarray:
    """bool [n] from what `pack` made. Raises `InputError` for a text of another length."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))
    if not n <= len(bits) < n + 8:
        raise InputError(f"{len(bits)} packed answers are not those of {n} images")
    return bits[:n].astype(bool)
