"""A ranking is a permutation; masks come from it, nested and reproducible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrp_core.errors import InputError
from lrp_core.ranking import Ranking, check_keep, keep_for_share

SCORES = st.lists(st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=30)


def ranking(scores: list[float] | Tensor, seed: int = 0) -> Ranking:
    scores = torch.as_tensor(scores, dtype=torch.float64)
    return Ranking.from_scores("test", scores, tuple(scores.shape), seed=seed)


@given(SCORES, st.integers(0, 100))
@settings(deadline=None, max_examples=60)
def test_order_is_a_permutation_by_decreasing_score(scores: list[float], seed: int) -> None:
    ranked = ranking(scores, seed)
    assert sorted(ranked.order.tolist()) == list(range(len(scores)))
    assert [scores[i] for i in ranked.order.tolist()] == sorted(scores, reverse=True)
    assert ranked.rank[ranked.order].tolist() == list(range(len(scores)))
    assert ranked.n_inputs == len(scores)
    assert ranked.scores.tolist() == scores


@given(SCORES, st.integers(0, 100), st.data())
@settings(deadline=None, max_examples=60)
def test_masks_are_nested_and_keep_the_best(scores: list[float], seed: int, data: st.DataObject) -> None:
    ranked = ranking(scores, seed)
    large = data.draw(st.integers(1, len(scores)))
    small = data.draw(st.integers(1, large))
    kept = set(ranked.mask(keep=large).indices.tolist())
    assert len(kept) == large
    assert set(ranked.mask(keep=small).indices.tolist()) <= kept
    rest = set(range(len(scores))) - kept
    assert not rest or min(scores[i] for i in kept) >= max(scores[i] for i in rest)


@given(SCORES, st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_the_same_seed_gives_the_same_ranking(scores: list[float], seed: int) -> None:
    torch.manual_seed(seed + 1)
    first = ranking(scores, seed)
    torch.rand(7)
    assert torch.equal(first.order, ranking(scores, seed).order)


def test_ties_are_broken_by_the_seed_and_only_ties() -> None:
    scores = torch.zeros(200)
    scores[50] = 2.0
    scores[60] = -1.0
    orders = [ranking(scores, seed).order for seed in range(5)]
    assert all(int(order[0]) == 50 and int(order[-1]) == 60 for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 5
    places = torch.stack([order.argsort() for order in orders]).double().mean(0)
    in_order = torch.corrcoef(torch.stack([places, torch.arange(200.0).double()]))[0, 1]
    assert abs(float(in_order)) < 0.4, "ties must not lean to one side of the image"


def test_zeros_of_either_sign_are_a_tie() -> None:
    scores = torch.tensor([0.0, -0.0] * 50)
    assert torch.equal(ranking(scores, 3).order, ranking(torch.zeros(100), 3).order)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    ranking([1.0, 1.0, 2.0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="'test' gave scores that are not finite") as refused:
        ranking([1.0, bad, 2.0])
    assert "\n" not in str(refused.value)


def test_scores_may_have_the_shape_of_the_image_and_any_precision() -> None:
    scores = torch.rand(1, 4, 5, dtype=torch.float32, requires_grad=True)
    ranked = Ranking.from_scores("test", scores, (1, 4, 5), standard_error=scores * 0.1)
    assert ranked.scores.shape == ranked.standard_error.shape == (20,)
    assert ranked.scores.dtype == torch.float64
    assert not ranked.scores.requires_grad
    assert ranked.mask(keep=3).shape == (1, 4, 5)
    assert ranked.mask(keep=3).keep.sum() == 3


def test_changing_the_scores_afterwards_does_not_change_the_ranking() -> None:
    scores = torch.arange(5.0, dtype=torch.float64)
    ranked = Ranking.from_scores("test", scores, (5,))
    scores.zero_()
    assert ranked.scores.tolist() == [0, 1, 2, 3, 4]


def test_without_an_error_it_is_nan() -> None:
    assert ranking([1.0, 2.0]).standard_error.isnan().all()


class TestMask:
    ranked = ranking(torch.rand(784, generator=torch.Generator().manual_seed(0)))

    def test_a_share_of_15_percent_removes_118_of_784(self) -> None:
        assert keep_for_share(0.15, 784) == 784 - 118
        assert len(self.ranked.mask(share=0.15)) == 666

    @given(st.floats(0, 1, exclude_max=True), st.integers(1, 2000))
    @settings(deadline=None, max_examples=80)
    def test_any_share_keeps_at_least_one_and_is_off_by_half_an_input_at_most(self, share: float, n: int) -> None:
        keep = keep_for_share(share, n)
        assert 1 <= keep <= n
        assert keep == 1 or abs((n - keep) - share * n) <= 0.5 + 1e-9

    def test_everything_and_one(self) -> None:
        assert len(self.ranked.mask(share=0.0)) == len(self.ranked.mask(keep=784)) == 784
        assert self.ranked.mask(keep=1).indices.tolist() == [int(self.ranked.order[0])]
        assert len(self.ranked.mask(share=0.9999)) == 1

    @pytest.mark.parametrize("keep", [0, -1, 785, 10**9])
    def test_a_keep_outside_the_inputs_is_refused(self, keep: int) -> None:
        with pytest.raises(InputError, match=rf"between 1 and 784, not {keep}$"):
            self.ranked.mask(keep=keep)

    @pytest.mark.parametrize("share", [-0.01, 1.0, 1.5, 15, float("nan"), float("inf")])
    def test_a_share_outside_its_range_is_refused(self, share: float) -> None:
        with pytest.raises(InputError, match="at least 0 and below 1"):
            self.ranked.mask(share=float(share))

    @pytest.mark.parametrize("arguments", [{}, {"keep": 5, "share": 0.5}, {"keep": None, "share": None}])
    def test_neither_or_both_is_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="either keep"):
            self.ranked.mask(**arguments)


@pytest.mark.parametrize("keep", [True, False, None])
def test_what_is_no_number_of_inputs_is_refused(keep: Any) -> None:
    with pytest.raises(InputError, match="whole number between 1 and 784"):
        check_keep(keep, 784)


@pytest.mark.parametrize("keep", [150.0, "150", 0.5])
def test_what_is_no_whole_number_is_refused(keep: Any) -> None:
    """Where annotations are checked, as in these tests, they refuse it; without them the function does."""
    unchecked = getattr(check_keep, "__wrapped__", check_keep)
    while hasattr(unchecked, "__wrapped__"):
        unchecked = unchecked.__wrapped__
    with pytest.raises(InputError, match="whole number between 1 and 784"):
        unchecked(keep, 784)


def test_a_number_of_inputs_is_given_back() -> None:
    assert check_keep(150, 784) == 150
    assert check_keep(1, 1) == 1
