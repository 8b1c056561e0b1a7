"""How far a result can be trusted: its scatter over seeds, and whether its method is ahead of the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ..errors import check_choice
from ..evaluation import Interval
from .results import over_seeds

PART = "test"
"""What a verdict is measured on: a threshold is chosen on validation, so that the test data are fresh for it."""

NARROW = 0.004
"""An interval narrower than this share has two decimals, or its ends would read alike."""

MOST_NAMED = 3
"""More controls than these are counted, not each named with its numbers."""


def ahead(trials: pd.DataFrame, method: str, other: str, mode: str, keep: int, part: str = PART) -> Interval | None:
    """Score with the inputs that one method keeps minus that with those of another, over pairs of the same seeds.

    Mean and 95 % interval, in shares of 1. None if there is no pair; a lone pair has no interval (NaN).
    """
    check_choice("part", part, ("validation", "test"))
    if trials.empty:
        return None
    here = trials[(trials["mode"] == mode) & (trials["keep"] == keep)]
    pair, score = ["seed", "mask_seed"], f"{part}_score"
    own, others = here[here["method"] == method], here[here["method"] == other]
    both = own.merge(others[[*pair, score]].rename(columns={score: "beside"}), on=pair)
    if both.empty:
        return None
    return over_seeds(both.assign(ahead=both[score] - both["beside"]), "ahead", part)


@dataclass(frozen=True)
class Verdict:
    """What several seeds say of a small network beside the full one, and of its method beside the controls.

    `difference` is the score of the small network minus that of the full one, `ahead` that of the method minus that of
    each control, all measured on test data and in shares of 1. `over` says what the `seeds` have their own of.
    """

    keep: int
    n_groups: int
    seeds: int
    difference: Interval
    ahead: Mapping[str, Interval]
    score: str = "accuracy"
    counted: str = "inputs"
    images: str = "images"
    over: str = "seeds"

    @property
    def has_interval(self) -> bool:
        """Whether there is more than one seed to tell scatter by."""
        return not math.isnan(self.difference.low)

    @property
    def has_many(self) -> bool:
        """Whether there are more controls than a sentence names."""
        return len(self.ahead) > MOST_NAMED

    @property
    def short(self) -> str:
        """How many seeds, and how wide their interval is."""
        if not self.has_interval:
            return f"One {self.over.removesuffix('s')}: no interval, so chance is not ruled out."
        width = 100 * (self.difference.high - self.difference.low)
        return f"{self.seeds} {self.over}, and an interval {width:.1f} points wide."

    @property
    def sentence(self) -> str:
        """The rest: the small network beside the full one, then the method beside the controls."""
        return (
            f"With {self.keep:,} of {self.n_groups:,} {self.counted} the {self.score} of the small network on test "
            f"{self.images} differs from the full network's by {points(self.difference)}. {self._beside()}"
        ).strip()

    def _beside(self) -> str:
        """Which controls the method is ahead of, and by how much; which it is not ahead of."""
        if not self.ahead:
            return "The study has no control to compare with."
        if not self.has_interval:
            each = ", ".join(f"{points(one)} beside {name}" for name, one in self.ahead.items())
            return f"It has {each}, in one pair of networks each."
        won = {name: one for name, one in self.ahead.items() if one.low > 0}
        lost = {name: one for name, one in self.ahead.items() if one.high < 0}
        even = {name: one for name, one in self.ahead.items() if name not in won and name not in lost}
        if self.has_many:
            return (
                f"It is ahead of {len(won)} of {len(self.ahead)} controls"
                + (f", behind {_list(lost)}" if lost else "")
                + (f"; its distance to {_list(even)} may be chance." if even else ".")
            )
        said = [
            f"It is {where} {_list({f'{name} by {points(one)}': one for name, one in some.items()})}."
            for where, some in (("ahead of", won), ("behind", lost))
            if some
        ]
        if even:
            each = _list({f"{points(one)} to {name}": one for name, one in even.items()})
            said.append(f"This distance may be chance: {each}.")
        return " ".join(said)


def points(one: Interval) -> str:
    """A difference of shares with its interval: "+0.3 points (between -0.1 and +0.7)"."""
    if math.isnan(one.low):
        return f"{_signed(one.estimate)} points"
    digits = 2 if one.high - one.low < NARROW else 1
    ends = " and ".join(_bound(end, digits) for end in (one.low, one.high))
    return f"{_signed(one.estimate, digits)} points (between {ends})"


def _signed(share: float, digits: int = 1) -> str:
    text = f"{100 * share:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text


def _bound(share: float, digits: int) -> str:
    """An end of an interval: with two decimals where one would lose its sign, for it says who is ahead."""
    text = _signed(share, digits)
    return _signed(share, 2) if float(text) == 0 else text


def _list(names: Mapping[str, Interval]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
