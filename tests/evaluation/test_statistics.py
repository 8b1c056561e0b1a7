from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import InputError
from lrp_core.evaluation import Interval, mean_interval, wilson_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@given(values=VALUES, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_the_mean_interval_is_students(values, confidence):
    from scipy import special

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    found = mean_interval(values, confidence)
    assert found.estimate == pytest.approx(mean, abs=1e-9)
    assert found.low == pytest.approx(mean - half, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(mean + half, rel=1e-9, abs=1e-9)


def test_a_mean_interval_from_a_table():
    """Student's t with 4 degrees of freedom: 2.776 for 95 %."""
    found = mean_interval(np.array([1, 2, 3, 4, 5]))
    half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)
    assert (found.estimate, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half))


def test_one_value_has_no_interval():
    found = mean_interval([0.7])
    assert found.estimate == 0.7
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.5] * 4) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], np.array([]), ()], ids=["list", "array", "tuple"])
def test_no_values_are_refused(values):
    with pytest.raises(InputError, match=r"^a mean needs at least one value$"):
        mean_interval(values)


@given(n=st.integers(1, 20_000), share=st.floats(0, 1))
def test_wilson_in_closed_form(n, share):
    correct = round(n * share)
    p, z = correct / n, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = wilson_interval(correct, n)
    assert found.estimate == p
    assert found.low == pytest.approx(centre - half, abs=1e-9)
    assert found.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= found.low <= p <= found.high <= 1


def test_more_confidence_gives_a_wider_interval():
    narrow, wide = wilson_interval(80, 100, 0.9), wilson_interval(80, 100, 0.99)
    assert wide.low < narrow.low < 0.8 < narrow.high < wide.high


@pytest.mark.parametrize(("correct", "n"), [(-1, 10), (11, 10), (0, 0), (1, -1)])
def test_counts_that_cannot_be(correct, n):
    with pytest.raises(InputError, match=f"^cannot give an accuracy of {correct} right out of {n}$"):
        wilson_interval(correct, n)
