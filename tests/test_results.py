"""What trials say is what was measured: means, intervals, paired differences, the recommended threshold."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrp_core import results


def rows(*places: tuple[str, str, int, int, float]) -> pd.DataFrame:
    """Trials of (criterion, mode, keep, seed, accuracy); the test set says half a point less."""
    return pd.DataFrame(
        [
            {"method": c, "criterion": c, "strategy": "one-shot", "mode": m, "keep": k, "seed": s, "mask_seed": s}
            | {f"validation_{n}": a for n in ("accuracy", "confidence", "loss")}
            | {f"test_{n}": a - 0.005 for n in ("accuracy", "confidence", "loss")}
            | dict.fromkeys(("macs", "flops", "parameters", "bytes", "input_bytes"), 10 * k)
            for c, m, k, s, a in places
        ]
    )


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
    assert both["accuracy"] == pytest.approx((0.973 + 0.964) / 2)
    low, high = stats.t.interval(0.95, 1, loc=0.9685, scale=stats.sem([0.973, 0.964]))
    assert (both["low"], both["high"]) == (pytest.approx(low), pytest.approx(high))
    assert both["removed"] == 0.5
    assert math.isnan(table.iloc[2]["low"])


def test_no_trials_give_an_empty_curve() -> None:
    assert results.curve(pd.DataFrame(), 784).empty
    assert results.headline(pd.DataFrame(), 784, "lrp-0") is None


@given(keep=st.integers(1, 784))
def test_expected_accuracy_is_exact_on_the_grid_and_between_its_neighbours_off_it(keep: int) -> None:
    table = results.curve(TRIALS, 784)
    found = results.expected_accuracy(table, "lrp-0", "scratch", keep)
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


def test_the_headline_chooses_on_validation_and_reports_the_test_set() -> None:
    found = results.headline(TRIALS, 784, "lrp-0")
    assert found is not None
    assert found.row["keep"] == 392
    assert found.row["accuracy"] == pytest.approx(0.9685)
    assert found.baseline["accuracy"] == pytest.approx(0.97)
    assert results.headline(TRIALS, 784, "random") is None
    generous = results.headline(TRIALS, 784, "lrp-0", margin=0.2)
    assert generous is not None
    assert generous.row["keep"] == 100


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
    assert found.sentence == f"50% of the inputs can go, 392 of 784 are enough: {found.reason}"
    none = results.recommend(TRIALS, 784, "random")
    assert none is not None
    assert none.reason == ""
