"""In which order inputs go: shares, ties and scopes, by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import InputError
from lrp_core.evaluation import PixelStatistics, find_candidates, removal_order
from lrp_core.ranking import keep_for_share


@st.composite
def scored(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attributions with many equal values, and the inputs in question: all, some, or some for each image."""
    n, n_inputs = draw(st.integers(1, 4)), draw(st.integers(1, 25))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    scores = torch.randint(-3, 4, (n, n_inputs), generator=random).float()
    rows = draw(st.sampled_from([0, 1, n]))
    if not rows:
        return scores, None
    candidates = torch.rand(rows, n_inputs, generator=random) < 0.6
    candidates[:, 0] = True
    return scores, candidates


SHARES = st.floats(0.01, 0.99)


def test_a_case_by_hand():
    """Five, three ones, two zeros; half of six is three."""
    order = removal_order(torch.tensor([[1.0, 0.0, 5.0, 1.0, 0.0, 1.0]]))
    assert order.counts(0.5).tolist() == [3]
    most, least = order.removed(0.5)[0], order.removed(0.5, least=True)[0]
    assert most[2]
    assert int(most[[0, 3, 5]].sum()) == 2
    assert bool(least[[1, 4]].all())
    assert int(least[[0, 3, 5]].sum()) == 1
    assert bool((most ^ least).all()), "the two halves of an even number"
    assert order.tied(0.5).tolist() == [2], "two of the three ones had to go, the seed said which"
    assert order.tied(0.5, least=True).tolist() == [1]
    assert order.tied(1 / 3, least=True).tolist() == [0], "both zeros went: nothing to choose"


def test_the_whole_share_takes_all_and_leaves_no_choice():
    order = removal_order(torch.zeros(2, 5), candidates=torch.tensor([[True, True, False, True, True]]))
    for least in (False, True):
        assert order.removed(1.0, least=least).sum(1).tolist() == [4, 4]
        assert order.tied(1.0, least=least).tolist() == [0, 0]


def test_magnitude_puts_what_speaks_against_the_class_first():
    scores = torch.tensor([[0.1, -3.0, 2.0, 0.0]])
    assert removal_order(scores).order.tolist() == [[2, 0, 3, 1]]
    assert removal_order(scores, ranking="magnitude").order.tolist() == [[1, 2, 0, 3]]


def test_fifteen_per_cent_of_an_mnist_image_is_118():
    order = removal_order(torch.zeros(1, 1, 28, 28))
    assert order.counts(0.15).tolist() == [118]
    assert int(order.removed(0.15).sum()) == int(order.removed(0.15, least=True).sum()) == 118
    assert order.tied(0.15).tolist() == [118], "all are equal: the seed picked every one"


def test_negative_zero_is_zero():
    order = removal_order(torch.tensor([[0.0, -0.0, 0.0, -0.0]]))
    assert order.tied(0.5).tolist() == [2]
    assert order.order.tolist() == removal_order(torch.zeros(1, 4)).order.tolist()


@given(scored(), SHARES, st.integers(0, 5), st.sampled_from(["signed", "magnitude"]))
def test_removed_and_tied_by_brute_force(drawn, share, seed, ranking):
    scores, candidates = drawn
    order = removal_order(scores, ranking=ranking, candidates=candidates, seed=seed)
    worth = scores.abs() if ranking == "magnitude" else scores
    for i in range(len(scores)):
        chosen = np.ones(scores.shape[1], bool) if candidates is None else candidates[i % len(candidates)].numpy()
        values = worth[i].numpy()
        n = len(values[chosen]) - keep_for_share(share, int(chosen.sum()))
        assert sorted(order.order[i].tolist()) == list(range(len(values)))
        for least in (False, True):
            removed = order.removed(share, least=least)[i].numpy()
            assert removed.sum() == n
            assert not (removed & ~chosen).any()
            gone, left = values[removed], values[chosen & ~removed]
            tied = 0
            if n:
                edge = gone.max() if least else gone.min()
                assert (left >= edge).all() if least else (left <= edge).all()
                tied = int((gone == edge).sum()) if (left == edge).any() else 0
            assert int(order.tied(share, least=least)[i]) == tied


@given(scored(), st.integers(1, 12), st.integers(0, 5))
def test_steps_remove_equal_shares_one_within_the_next(drawn, n_steps, seed):
    scores, candidates = drawn
    order = removal_order(scores, candidates=candidates, seed=seed)
    n_inputs = scores.shape[1]
    for least in (False, True):
        steps = order.steps(n_steps, least_first=least)
        assert int(steps.min()) >= 1
        for k in range(1, n_steps):
            assert torch.equal(steps <= k, order.removed(k / n_steps, least=least))
        chosen = torch.ones(1, n_inputs, dtype=torch.bool) if candidates is None else candidates
        assert torch.equal(steps <= n_steps, chosen.expand(len(scores), -1)), "the last step takes all in question"
        assert int(steps.max()) <= n_steps + 1


@given(scored(), SHARES, SHARES)
def test_a_larger_share_holds_a_smaller_one(drawn, one, other):
    scores, candidates = drawn
    order = removal_order(scores, candidates=candidates)
    small, large = sorted((one, other))
    for least in (False, True):
        assert not bool((order.removed(small, least=least) & ~order.removed(large, least=least)).any())


@given(scored(), st.integers(0, 5))
def test_an_image_is_treated_alike_alone_and_among_others(drawn, seed):
    scores, candidates = drawn
    together = removal_order(scores, candidates=candidates, seed=seed)
    for i in range(len(scores)):
        own = None if candidates is None else candidates[i % len(candidates)][None]
        alone = removal_order(scores[i : i + 1], candidates=own, seed=seed)
        assert torch.equal(alone.order[0], together.order[i])
        assert torch.equal(alone.scores[0], together.scores[i])


def test_the_seed_moves_ties_and_nothing_else():
    scores = torch.cat([torch.zeros(30), torch.arange(1.0, 11)])[None]
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first, again, other = (removal_order(scores, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.order, again.order)
    assert not torch.equal(first.order, other.order)
    assert torch.equal(first.order[:, :10], other.order[:, :10])


def test_equals_have_the_same_order_in_every_image():
    """As many as an image of MNIST has, some of which stand out: the rest keeps its order."""
    scores = torch.zeros(3, 784)
    scores[1, ::7] = 1
    scores[2, ::5] = -1
    order = removal_order(scores, seed=4).order
    for row in (1, 2):
        tied = scores[row] == 0
        first, own = (o[tied[o]] for o in (order[0], order[row]))
        assert torch.equal(first, own)


def test_scopes_by_hand():
    images = torch.tensor([[[[0.0, 0.5], [0.0, 0.1]]], [[[0.2, 0.0], [0.0, 0.0]]]])
    statistics = PixelStatistics(torch.zeros(1, 2, 2), torch.tensor([[[0.0, 0.01], [0.009, 0.5]]]))
    assert find_candidates(images, "all") is None
    assert torch.equal(find_candidates(images, "lit"), images > 0)
    assert find_candidates(images, "active", statistics).flatten().tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("scope", "statistics", "words"),
    [
        ("dark", None, "unknown scope 'dark': .*choose one of all, active, lit"),
        ("lit", None, r"^image 1 has no lit pixel \(1 such images\)"),
        ("active", None, "give pixel statistics"),
        ("active", (1, 2, 2), "no pixel is lit in 1 % of the training images"),
        ("active", (1, 2, 3), r"shape \(1, 2, 3\), the images have \(1, 2, 2\)"),
    ],
)
def test_scopes_that_cannot_be(scope, statistics, words):
    images = torch.ones(2, 1, 2, 2)
    images[1] = 0
    found = None if statistics is None else PixelStatistics(torch.zeros(statistics), torch.zeros(statistics))
    with pytest.raises(InputError, match=words):
        find_candidates(images, scope, found)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_attributions_that_are_not_finite_are_refused(bad):
    scores = torch.zeros(3, 4)
    scores[2, 1] = bad
    with pytest.raises(InputError, match="attribution of image 2 holds NaN or infinity"):
        removal_order(scores)
    with pytest.raises(InputError, match="unknown ranking 'sign': did you mean 'signed'"):
        removal_order(torch.zeros(3, 4), ranking="sign")
