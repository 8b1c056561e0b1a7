"""What trials say is what was measured: means, intervals, paired differences, the recommended threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrp_core.errors import InputError
from lrp_core.evaluation import crossed_interval, pack
from lrp_core.ranking import Method
from lrp_core.study import results

Place = tuple[Any, ...]


def rows(*places: Place) -> pd.DataFrame:
    """Trials of (method, mode, keep, seed, accuracy[, mask seed]); the test set says half a point less."""
    made = []
    for method, mode, keep, seed, accuracy, *mask in places:
        named = Method("lrp-0") if method == "none" else Method.named(method)
        made.append(
            {"method": method, "criterion": named.criterion, "strategy": named.strategy, "mode": mode, "keep": keep}
            | {"seed": seed, "mask_seed": mask[0] if mask else seed}
            | {f"validation_{n}": accuracy for n in ("score", "confidence", "loss")}
            | {f"test_{n}": accuracy - 0.005 for n in ("score", "confidence", "loss")}
            | dict.fromkeys(("macs", "flops", "parameters", "bytes", "input_bytes"), 10 * keep)
        )
    return pd.DataFrame(made)


def pairs(method: str, keep: int, differences: list[float], mode: str = "scratch") -> list[Place]:
    """One trial a seed, so much better than its baseline in `BASE`."""
    return [(method, mode, keep, seed, 0.97 + seed / 100 + d) for seed, d in enumerate(differences)]


BASE: list[Place] = [("none", "none", 784, seed, 0.97 + seed / 100) for seed in range(3)]

TRIALS = rows(
    ("none", "none", 784, 0, 0.98),
    ("none", "none", 784, 1, 0.97),
    ("lrp-0", "scratch", 392, 0, 0.978),
    ("lrp-0", "scratch", 392, 1, 0.969),
    ("lrp-0", "scratch", 100, 0, 0.90),
    ("random", "scratch", 392, 0, 0.95),
)


def test_the_curve_is_mean_and_interval_over_seeds() -> None:
    table = results.curve(TRIALS, 784, "test")
    assert table[["method", "keep", "seeds"]].values.tolist() == [
        ["none", 784, 2],
        ["lrp-0", 392, 2],
        ["lrp-0", 100, 1],
        ["random", 392, 1],
    ]
    both = table.iloc[1]
    assert both["score"] == pytest.approx((0.973 + 0.964) / 2)
    low, high = stats.t.interval(0.95, 1, loc=0.9685, scale=stats.sem([0.973, 0.964]))
    assert (both["low"], both["high"]) == (pytest.approx(low), pytest.approx(high))
    assert both["removed"] == 0.5
    assert math.isnan(table.iloc[2]["low"])


def test_differences_are_paired_by_seed() -> None:
    """Seeds a point apart, differences nearly equal: the paired interval is narrow where the plain one is wide."""
    differences = [-0.001, -0.002, -0.0015]
    table = results.curve(rows(*BASE, *pairs("lrp-0", 392, differences)), 784)
    row = table[table["method"] == "lrp-0"].iloc[0]
    expected = stats.t.interval(0.95, 2, loc=np.mean(differences), scale=stats.sem(differences))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(expected)
    assert row["difference"] == pytest.approx(-0.0015)
    assert row["high"] - row["low"] > 0.04
    assert table[table["method"] == "none"][["difference", "difference_low"]].isna().all(axis=None)


def test_a_trial_whose_baseline_is_not_there_has_no_difference() -> None:
    table = results.curve(rows(*BASE[:2], *pairs("lrp-0", 392, [0.0, 0.0, 0.5])), 784)
    row = table[table["method"] == "lrp-0"].iloc[0]
    assert row["difference"] == pytest.approx(0)
    assert row["seeds"] == 3


def test_crossed_seeds_are_not_taken_for_independent_ones() -> None:
    values = np.array([[0.0, 0.01, 0.02], [0.005, 0.012, 0.02]])
    crossed = [
        ("lrp-0", "scratch", 100, seed, 0.9 + values[mask, seed], mask) for mask in range(2) for seed in range(3)
    ]
    table = results.curve(rows(*BASE, *crossed), 784)
    row = table[table["method"] == "lrp-0"].iloc[0]
    expected = crossed_interval(0.9 + values)
    assert (row["score"], row["low"], row["high"]) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert (row["seeds"], row["masks"]) == (3, 2)
    half_done = results.curve(rows(*BASE, *crossed[:5]), 784)
    row = half_done[half_done["method"] == "lrp-0"].iloc[0]
    assert row["score"] == pytest.approx(0.9 + values[0].mean()), "over the masks that every seed has tried"


def test_scatter_is_told_apart_only_where_seeds_were_crossed() -> None:
    crossed = [("lrp-0", "scratch", 100, seed, 0.9 + mask / 10, mask) for mask in range(3) for seed in range(3)]
    found = results.scatter_at(rows(*BASE, *crossed), "lrp-0", "scratch", 100)
    assert found is not None
    assert found.masks == pytest.approx(0.1)
    assert found.seeds == pytest.approx(0, abs=1e-9)
    trials = rows(*BASE, *pairs("lrp-0", 100, [0.0, 0.0, 0.0]))
    assert results.scatter_at(trials, "lrp-0", "scratch", 100) is None
    assert results.scatter_at(trials, "lrp-0", "scratch", 99) is None


def test_no_trials_give_an_empty_curve() -> None:
    assert results.curve(pd.DataFrame(), 784).empty
    assert list(results.curve(pd.DataFrame(), 784).columns) == list(results.curve(TRIALS, 784).columns)[:15]
    assert results.headline(pd.DataFrame(), 784, "lrp-0") is None
    assert results.recommend(pd.DataFrame(), 784, "lrp-0") is None
    assert results.against_baseline(pd.DataFrame(), "lrp-0", "scratch", 392, 0) is None


@given(keep=st.integers(1, 784))
def test_expected_score_is_exact_on_the_grid_and_between_its_neighbours_off_it(keep: int) -> None:
    table = results.curve(TRIALS, 784)
    found = results.expected_score(table, "lrp-0", "scratch", keep)
    points = {100: 0.90, 392: 0.9735, 784: 0.975}
    if keep < 100:
        assert found is None
    else:
        assert found is not None
        below = max(k for k in points if k <= keep)
        above = min(k for k in points if k >= keep)
        assert points[below] - 1e-12 <= found.estimate <= points[above] + 1e-12
        if below == above:
            assert found.estimate == pytest.approx(points[keep])


# The recommended threshold


def test_the_whole_interval_has_to_stay_within_the_margin() -> None:
    """At 100 the mean is good enough, and its interval is not."""
    trials = rows(
        *BASE,
        *pairs("lrp-0", 392, [-0.001, -0.002, -0.0015]),
        *pairs("lrp-0", 200, [-0.003, -0.0035, -0.004]),
        *pairs("lrp-0", 100, [-0.001, -0.009, -0.001]),
    )
    found = results.recommend(trials, 784, "lrp-0")
    assert found is not None
    assert found.row is not None
    assert found.row["keep"] == 200
    assert found.is_certain
    assert "74 % of the inputs can go, 200 of 784 are enough" in found.sentence
    assert "-0.35 points" in found.sentence
    assert "between -0.47 and -0.23" in found.sentence
    assert "3 pairs of networks" in found.sentence
    assert "0.5 points" in found.sentence
    generous = results.recommend(trials, 784, "lrp-0", margin=0.02)
    assert generous is not None
    assert generous.row is not None
    assert generous.row["keep"] == 100
    strict = results.recommend(trials, 784, "lrp-0", margin=0.0)
    assert strict is not None
    assert strict.row is None
    assert strict.least["keep"] == 392
    assert strict.sentence.startswith("No measured share of the inputs can go within a loss of 0 points")
    assert "already at 50 % removed" in strict.sentence
    assert "between -0.27 and -0.03" in strict.sentence
    assert "More seeds" not in strict.sentence
    wide = results.recommend(rows(*BASE, *pairs("lrp-0", 100, [-0.001, -0.009, -0.001])), 784, "lrp-0")
    assert wide is not None
    assert wide.row is None
    assert wide.sentence.endswith("More seeds would narrow the interval.")


@given(
    margin=st.floats(0, 0.05),
    differences=st.lists(st.lists(st.floats(-0.05, 0.02), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_what_is_recommended_is_the_last_good_one(margin: float, differences: list[list[float]]) -> None:
    keeps = [600, 300, 100, 10][: len(differences)]
    places = [place for keep, of in zip(keeps, differences, strict=True) for place in pairs("lrp-0", keep, of)]
    found = results.recommend(rows(*BASE, *places), 784, "lrp-0", margin=margin)
    assert found is not None
    lows = {
        keep: np.mean(of) - stats.t.ppf(0.975, 2) * stats.sem(of) for keep, of in zip(keeps, differences, strict=True)
    }
    good = [keep for keep, low in lows.items() if low >= -margin + 1e-12]
    at_most = [keep for keep, low in lows.items() if low >= -margin - 1e-12]
    if found.row is None:
        assert not good
    else:
        assert min(at_most) <= found.row["keep"] <= min(good, default=784)


def test_one_seed_has_no_interval_and_says_so() -> None:
    trials = rows(BASE[0], *pairs("lrp-0", 392, [-0.001]), *pairs("lrp-0", 100, [-0.1]))
    found = results.recommend(trials, 784, "lrp-0")
    assert found is not None
    assert not found.is_certain
    assert found.row is not None
    assert found.row["keep"] == 392
    assert "without a second one there is no interval" in found.sentence
    none = results.recommend(trials, 784, "lrp-0", margin=0.0001)
    assert none is not None
    assert none.row is None
    assert "nan" not in none.sentence
    assert "nan" not in found.sentence


def test_with_several_seeds_a_keep_that_one_has_reached_is_not_judged() -> None:
    trials = rows(*BASE, *pairs("lrp-0", 392, [0.0, 0.0, 0.001]), *pairs("lrp-0", 100, [0.0]))
    found = results.recommend(trials, 784, "lrp-0")
    assert found is not None
    assert found.row is not None
    assert found.row["keep"] == 392
    assert results.recommend(rows(*BASE, *pairs("lrp-0", 100, [0.0])), 784, "lrp-0") is None
    assert results.recommend(rows(*BASE), 784, "lrp-0") is None


def test_the_best_mode_is_taken_unless_one_is_asked_for() -> None:
    fine = [0.0, 0.0005, 0.0]
    trials = rows(*BASE, *pairs("lrp-0", 100, fine), *pairs("lrp-0", 392, fine, "none"))
    best, asked = (results.recommend(trials, 784, "lrp-0", mode=mode) for mode in (None, "none"))
    assert best is not None
    assert asked is not None
    assert (best.mode, asked.mode) == ("scratch", "none")


@pytest.mark.parametrize("margin", [-0.001, 1.0, math.nan])
def test_a_margin_that_is_none(margin: float) -> None:
    with pytest.raises(InputError, match="margin"):
        results.recommend(TRIALS, 784, "lrp-0", margin=margin)


def test_the_headline_chooses_on_validation_and_reports_the_test_set() -> None:
    trials = rows(
        *BASE,
        *pairs("lrp-0", 392, [-0.001, -0.002, -0.0015]),
        *pairs("random", 392, [-0.1, -0.1, -0.2]),
        *pairs("lrp-0, elimination", 100, [-0.001, -0.002, -0.0015]),
    )
    found = results.headline(trials, 784, "lrp-0")
    assert found is not None
    assert found.row["keep"] == 392
    assert found.row["score"] == pytest.approx(0.98 - 0.0015 - 0.005)
    assert found.baseline["score"] == pytest.approx(0.975)
    assert results.headline(trials, 784, "random") is None
    eliminated = results.headline(trials, 784, "lrp-0, elimination")
    assert eliminated is not None
    assert (eliminated.row["strategy"], eliminated.row["keep"]) == ("elimination", 100)


# McNemar


def test_two_networks_are_compared_on_the_same_images() -> None:
    trials = rows(*BASE[:2], *pairs("lrp-0", 392, [0.0, 0.0]))
    full, small = np.arange(20) < 15, (np.arange(20) >= 4) & (np.arange(20) < 17)
    answers = {("none", 0): full, ("none", 1): ~full, ("lrp-0", 0): small, ("lrp-0", 1): full}
    packed = [pack(answers[method, seed]) for method, seed in zip(trials["method"], trials["seed"], strict=True)]
    trials = trials.assign(test_correct=packed, test_images=20)
    found = results.against_baseline(trials, "lrp-0", "scratch", 392, 0, "test")
    assert found is not None
    assert (found.only_first, found.only_second, found.n) == (4, 2, 20)
    other = results.against_baseline(trials, "lrp-0", "scratch", 392, 1, "test")
    assert other is not None
    assert (other.only_first, other.only_second) == (5, 15)
    assert results.against_baseline(trials, "lrp-0", "scratch", 391, 1, "test") is None
    assert results.against_baseline(trials, "lrp-0", "scratch", 392, 7, "test") is None


@given(keep=st.integers(1, 784))
def test_the_nearest_measured_keep(keep: int) -> None:
    found = results.nearest_keep(results.curve(TRIALS, 784), "lrp-0", "scratch", keep)
    assert found in (100, 392)
    assert abs(found - keep) == min(abs(100 - keep), abs(392 - keep))
    assert results.nearest_keep(results.curve(TRIALS, 784), "lrp-0", "none", keep) is None
    assert results.nearest_keep(results.curve(pd.DataFrame(), 784), "lrp-0", "scratch", keep) is None


def test_the_reason_is_the_sentence_s_second_half() -> None:
    found = results.recommend(TRIALS, 784, "lrp-0", margin=0.01)
    assert found is not None
    assert found.sentence == f"50 % of the inputs can go, 392 of 784 are enough: {found.reason}"
    none = results.recommend(TRIALS, 784, "lrp-0", margin=0.0)
    assert none is not None
    assert none.reason == ""
