"""The verdict on a result: what several seeds say beside the controls, in numbers and in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lrp_core.errors import InputError
from lrp_core.evaluation import Interval, mean_interval
from lrp_core.study.verdict import Verdict, ahead

NONE = Interval(math.nan, math.nan, math.nan)


def trials(scores: dict[str, list[float]]) -> pd.DataFrame:
    """One trial for each method and seed at one place."""
    rows = [
        {"method": name, "mode": "scratch", "keep": 10, "seed": seed, "mask_seed": seed, "test_score": score}
        for name, of in scores.items()
        for seed, score in enumerate(of)
    ]
    return pd.DataFrame(rows)


def verdict(difference: Interval, **ahead_of: Interval) -> Verdict:
    return Verdict(10, 40, 3, difference, ahead_of, counted="pixels")


@given(some.lists(some.tuples(some.floats(0, 1), some.floats(0, 1)), min_size=2, max_size=6))
def test_the_lead_is_over_pairs_of_the_same_seed(pairs):
    own, other = (list(scores) for scores in zip(*pairs, strict=True))
    table = trials({"lrp-0": own, "random": other}).sample(frac=1, random_state=0)
    found = ahead(table, "lrp-0", "random", "scratch", 10)
    expected = mean_interval(np.array(own) - np.array(other))
    assert found is not None
    for name in ("estimate", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12)
    turned = ahead(table, "random", "lrp-0", "scratch", 10)
    assert turned.estimate == pytest.approx(-found.estimate, abs=1e-12)


def test_seeds_without_a_partner_are_left_out():
    table = trials({"lrp-0": [0.9, 0.8, 0.1], "random": [0.5, 0.5]})
    assert ahead(table, "lrp-0", "random", "scratch", 10).estimate == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("other", "mode", "keep"), [("variance", "scratch", 10), ("random", "none", 10), ("random", "scratch", 11)]
)
def test_no_pair_is_no_lead(other, mode, keep):
    assert ahead(trials({"lrp-0": [0.9], "random": [0.5]}), "lrp-0", other, mode, keep) is None
    assert ahead(pd.DataFrame(), "lrp-0", other, mode, keep) is None


def test_a_part_that_is_none_is_refused():
    with pytest.raises(InputError, match="training"):
        ahead(trials({"lrp-0": [0.9]}), "lrp-0", "random", "scratch", 10, part="training")


def test_it_says_only_what_the_numbers_say():
    found = verdict(
        Interval(-0.001, -0.003, 0.002), random=Interval(0.03, 0.02, 0.04), variance=Interval(0.01, -0.01, 0.03),
        weight=Interval(-0.02, -0.03, -0.01),
    )  # fmt: skip
    assert found.short == "3 seeds, and an interval 0.5 points wide."
    assert found.sentence == (
        "With 10 of 40 pixels the accuracy of the small network on test images differs from the full network's by "
        "-0.1 points (between -0.3 and +0.2). It is ahead of random by +3.0 points (between +2.0 and +4.0). It is "
        "behind weight by -2.0 points (between -3.0 and -1.0). This distance may be chance: +1.0 points (between "
        "-1.0 and +3.0) to variance."
    )


def test_many_controls_are_counted():
    won = {name: Interval(0.03, 0.02, 0.04) for name in ("a", "b", "c")}
    found = verdict(Interval(0.0, -0.01, 0.01), **won, even=Interval(0.0, -0.1, 0.1))
    assert found.has_many
    assert found.sentence.endswith("It is ahead of 3 of 4 controls; its distance to even may be chance.")
    lost = verdict(Interval(0.0, -0.01, 0.01), **won, lost=Interval(-0.1, -0.2, -0.05))
    assert lost.sentence.endswith("It is ahead of 3 of 4 controls, behind lost.")


def test_one_seed_has_no_interval_and_claims_nothing():
    one = Interval(0.02, math.nan, math.nan)
    found = Verdict(10, 40, 1, one, {"random": one}, over="splits")
    assert found.short == "One split: no interval, so chance is not ruled out."
    assert "ahead" not in found.sentence
    assert "between" not in found.sentence


def test_without_controls_there_is_nothing_to_be_ahead_of():
    assert "no control to compare with" in verdict(Interval(0.0, -0.01, 0.01)).sentence


@given(some.floats(-0.0004, 0.0))
def test_a_difference_of_nothing_has_no_minus(share):
    assert "+0.0 points" in verdict(Interval(share, -0.1, 0.1)).sentence


def test_an_end_of_an_interval_keeps_its_sign():
    assert "+0.5 points (between +0.02 and +1.0)" in verdict(Interval(0.005, 0.0002, 0.0098)).sentence
    assert "(between +0.00 and +1.0)" in verdict(Interval(0.005, -0.00001, 0.0098)).sentence
    assert "+0.02 points (between -0.10 and +0.14)" in verdict(Interval(0.0002, -0.001, 0.0014)).sentence
