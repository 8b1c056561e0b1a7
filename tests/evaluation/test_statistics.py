from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import InputError
from lrp_core.evaluation import (
    Interval,
    crossed_interval,
    mcnemar,
    mean_interval,
    pack,
    scatter,
    unpack,
    wilson_interval,
)

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


# Masks and training seeds crossed


def table(n_masks: int, n_seeds: int, *, masks: float, seeds: float, rest: float, draw: np.random.Generator):
    """Values of the two-way random-effects model, mean 0."""
    return (
        masks * draw.standard_normal((n_masks, 1))
        + seeds * draw.standard_normal((1, n_seeds))
        + rest * draw.standard_normal((n_masks, n_seeds))
    )


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_one_mask_or_one_seed_is_the_plain_interval(shape):
    values = np.random.default_rng(0).normal(size=shape)
    assert repr(crossed_interval(values)) == repr(mean_interval(values.ravel()))


def test_a_crossed_interval_by_hand():
    """Sums of squares of a 2 x 3 table, written out; degrees of freedom by Satterthwaite."""
    from scipy import stats

    values = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 7.0]])
    of_masks = 3 * ((3.0 - 3.5) ** 2 + (4.0 - 3.5) ** 2) / 1
    of_seeds = 2 * ((2.0 - 3.5) ** 2 + (2.0 - 3.5) ** 2 + (6.5 - 3.5) ** 2) / 2
    fitted = np.array([[1.5, 1.5, 6.0], [2.5, 2.5, 7.0]])
    of_rest = ((values - fitted) ** 2).sum() / 2
    total = of_masks + of_seeds - of_rest
    assert total > max(of_masks, of_seeds)
    freedom = total**2 / (of_masks**2 / 1 + of_seeds**2 / 2 + of_rest**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(total / 6)
    found = crossed_interval(values)
    assert (found.estimate, found.low, found.high) == pytest.approx((3.5, 3.5 - half, 3.5 + half))


@pytest.mark.parametrize("sizes", [(1.0, 1.0, 0.3), (1.0, 0.0, 0.3), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0)])
def test_a_crossed_interval_covers_the_mean_as_often_as_it_says(sizes):
    """Values that share a mask are not independent: an interval over all of them as one sample covers far less."""
    draw = np.random.default_rng(1)
    masks, seeds, rest = sizes
    tables = [table(4, 6, masks=masks, seeds=seeds, rest=rest, draw=draw) for _ in range(1000)]
    covered = np.mean([found.low <= 0 <= found.high for found in map(crossed_interval, tables)])
    assert covered > 0.92
    if masks == 1.0:
        naive = np.mean([found.low <= 0 <= found.high for found in (mean_interval(t.ravel()) for t in tables)])
        assert naive < 0.85


def test_equal_values_have_a_crossed_interval_of_no_width():
    found = crossed_interval(np.full((2, 3), 0.5))
    assert (found.estimate, found.low, found.high) == (0.5, 0.5, 0.5)


def test_scatter_tells_masks_from_seeds():
    draw = np.random.default_rng(2)
    found = scatter(table(200, 300, masks=2.0, seeds=0.5, rest=1.0, draw=draw))
    assert (found.masks, found.seeds, found.rest) == pytest.approx((2.0, 0.5, 1.0), rel=0.15)
    exact = scatter(np.array([[1.0, 2.0], [1.0, 2.0]]))
    assert exact.masks == 0
    assert exact.rest == 0
    assert exact.seeds == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_scatter_needs_two_of_each(shape):
    with pytest.raises(InputError, match="at least 2 masks and 2 seeds"):
        scatter(np.zeros(shape))


# Two networks on the same images


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_mcnemar_counts_and_is_the_binomial_test(answers):
    first, second = (np.array(column) for column in zip(*answers, strict=True))
    found = mcnemar(first, second)
    a = sum(x and not y for x, y in answers)
    b = sum(y and not x for x, y in answers)
    assert (found.only_first, found.only_second, found.n) == (a, b, len(answers))
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert found.difference.estimate == pytest.approx((a - b) / len(answers))
    assert mcnemar(second, first).p_value == pytest.approx(found.p_value)


def test_mcnemar_from_a_textbook():
    """59 against 6 discordant pairs are beyond doubt, 6 against 5 are chance."""
    assert mcnemar(np.arange(100) < 59, (np.arange(100) >= 59) & (np.arange(100) < 65)).p_value < 1e-10
    assert mcnemar(np.arange(20) < 6, (np.arange(20) >= 6) & (np.arange(20) < 11)).p_value == 1.0


def test_mcnemar_refuses_other_images():
    for a, b in ((3, 4), (0, 0)):
        with pytest.raises(InputError, match="the same images"):
            mcnemar(np.ones(a, bool), np.ones(b, bool))


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_packed_answers_come_back(answers):
    assert unpack(pack(np.array(answers)), len(answers)).tolist() == answers


@pytest.mark.parametrize("n", [8, 17])
def test_packed_answers_of_another_length_are_refused(n):
    with pytest.raises(InputError, match="packed answers"):
        unpack(pack(np.ones(9, bool)), n)
