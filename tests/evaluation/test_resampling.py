"""Intervals over splits of the same rows."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import resampling
from lrp_core.errors import InputError
from lrp_core.evaluation import mean_interval, resampled_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@given(values=VALUES, tested=st.integers(1, 500), trained=st.integers(1, 500), confidence=st.sampled_from([0.8, 0.95]))
def test_the_variance_is_that_of_nadeau_and_bengio(
    values: list[float], tested: int, trained: int, confidence: float
) -> None:
    from scipy import special

    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * math.sqrt((1 / n + tested / trained) * variance)
    found = resampled_interval(values, tested, trained, confidence)
    assert found.estimate == pytest.approx(mean, abs=1e-9)
    assert found.low == pytest.approx(mean - half, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(mean + half, rel=1e-9, abs=1e-9)


@given(values=VALUES)
def test_it_is_wider_than_the_plain_one(values: list[float]) -> None:
    plain, found = mean_interval(values), resampled_interval(values, 12, 59)
    assert found.low <= plain.low + 1e-9
    assert found.high >= plain.high - 1e-9


def test_one_split_has_no_interval() -> None:
    found = resampled_interval([0.7], 12, 59)
    assert found.estimate == 0.7
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(("tested", "trained"), [(0, 59), (12, 0), (-1, 59), (math.nan, 59)])
def test_rows_that_are_none(tested: float, trained: float) -> None:
    with pytest.raises(InputError, match="rows to train on and rows to test"):
        resampled_interval([0.5, 0.6], tested, trained)


@pytest.mark.slow
def test_it_holds_the_true_accuracy_where_the_plain_one_does_not() -> None:
    """83 rows split thirty times: Student's interval holds the truth about half of the time."""
    found = resampling.coverage(83, 50, 30, 150)
    assert found["accuracy, plain"]["coverage"] < 0.7
    assert found["accuracy, corrected"]["coverage"] >= 0.9
    assert found["difference, plain"]["coverage"] < 0.9
    assert found["difference, corrected"]["coverage"] >= 0.9
    assert found["accuracy, corrected"]["half width"] < 0.15, "nor does it hold it by being of no use"


def test_the_classifier_of_the_simulation_is_the_nearest_centroid() -> None:
    values, labels = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]]), np.array([0, 0, 1, 1])
    rows = np.array([[1.9, -50.0], [2.1, 50.0]])
    assert resampling.answers((values, labels), rows, 2).tolist() == [0, 1]
    assert resampling.answers((values, labels), rows, 1).tolist() == [0, 1]


def test_the_command_prints_a_line_for_each_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["resampling", "--repetitions", "3", "--splits", "2", "--inputs", "5"])
    resampling.main()
    assert len(capsys.readouterr().out.splitlines()) == 4
