"""What the trials of a study say: curves with intervals, differences to the full network, how many inputs can go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, check_choice
from ..evaluation.statistics import (
    Interval,
    McNemar,
    Scatter,
    crossed_interval,
    mcnemar,
    mean_interval,
    resampled_interval,
    scatter,
    unpack,
)
from ..words import Words

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.005
"""How much accuracy may be lost unless a person says otherwise: half a point."""

_WORDS = Words()

COLUMNS = ("method", "criterion", "strategy", "mode", "keep", "removed", "seeds", "masks", "splits", "score", "low",
           "high", "difference", "difference_low", "difference_high")  # fmt: skip
"""Of a curve, before those of other measures and of cost."""

_MEASURES = ("confidence", "loss", "absolute_error")
"""Beside the score; classes alone have a confidence, numbers alone an absolute error, in the unit of the number."""
_COSTS = ("macs", "flops", "parameters", "bytes", "input_bytes")
INPUT_COST = "input_cost"
"""What the groups of inputs that are read cost, in the data's own unit; only where groups have costs."""
FULL_COST = "full_input_cost"
"""The same of the full network."""


def curve(trials: pd.DataFrame, n_groups: int, part: str = "validation") -> pd.DataFrame:
    """One row for each method, mode and keep: means with 95 % intervals over seeds, the baseline (method "none") first.

    `part` is "validation", for choosing, or "test", for final figures. `difference` is the score, accuracy or R^2,
    minus that of the full network of the same seed with as many updates, mean and interval over these pairs. Where
    masks and training have seeds of their own, intervals take both into account (`crossed_interval`). Where every seed
    has drawn a split of its own (`splits` counts them, and is 0 elsewhere), they allow for the rows that splits share
    (`resampled_interval`). A lone seed has no interval (NaN).
    """
    from pandas import DataFrame  # takes half a second to import, and processes that train need none

    check_choice("part", part, ("validation", "test"))
    if trials.empty:
        return DataFrame(columns=list(COLUMNS))
    trials = paired(trials, part)
    rows = []
    for _, group in trials.groupby(["method", "mode", "keep"], sort=False):
        first = group.iloc[0]
        row: dict[str, Any] = {name: first[name] for name in ("method", "criterion", "strategy", "mode")}
        keep = int(first["keep"])
        row |= {"keep": keep, "removed": 1 - keep / n_groups}
        row |= {"seeds": group["seed"].nunique(), "masks": group["mask_seed"].nunique(), "splits": _splits(group)}
        score = over_seeds(group, f"{part}_score", part)
        row |= {"score": score.estimate, "low": score.low, "high": score.high}
        difference = over_seeds(group, "difference", part)
        row |= {
            "difference": difference.estimate,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
        row |= {name: float(group[f"{part}_{name}"].mean()) for name in _MEASURES if f"{part}_{name}" in group}
        row |= {name: float(group[name].mean()) for name in (*_COSTS, INPUT_COST) if name in group}
        rows.append(row)
    table = DataFrame(rows)
    return table.sort_values(["method", "mode", "removed"], key=_baseline_first).reset_index(drop=True)


def _baseline_first(column: pd.Series) -> pd.Series:
    return column.map(lambda value: "" if value == "none" else value) if column.name == "method" else column


def paired(trials: pd.DataFrame, part: str = "validation") -> pd.DataFrame:
    """The trials with their `difference` in score to the baseline of the same seed; NaN for baselines.

    That of a fine-tuned network is to the full network fine-tuned in the same way, which has had as many updates.
    """
    is_baseline = trials["method"] == "none"
    full = trials[is_baseline].set_index(["mode", "seed"])[f"{part}_score"].to_dict()
    pairs = zip(trials["mode"].map(baseline_mode), trials["seed"], strict=True)
    difference = trials[f"{part}_score"] - [full.get(pair, np.nan) for pair in pairs]
    return trials.assign(difference=difference.where(~is_baseline))


def baseline_mode(mode: str) -> str:
    """The mode of the full network that smaller ones of a mode are compared with."""
    return "fine-tune" if mode == "fine-tune" else "none"


def baseline_of(table: pd.DataFrame, mode: str) -> pd.DataFrame:
    """The rows of a curve, or of trials, of the full network that smaller ones of a mode are compared with."""
    return table[(table["method"] == "none") & (table["mode"] == baseline_mode(mode))]


def over_seeds(trials: pd.DataFrame, column: str, part: str) -> Interval:
    """Mean of a column, measured on `part`, and its 95 % interval over the seeds of masks and of training.

    Where masks were tried with several seeds, over those masks that were tried with all of them. Where seeds have
    splits of their own, over these.
    """
    values = trials.dropna(subset=[column])
    if values.empty:
        return Interval(np.nan, np.nan, np.nan)
    if _splits(values):
        tested, trained = (float(values[name].mean()) for name in (f"{part}_images", "training_images"))
        return resampled_interval(values[column].to_numpy(), tested, trained)
    if (values["mask_seed"] == values["seed"]).all():  # nothing crossed: a pivot table would take most of the time
        return mean_interval(values[column].to_numpy())
    crossed = values.pivot_table(index="mask_seed", columns="seed", values=column).dropna()
    return mean_interval(values[column].to_numpy()) if crossed.empty else crossed_interval(crossed.to_numpy())


def _splits(trials: pd.DataFrame) -> int:
    """How many splits of the same rows the trials are of; 0 if they share the one that the data have."""
    return int(trials["split"].nunique()) if "split" in trials else 0


def scatter_at(trials: pd.DataFrame, method: str, mode: str, keep: int, part: str = "validation") -> Scatter | None:
    """How much of the scatter of a score is the mask's, how much the training's; None unless seeds were crossed."""
    own = trials[(trials["method"] == method) & (trials["mode"] == mode) & (trials["keep"] == keep)]
    if own.empty:
        return None
    crossed = own.pivot_table(index="mask_seed", columns="seed", values=f"{part}_score").dropna()
    return scatter(crossed.to_numpy()) if min(crossed.shape) > 1 else None


def with_baseline(table: pd.DataFrame, method: str, mode: str) -> pd.DataFrame:
    """One method's curve from no input removed on: the baseline row, then its own, by share removed."""
    from pandas import concat

    own = table[(table["method"] == method) & (table["mode"] == mode)]
    return concat([baseline_of(table, mode), own]).sort_values("removed").reset_index(drop=True)


def expected_score(table: pd.DataFrame, method: str, mode: str, keep: int) -> Interval | None:
    """Score at any keep, interpolated linearly between the measured ones; None outside of what is measured."""
    points = with_baseline(table, method, mode)
    if points.empty or not points["keep"].min() <= keep <= points["keep"].max():
        return None
    points = points.sort_values("keep")
    return Interval(*(float(np.interp(keep, points["keep"], points[name])) for name in ("score", "low", "high")))


def nearest_keep(table: pd.DataFrame, method: str, mode: str, keep: int) -> int | None:
    """The measured keep of a method that is nearest to `keep`; None before there is one."""
    own = table[(table["method"] == method) & (table["mode"] == mode)]["keep"]
    return None if own.empty else int(own.iloc[(own - keep).abs().argmin()])


@dataclass(frozen=True)
class Recommendation:
    """The most inputs that can go: the least measured keep whose score stays within `margin` of the full network's.

    `row` is its row of the validation curve, or None if no keep is good enough, not even that of `least`, where the
    fewest inputs are removed. `is_certain` says that the whole 95 % interval of the paired difference was asked to be
    within the margin; with a single seed there is none, and the difference alone has to do. `words` are those of the
    data.
    """

    method: str
    mode: str
    margin: float
    n_groups: int
    row: pd.Series | None
    least: pd.Series
    is_certain: bool
    words: Words = _WORDS

    @property
    def sentence(self) -> str:
        """The finding in plain words."""
        row = self.row
        if row is None:
            least = self.least
            wide = self.is_certain and least["difference"] >= -self.margin
            return (
                f"No measured share of the {self.words.counted} can go within a loss of {self._margin}: already at "
                f"{_percent(least['removed'])} removed, {self.words.score} is {self._difference(least)}."
                + (_narrower(least) if wide else "")
            )
        enough = f"{int(row['keep']):,} of {self.n_groups:,} are enough"
        return f"{_percent(row['removed'])} of the {self.words.counted} can go, {enough}: {self.reason}"

    @property
    def reason(self) -> str:
        """What the recommended row rests on; empty if there is none."""
        row = self.row
        if row is None:
            return ""
        seeds = "" if self.is_certain else (
            " This is one seed: without a second one there is no interval, and chance is not ruled out."
        )  # fmt: skip
        return f"{self.words.score} {self._difference(row)}. Your margin is a loss of {self._margin}.{seeds}"

    @property
    def _margin(self) -> str:
        return f"{100 * self.margin:g} points"

    def _difference(self, row: pd.Series) -> str:
        """How far a row is from the full network, with the interval over pairs of networks if there is one."""
        difference = _points(row["difference"])
        if not self.is_certain:
            return difference
        pairs = f"{int(row['seeds'])} pairs of networks{_masks(row)}{_over(row)}"
        return f"{difference} (between {_range(row)}, 95 % interval of {pairs})"


def recommend(
    trials: pd.DataFrame,
    n_groups: int,
    method: str,
    *,
    mode: str | None = None,
    margin: float = MARGIN,
    words: Words = _WORDS,
) -> Recommendation | None:
    """The recommended threshold of a method, chosen on validation; None before there is a pair to compare.

    `mode` None takes the best of all. With several seeds the lower end of the paired interval must not fall below
    -`margin` (a share of 1: 0.005 is half a point). Raises `InputError` for a margin that is no share.
    """
    return recommend_from(curve(trials, n_groups), n_groups, method, mode=mode, margin=margin, words=words)


def recommend_from(
    table: pd.DataFrame,
    n_groups: int,
    method: str,
    *,
    mode: str | None = None,
    margin: float = MARGIN,
    words: Words = _WORDS,
) -> Recommendation | None:
    """`recommend` from the validation `curve` of the trials."""
    if not 0 <= margin < 1:
        raise InputError(f"the margin must be at least 0 and below 100 points, not {100 * margin:g}")
    own = table[(table["method"] == method) & table["difference"].notna()]
    if mode is not None:
        own = own[own["mode"] == mode]
    if own.empty:
        return None
    is_certain = int(table.loc[table["method"] == "none", "seeds"].iloc[0]) > 1
    # With several seeds, a keep that only one of them has reached yet is not judged.
    bound = own["difference_low"] if is_certain else own["difference"]
    if bound.isna().all():
        return None
    good = own[bound >= -margin].sort_values(["removed", "score"])
    least = own[bound.notna()].sort_values(["removed", "score"], ascending=[True, False]).iloc[0]
    row = None if good.empty else good.iloc[-1]
    chosen = least if row is None else row
    return Recommendation(method, chosen["mode"], margin, n_groups, row, least, is_certain, words)


def best_of(recommendations: Iterable[Recommendation | None]) -> Recommendation | None:
    """The one with which the fewest inputs are needed, of equally few the most accurate; None if there is none."""
    return min((one for one in recommendations if one is not None), key=_inputs_needed, default=None)


def _inputs_needed(one: Recommendation) -> tuple[float, float]:
    """Few inputs first, of equally few the more accurate; what nothing can be removed by comes last."""
    if one.row is None:
        return float("inf"), -float(one.least["difference"])
    return float(one.row["keep"]), -float(one.row["score"])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"


def _range(row: pd.Series) -> str:
    return f"{100 * row['difference_low']:+.2f} and {100 * row['difference_high']:+.2f}"


def _masks(row: pd.Series) -> str:
    crossed = int(row["masks"]) > 1 and int(row["masks"]) != int(row["seeds"])
    return f", {int(row['masks'])} masks each" if crossed else ""


def _over(row: pd.Series) -> str:
    return f" over {int(row['splits'])} splits of the rows" if row["splits"] else ""


def _narrower(row: pd.Series) -> str:
    if row["splits"]:
        return " More splits would narrow the interval, as far as so few rows allow."
    return " More seeds would narrow the interval."


@dataclass(frozen=True)
class Headline:
    """What a study found: the threshold recommended on validation, and what the test set says of it.

    `row` and `baseline` are rows of the test curve.
    """

    recommendation: Recommendation
    row: pd.Series
    baseline: pd.Series


def headline(trials: pd.DataFrame, n_groups: int, method: str, margin: float = MARGIN) -> Headline | None:
    """The study's finding in one row; None while nothing can be recommended."""
    validation, test = (curve(trials, n_groups, part) for part in ("validation", "test"))
    return headline_from(validation, test, n_groups, method, margin)


def headline_from(
    validation: pd.DataFrame,
    final: pd.DataFrame,
    n_groups: int,
    method: str,
    margin: float = MARGIN,
    words: Words = _WORDS,
) -> Headline | None:
    """`headline` from the validation and the test `curve` of the trials."""
    recommendation = recommend_from(validation, n_groups, method, margin=margin, words=words)
    return None if recommendation is None else headline_of(recommendation, final)


def headline_of(recommendation: Recommendation, final: pd.DataFrame) -> Headline | None:
    """What the test `curve` says of a recommendation; None if it recommends nothing."""
    if recommendation.row is None:
        return None
    chosen = (
        (final["method"] == recommendation.method)
        & (final["mode"] == recommendation.mode)
        & (final["keep"] == recommendation.row["keep"])
    )
    return Headline(recommendation, final[chosen].iloc[0], baseline_of(final, recommendation.mode).iloc[0])


def against_baseline(
    trials: pd.DataFrame, method: str, mode: str, keep: int, seed: int, part: str = "validation"
) -> McNemar | None:
    """McNemar's test of a smaller network against the full one of the same seed, on the same images.

    The full network comes first. None if one of the two is not there, and for numbers. Of several masks, that of the
    same seed, or the first.
    """
    check_choice("part", part, ("validation", "test"))
    if trials.empty or f"{part}_correct" not in trials:
        return None
    of_seed = trials[trials["seed"] == seed]
    full = baseline_of(of_seed, mode)
    small = of_seed[(of_seed["method"] == method) & (of_seed["mode"] == mode) & (of_seed["keep"] == keep)]
    if full.empty or small.empty:
        return None
    small = small.sort_values("mask_seed", key=lambda masks: masks != seed, kind="stable")
    both = (unpack(row[f"{part}_correct"], int(row[f"{part}_images"])) for row in (full.iloc[0], small.iloc[0]))
    return mcnemar(*both)
